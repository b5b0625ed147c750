// Package oracle rotates passwords of Oracle Database users.
//
// ALTER USER accepts no hash in a current format, so the server receives the password. Its audit log omits passwords.
package oracle

import (
	"context"
	"strings"
	"unicode"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Oracle Database 18c and later.
type Engine struct {
	base
	tls  engine.TLSPolicy
	open opener
}

type base = sqlengine.Engine[*sqlsession.Session]

// New returns the engine with the given policy for its connections, with the names and defaults of AWS's templates and
// RDS's names.
//
// Its overlap is OneAtATime because PASSWORD_ROLLOVER_TIME ends even if the rotation is abandoned after setSecret.
func New(tls engine.TLSPolicy) *Engine {
	e := &Engine{tls: tls, open: open}
	e.base = base{
		Port: 1521, Fault: fault, Connect: e.connect, Change: change, Grants: grants,
		About: engine.Kind{
			Names: []string{"oracle", "oracle-*", "custom-oracle-*"},
			Passwords: engine.PasswordPolicy{Length: 30, ExcludeCharacters: `/@"'\`, Rejected: `"`,
				RequireEachIncludedType: true},
			CloneSuffix: "_CLONE",
			CloneLimit:  30, // as in AWS's template; servers allow 128, which USERNAME_CHARACTER_LIMIT can set
		},
	}
	return e
}

func fault(t engine.Target) string {
	switch name := canonical(t.User); {
	case t.Database == "":
		return "dbname is missing"
	case strings.ContainsFunc(t.Database, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-$#", r)
	}):
		// It becomes part of a connect descriptor, where parentheses are special.
		return "dbname is neither a service name nor a SID"
	case strings.ContainsRune(name, '"') || strings.ContainsFunc(name, unicode.IsControl) || len(name) > 128:
		return "the user name is not valid in Oracle"
	case name == "SYS":
		return "SYS cannot log in without SYSDBA"
	case strings.ContainsRune(t.Password, '"') || strings.ContainsFunc(t.Password, unicode.IsControl):
		return "the password has a double quotation mark or a control character, which Oracle does not allow"
	}
	return ""
}

// canonical returns a user's name as the server stores it: in upper case, unless in double quotation marks.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/Database-Object-Names-and-Qualifiers.html
func canonical(user string) string {
	if n := len(user); n > 2 && user[0] == '"' && user[n-1] == '"' {
		return user[1 : n-1]
	}
	return strings.ToUpper(user)
}

// quoted quotes a name or a password, neither of which can contain a double quotation mark.
func quoted(s string) string { return `"` + s + `"` }

// change makes a change. A rehearsal only checks that it is allowed: a statement that could check more cannot be
// undone. With a PASSWORD_ROLLOVER_TIME, the current password also stays valid.
func change(ctx context.Context, s *sqlsession.Session, c pair.Change) error {
	// In seconds: a frozen function cannot cancel anything, so the server must end the wait.
	// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DDL_LOCK_TIMEOUT.html
	if err := s.Exec(ctx, "ALTER SESSION SET DDL_LOCK_TIMEOUT = 5"); err != nil {
		return err
	}
	c.Superuser, c.Current, c.Pending = canonical(c.Superuser), canonical(c.Current), canonical(c.Pending)
	password, _ := c.Request.Pending.Text("password")
	t := target{s, c, password}
	if c.Request.Superuser {
		return pair.Apply(ctx, t, c)
	}
	if c.Rehearsal || s.Target.Password == password {
		// An earlier attempt made the change. A profile with a password history would reject it now.
		return nil
	}
	return t.setPassword(ctx, c.Pending, " REPLACE "+quoted(s.Target.Password))
}

// setPassword sets a user's password; more is appended to the statement, which appears in no error. Like a logon
// trigger, a password verify function can raise any number from 20000 to 20999.
func (t target) setPassword(ctx context.Context, user, more string) error {
	what := "the password of " + quoted(user) + " could not be changed"
	_, err := t.Conn.ExecContext(ctx, "ALTER USER "+quoted(user)+" IDENTIFIED BY "+quoted(t.password)+more)
	if c := code(err); c >= 20000 && c <= 20999 {
		return engine.Errorf(engine.PolicyRejected, advicePolicy, "%s: %w", what, err)
	}
	return t.Classify(ctx, what, err)
}
