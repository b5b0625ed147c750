package oracle

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is the session for package pair.
type target struct {
	*session
	request *engine.Request
	pending engine.Target
}

func (t target) Find(ctx context.Context, name string) (*account, error) {
	const what = "the user could not be read"
	rows, err := t.texts(ctx, what, "SELECT username, account_status, default_tablespace, temporary_tablespace, profile, oracle_maintained FROM dba_users WHERE username = :1", name)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	a := &account{r[0], r[1], r[2], r[3], r[4], ""}
	// Its roles can have roles themselves.
	powers, err := t.texts(ctx, what, `SELECT granted_role FROM dba_role_privs WHERE granted_role = 'DBA' START WITH grantee = :1 CONNECT BY NOCYCLE PRIOR granted_role = grantee
UNION ALL SELECT privilege FROM dba_sys_privs WHERE privilege IN ('ALTER USER', 'BECOME USER', 'GRANT ANY ROLE', 'GRANT ANY PRIVILEGE', 'GRANT ANY OBJECT PRIVILEGE')
	AND (grantee = :2 OR grantee IN (SELECT granted_role FROM dba_role_privs START WITH grantee = :3 CONNECT BY NOCYCLE PRIOR granted_role = grantee))`, name, name, name)
	switch {
	case r[5] == "Y":
		a.power = "maintained by Oracle"
	case len(powers) > 0:
		a.power = "an administrator: it has " + powers[0][0]
	}
	return a, err
}

func (t target) Administrator(_ context.Context, a *account) (string, error) { return a.power, nil }

func (t target) Exceeds(context.Context, *account, *account) (string, error) { return "", nil }

// mark is how a pair knows itself: the first user may log in through the second.
// To allow that takes the privilege ALTER USER, and who has it could set the
// second user's password anyhow.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/ALTER-USER.html
func mark(first, second string) string {
	return "ALTER USER " + quoted(second) + " GRANT CONNECT THROUGH " + quoted(first)
}

func (t target) Mark(current, other *account) string { return mark(current.name, other.name) }

// Marked also knows a second user that this engine created and was cut off before it marked it.
func (t target) Marked(ctx context.Context, current, other *account) (bool, error) {
	marked, err := t.marked(ctx, current, other)
	if err != nil || marked {
		return marked, err
	}
	return t.unfinished(ctx, current, other)
}

// marked reports whether either of the two is marked as the other's second.
func (s *session) marked(ctx context.Context, a, b *account) (bool, error) {
	rows, err := s.texts(ctx, "the pair's mark could not be read", "SELECT client FROM proxy_users WHERE proxy = :1 AND client = :2 OR proxy = :3 AND client = :4", a.name, b.name, b.name, a.name)
	return len(rows) > 0, err
}

// unfinished tells the engine's own user from a stranger by the answer that it may not log in, in
// place of the one that its password is wrong. A user with a right was marked before, and is not
// asked: a few wrong passwords would lock a stranger's account. Current must be proved: a writer of
// the secret can choose its password to match a user's.
func (t target) unfinished(ctx context.Context, current, other *account) (bool, error) {
	if !pair.ProvedCurrent(t.engine.Kind(), t.request) {
		return false, nil
	}
	rights, err := t.rights(ctx, other.name, current.name, other.name)
	if err != nil || len(rights) > 0 {
		return false, err
	}
	there, err := t.engine.dial(ctx, t.birth())
	if err == nil {
		there.close()
	}
	return err == nil || code(err) == 1045, nil
}

// birth is the second user's login with the password that Create gives it: Oracle cannot create a
// user and mark it in one transaction. The user has no right to log in with it.
func (t target) birth() engine.Target {
	login := t.pending
	login.Password = pair.BirthPassword(t.request, canonical(login.User))
	return login
}

func (t target) Rehearse(ctx context.Context, current, other *account) error {
	if current != nil && other == nil {
		return t.mayChange(ctx, "ALTER USER", "CREATE USER")
	}
	return t.mayChange(ctx, "ALTER USER")
}

func (t target) Create(ctx context.Context, current *account, name string) (*account, error) {
	_, err := t.conn.ExecContext(ctx, "CREATE USER "+quoted(name)+" IDENTIFIED BY "+quoted(t.birth().Password)+" DEFAULT TABLESPACE "+quoted(current.tablespace)+
		" TEMPORARY TABLESPACE "+quoted(current.temporary)+" PROFILE "+quoted(current.profile))
	return &account{name, "OPEN", current.tablespace, current.temporary, current.profile, ""},
		t.classify(ctx, "the user "+quoted(name)+" could not be created", rejected(err))
}

// Equalize gives the other user the mark, and the current one's tablespaces, profile, quotas and
// rights.
func (t target) Equalize(ctx context.Context, current, other *account) error {
	marked, err := t.marked(ctx, current, other)
	if err == nil && !marked {
		err = t.change(ctx, mark(current.name, other.name))
	}
	if err == nil {
		err = t.attributes(ctx, current, other)
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
	err := t.setPassword(ctx, t.pending, "", "ACCOUNT UNLOCK")
	if err == nil {
		t.request.Changed("ALTER USER " + quoted(a.name) + " ACCOUNT UNLOCK")
	}
	return err
}
