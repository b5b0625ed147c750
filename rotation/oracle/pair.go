package oracle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate, by their names as the server stores
// them. Each has rights of its own, which are brought to be the same before each
// change.
type twoUsers struct {
	current, other string
	proved         bool // other is proved to be the secret's own
	// birth is the second user's login with the password that it is made with.
	birth engine.Target
}

// birthPassword returns the password that a second user is made with: one that
// only who knows the current password can tell. Oracle cannot make a user and
// mark it in one transaction, so that a step that was cut off between the two
// knows its own work by this. The user has no right to log in with it.
func birthPassword(current engine.Target, other string) string {
	h := hmac.New(sha256.New, []byte(current.Password))
	h.Write([]byte("rotator: second user " + other))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))[:25] + "aA1_" // what usual policies ask for
}

// account is what the server knows of a user.
type account struct {
	name, status                   string
	tablespace, temporary, profile string
}

// find returns a user, or nil where there is none; maintained tells that Oracle
// made it, and powerful that it could make itself any other.
func (s *session) find(ctx context.Context, name string) (a *account, maintained, powerful bool, err error) {
	const what = "the user could not be read"
	rows, err := s.texts(ctx, what, "SELECT username, account_status, default_tablespace, temporary_tablespace, profile, oracle_maintained FROM dba_users WHERE username = :1", name)
	if err != nil || len(rows) == 0 {
		return nil, false, false, err
	}
	r := rows[0]
	// Its roles can have roles themselves.
	power, err := s.texts(ctx, what, `SELECT granted_role FROM dba_role_privs WHERE granted_role = 'DBA' START WITH grantee = :1 CONNECT BY NOCYCLE PRIOR granted_role = grantee
UNION ALL SELECT privilege FROM dba_sys_privs WHERE privilege IN ('ALTER USER', 'BECOME USER', 'GRANT ANY ROLE', 'GRANT ANY PRIVILEGE', 'GRANT ANY OBJECT PRIVILEGE')
	AND (grantee = :2 OR grantee IN (SELECT granted_role FROM dba_role_privs START WITH grantee = :3 CONNECT BY NOCYCLE PRIOR granted_role = grantee))`, name, name, name)
	return &account{r[0], r[1], r[2], r[3], r[4]}, r[5] == "Y", len(power) > 0, err
}

// ordinary returns a user that a superuser may change on the strength of a
// secret.
func (s *session) ordinary(ctx context.Context, name string) (*account, error) {
	a, maintained, powerful, err := s.find(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", name)
	case maintained || powerful || name == canonical(s.target.User):
		return nil, engine.Errorf(engine.TakeoverRefused, "rotate an administrator by its own secret, as a single user", "the user %q is an administrator", name)
	}
	return a, nil
}

// mark is how a pair knows itself: the first user may log in through the second.
// To allow that takes the privilege ALTER USER, and who has it could set the
// second user's password anyhow.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/ALTER-USER.html
func mark(first, second string) string {
	return "ALTER USER " + quoted(second) + " GRANT CONNECT THROUGH " + quoted(first)
}

// marked reports whether either of the two is marked as the other's second.
func (s *session) marked(ctx context.Context, p twoUsers) (bool, error) {
	rows, err := s.texts(ctx, "the pair's mark could not be read", "SELECT client FROM proxy_users WHERE proxy = :1 AND client = :2 OR proxy = :3 AND client = :4", p.current, p.other, p.other, p.current)
	return len(rows) > 0, err
}

// order reads both users and refuses to touch an other that is not ours; it is
// nil where there is none.
func (s *session) order(ctx context.Context, p twoUsers) (current, other *account, err error) {
	if current, err = s.ordinary(ctx, p.current); err != nil {
		return nil, nil, err
	}
	if other, _, _, err = s.find(ctx, p.other); err != nil || other == nil {
		return current, nil, err
	}
	if other, err = s.ordinary(ctx, p.other); err != nil || p.proved {
		return current, other, err
	}
	ours, err := s.marked(ctx, p)
	if err == nil && !ours {
		ours, err = s.unfinished(ctx, p)
	}
	if err == nil && !ours {
		err = engine.Errorf(engine.TakeoverRefused, "if it is this secret's second user all the same, say so as a superuser: "+mark(p.current, p.other),
			"the user %q exists, and nothing but its name says that it belongs to %q", p.other, p.current)
	}
	return current, other, err
}

// unfinished reports whether the other user is one that this engine made and did
// not come to mark: it is told from a stranger by the answer that it may not log
// in, in place of the one that its password is wrong. Who has a right was marked
// before, and is not asked: a few wrong passwords would lock a stranger's account.
func (s *session) unfinished(ctx context.Context, p twoUsers) (bool, error) {
	rights, err := s.rights(ctx, p.other, p)
	if err != nil || len(rights) > 0 {
		return false, err
	}
	there, err := s.engine.dial(ctx, p.birth)
	if err == nil {
		there.close()
	}
	return err == nil || code(err) == 1045, nil
}

// mayChange proves that the session's user may change other users.
func (s *session) mayChange(ctx context.Context, more ...string) error {
	rows, err := s.texts(ctx, "the login's privileges could not be read", "SELECT privilege FROM session_privs")
	if err != nil {
		return err
	}
	for _, needed := range append([]string{"ALTER USER"}, more...) {
		has := false
		for _, r := range rows {
			has = has || r[0] == needed
		}
		if !has {
			return engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the user %q has not the privilege %s", s.target.User, needed)
		}
	}
	return nil
}

// alternate makes the other user equal to the current one and sets its password
// last. A rehearsal proves what can be proved without a change.
func (s *session) alternate(ctx context.Context, p twoUsers, pending engine.Target, rehearsal bool) error {
	current, other, err := s.order(ctx, p)
	if err != nil {
		return err
	}
	if rehearsal {
		var more []string
		if other == nil {
			more = []string{"CREATE USER"}
		}
		return s.mayChange(ctx, more...)
	}
	if other == nil {
		_, err := s.conn.ExecContext(ctx, "CREATE USER "+quoted(p.other)+" IDENTIFIED BY "+quoted(p.birth.Password)+" DEFAULT TABLESPACE "+quoted(current.tablespace)+
			" TEMPORARY TABLESPACE "+quoted(current.temporary)+" PROFILE "+quoted(current.profile))
		if err := s.classify(ctx, "the user "+quoted(p.other)+" could not be created", rejected(err)); err != nil {
			return err
		}
		other = &account{p.other, "OPEN", current.tablespace, current.temporary, current.profile}
	}
	marked, err := s.marked(ctx, p)
	if err == nil && !marked {
		err = s.exec(ctx, mark(p.current, p.other))
	}
	if err != nil {
		return err
	}
	if err := s.attributes(ctx, current, other); err != nil {
		return err
	}
	if err := s.level(ctx, p); err != nil {
		return err
	}
	if strings.Contains(other.status, "LOCKED") {
		return s.setPassword(ctx, pending, "", "ACCOUNT UNLOCK")
	}
	return s.setPassword(ctx, pending, "")
}

// attributes gives the other user the current one's tablespaces, profile and
// quotas.
func (s *session) attributes(ctx context.Context, current, other *account) error {
	var clauses []string
	if current.tablespace != other.tablespace {
		clauses = append(clauses, "DEFAULT TABLESPACE "+quoted(current.tablespace))
	}
	if current.temporary != other.temporary {
		clauses = append(clauses, "TEMPORARY TABLESPACE "+quoted(current.temporary))
	}
	if current.profile != other.profile {
		clauses = append(clauses, "PROFILE "+quoted(current.profile))
	}
	want, err := s.quotas(ctx, current.name)
	if err != nil {
		return err
	}
	have, err := s.quotas(ctx, other.name)
	if err != nil {
		return err
	}
	for _, q := range want {
		if have.of(q[0]) != q[1] {
			clauses = append(clauses, "QUOTA "+limit(q[1])+" ON "+quoted(q[0]))
		}
	}
	for _, q := range have {
		named := slices.ContainsFunc(want, func(w []string) bool { return w[0] == q[0] })
		if !named && q[1] != "0" {
			clauses = append(clauses, "QUOTA 0 ON "+quoted(q[0]))
		}
	}
	if clauses == nil {
		return nil
	}
	return s.exec(ctx, "ALTER USER "+quoted(other.name)+" "+strings.Join(clauses, " "))
}

// quotas are pairs of a tablespace and the bytes that a user may have in it, -1
// for any number.
type quotas [][]string

// of returns a tablespace's quota, "0" where there is none.
func (q quotas) of(tablespace string) string {
	for _, each := range q {
		if each[0] == tablespace {
			return each[1]
		}
	}
	return "0"
}

func (s *session) quotas(ctx context.Context, name string) (quotas, error) {
	return s.texts(ctx, "the quotas could not be read", "SELECT tablespace_name, TO_CHAR(max_bytes) FROM dba_ts_quotas WHERE username = :1 AND dropped = 'NO' ORDER BY tablespace_name", name)
}

// limit writes a quota. What is no number of the server's becomes none.
func limit(bytes string) string {
	if bytes == "-1" {
		return "UNLIMITED"
	}
	if bytes == "" || strings.Trim(bytes, "0123456789") != "" {
		return "0"
	}
	return bytes
}
