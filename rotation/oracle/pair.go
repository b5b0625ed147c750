package oracle

import (
	"context"
	"fmt"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

type target struct {
	*session
	request *engine.Request
	pending engine.Target
}

func (t target) Find(ctx context.Context, name string) (*account, error) {
	const what = "the user could not be read"
	rows, err := t.Texts(ctx, what, `SELECT username, account_status, 'DEFAULT TABLESPACE "' || default_tablespace
	|| '" TEMPORARY TABLESPACE "' || temporary_tablespace || '" PROFILE "' || profile || '"',
	oracle_maintained FROM dba_users WHERE username = :1`, name)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	a := &account{r[0], r[1], r[2], ""}
	powers, err := t.Texts(ctx, what, `SELECT granted_role FROM dba_role_privs WHERE granted_role = 'DBA'
	START WITH grantee = :1 CONNECT BY NOCYCLE PRIOR granted_role = grantee
UNION ALL SELECT privilege FROM dba_sys_privs WHERE privilege IN
	('ALTER USER', 'BECOME USER', 'GRANT ANY ROLE', 'GRANT ANY PRIVILEGE', 'GRANT ANY OBJECT PRIVILEGE')
	AND (grantee = :2 OR grantee IN (SELECT granted_role FROM dba_role_privs
		START WITH grantee = :3 CONNECT BY NOCYCLE PRIOR granted_role = grantee))`, name, name, name)
	switch {
	case r[3] == "Y":
		a.power = "maintained by Oracle"
	case len(powers) > 0:
		a.power = "an administrator: it has " + powers[0][0]
	}
	return a, err
}

func (t target) Administrator(_ context.Context, a *account) (string, error) { return a.power, nil }

func (t target) Exceeds(context.Context, *account, *account) (string, error) { return "", nil }

// mark is the statement that marks a pair: the first user may log in through the second. It requires ALTER USER,
// which also allows setting the second user's password.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/ALTER-USER.html
func mark(first, second string) string {
	return "ALTER USER " + quoted(second) + " GRANT CONNECT THROUGH " + quoted(first)
}

func (t target) Mark(current, other *account) string { return mark(current.name, other.name) }

// Marked also recognizes a user that an interrupted step created, without password, right, object or proxy.
func (t target) Marked(ctx context.Context, current, other *account) (bool, error) {
	marked, err := t.marked(ctx, current, other)
	if err != nil || marked || !pair.ProvedCurrent(t.engine.Kind(), t.request) {
		return marked, err
	}
	rows, err := t.Texts(ctx, "the user could not be read", `SELECT username FROM dba_users u
	WHERE username = :1 AND authentication_type = 'NONE'
	AND NOT EXISTS (SELECT 1 FROM dba_objects WHERE owner = u.username)
	AND NOT EXISTS (SELECT 1 FROM proxy_users WHERE client = u.username)
	AND NOT EXISTS (SELECT 1 FROM dba_role_privs WHERE grantee = u.username)
	AND NOT EXISTS (SELECT 1 FROM dba_sys_privs WHERE grantee = u.username)
	AND NOT EXISTS (SELECT 1 FROM dba_tab_privs WHERE grantee = u.username)
	AND NOT EXISTS (SELECT 1 FROM dba_col_privs WHERE grantee = u.username)`, other.name)
	return len(rows) > 0, err
}

func (s *session) marked(ctx context.Context, a, b *account) (bool, error) {
	rows, err := s.Texts(ctx, "the pair's mark could not be read",
		"SELECT client FROM proxy_users WHERE proxy = :1 AND client = :2 OR proxy = :3 AND client = :4",
		a.name, b.name, b.name, a.name)
	return len(rows) > 0, err
}

func (t target) Rehearse(ctx context.Context, current, other *account) error {
	if current != nil && other == nil {
		return t.mayChange(ctx, "ALTER USER", "CREATE USER")
	}
	return t.mayChange(ctx, "ALTER USER")
}

// Create creates a user without a password, so nobody can log in.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/dbseg/schema-only-accounts.html
func (t target) Create(ctx context.Context, current *account, name string) (*account, error) {
	err := t.Exec(ctx, "CREATE USER "+quoted(name)+" NO AUTHENTICATION "+current.attributes)
	if code(err) == 1920 {
		err = fmt.Errorf("%w: %w", pair.ErrExists, err)
	}
	return &account{name, "OPEN", current.attributes, ""}, err
}

// Equalize gives the other user the mark, and the current user's tablespaces, profile, quotas and rights.
func (t target) Equalize(ctx context.Context, current, other *account) error {
	marked, err := t.marked(ctx, current, other)
	if err == nil && !marked {
		err = t.Change(ctx, t.request, mark(current.name, other.name))
	}
	if err == nil {
		err = t.change(ctx, current, other)
	}
	if err == nil {
		err = t.level(ctx, current.name, other.name)
	}
	return err
}

func (t target) SetPassword(ctx context.Context, a *account) error {
	if t.request.Strategy != engine.AlternatingUsers || !strings.Contains(a.status, "LOCKED") {
		return t.setPassword(ctx, t.pending, "")
	}
	err := t.setPassword(ctx, t.pending, " ACCOUNT UNLOCK")
	if err == nil {
		t.request.Changed("ALTER USER " + quoted(a.name) + " ACCOUNT UNLOCK")
	}
	return err
}
