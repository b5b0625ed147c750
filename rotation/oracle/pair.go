package oracle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

type target struct {
	*sqlsession.Session
	change   pair.Change
	password string
}

type account struct {
	name, status string
	attributes   string // tablespaces and profile, in the syntax of CREATE USER and ALTER USER
	power        string // what makes it an administrator, or ""
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

func (t target) Administrator(_ context.Context, a, _ *account) (string, error) { return a.power, nil }

// mark is the statement that marks a pair: the first user may log in through the second. It requires ALTER USER,
// which also allows setting the second user's password.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/ALTER-USER.html
func mark(first, second string) string {
	return "ALTER USER " + quoted(second) + " GRANT CONNECT THROUGH " + quoted(first)
}

func (t target) Mark(current, other *account) string { return mark(current.name, other.name) }

// Marked also recognizes a user that an interrupted step created: it has no password, right, object or proxy.
func (t target) Marked(ctx context.Context, current, other *account) (bool, error) {
	marked, err := t.marked(ctx, current, other)
	if err != nil || marked || !pair.ProvedCurrent(t.change.Kind, t.change.Request) {
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

func (t target) marked(ctx context.Context, a, b *account) (bool, error) {
	rows, err := t.Texts(ctx, "the pair's mark could not be read",
		"SELECT client FROM proxy_users WHERE proxy = :1 AND client = :2 OR proxy = :3 AND client = :4",
		a.name, b.name, b.name, a.name)
	return len(rows) > 0, err
}

func (t target) Rehearse(ctx context.Context, current, other *account) error {
	needed := []string{"ALTER USER"}
	if current != nil && other == nil {
		needed = append(needed, "CREATE USER")
	}
	rows, err := t.Texts(ctx, "the login's privileges could not be read", "SELECT privilege FROM session_privs")
	for _, privilege := range needed {
		if err == nil && !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == privilege }) {
			err = engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the user %q lacks %s", t.Target.User, privilege)
		}
	}
	return err
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
		err = t.Change(ctx, t.change.Request, mark(current.name, other.name))
	}
	if err == nil && current.attributes != other.attributes {
		err = t.Change(ctx, t.change.Request, "ALTER USER "+quoted(other.name)+" "+current.attributes)
	}
	if err == nil {
		err = pair.Same(current.name, other.name, func(user string) ([]pair.Right, error) {
			return t.rights(ctx, user, current.name, other.name)
		}, func(statement string) error { return t.Change(ctx, t.change.Request, statement) })
	}
	return err
}

func (t target) SetPassword(ctx context.Context, a *account) error {
	unlock := ""
	if t.change.Request.Strategy == engine.AlternatingUsers && strings.Contains(a.status, "LOCKED") {
		unlock = " ACCOUNT UNLOCK"
	}
	err := t.setPassword(ctx, a.name, unlock)
	if err == nil && unlock != "" {
		t.change.Request.Changed("ALTER USER " + quoted(a.name) + unlock)
	}
	return err
}

// rights returns a user's roles, system privileges, rights on objects and columns, except on the pair's objects, quotas
// and default roles, as rights of the other user. A right on a column is revoked from all columns of its table.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html
func (t target) rights(ctx context.Context, name, current, other string) (all []pair.Right, err error) {
	rows, err := t.Texts(ctx, "the user's rights could not be read", `SELECT '"' || granted_role || '"', '', '',
	DECODE(admin_option, 'YES', ' WITH ADMIN OPTION') ||
	DECODE(delegate_option, 'YES', ' WITH DELEGATE OPTION') FROM dba_role_privs WHERE grantee = :1
UNION ALL SELECT privilege, '', '', DECODE(admin_option, 'YES', ' WITH ADMIN OPTION')
	FROM dba_sys_privs WHERE grantee = :2
UNION ALL SELECT privilege, '', ' ON ' || CASE WHEN type IN ('DIRECTORY', 'EDITION', 'USER') THEN type || ' '
	WHEN type IN ('MINING MODEL', 'SQL TRANSLATION PROFILE', 'JAVA SOURCE', 'JAVA RESOURCE')
	THEN type || ' "' || owner || '".' ELSE '"' || owner || '".' END || '"' || table_name || '"',
	DECODE(hierarchy, 'YES', ' WITH HIERARCHY OPTION') || DECODE(grantable, 'YES', ' WITH GRANT OPTION')
	FROM dba_tab_privs WHERE grantee = :3 AND owner NOT IN (:4, :5)
UNION ALL SELECT privilege, ' ("' || column_name || '")', ' ON "' || owner || '"."' || table_name || '"',
	DECODE(grantable, 'YES', ' WITH GRANT OPTION')
	FROM dba_col_privs WHERE grantee = :6 AND owner NOT IN (:7, :8)`,
		name, name, name, current, other, name, current, other)
	for _, r := range rows {
		all = append(all, pair.Right{Give: "GRANT " + r[0] + r[1] + r[2] + " TO " + quoted(other) + r[3],
			Take: "REVOKE " + r[0] + r[2] + " FROM " + quoted(other)})
	}
	if err != nil {
		return nil, err
	}
	rows, err = t.Texts(ctx, "the quotas could not be read", `SELECT ' ON "' || tablespace_name || '"',
	DECODE(max_bytes, -1, 'UNLIMITED', TO_CHAR(max_bytes)) FROM dba_ts_quotas
	WHERE username = :1 AND dropped = 'NO' AND max_bytes <> 0`, name)
	for _, r := range rows {
		quota := "ALTER USER " + quoted(other) + " QUOTA "
		all = append(all, pair.Right{Give: quota + r[1] + r[0], Take: quota + "0" + r[0]})
	}
	if err != nil {
		return nil, err
	}
	rows, err = t.Texts(ctx, "the default roles could not be read", `SELECT granted_role FROM dba_role_privs
	WHERE grantee = :1 AND default_role = 'YES' ORDER BY granted_role`, name)
	var roles []string
	for _, r := range rows {
		roles = append(roles, quoted(r[0]))
	}
	return append(all, pair.Right{Give: "ALTER USER " + quoted(other) + " DEFAULT ROLE " +
		cmp.Or(strings.Join(roles, ", "), "NONE")}), err
}

// grants adds the privileges that the superuser needs.
func grants(_ context.Context, r *engine.Request, n *engine.Needs) error {
	privileges := []string{"SELECT_CATALOG_ROLE", "ALTER USER"}
	if r.Strategy == engine.AlternatingUsers {
		privileges = append(privileges, "CREATE USER", "GRANT ANY ROLE", "GRANT ANY PRIVILEGE", "GRANT ANY OBJECT PRIVILEGE")
		n.Note = "grant on objects of SYS to both users by hand, on RDS with rdsadmin.rdsadmin_util.grant_sys_object"
	}
	for _, p := range privileges {
		n.Grants = append(n.Grants, "GRANT "+p+" TO "+quoted(canonical(n.Login))+";")
	}
	return nil
}
