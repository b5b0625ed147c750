// Package sqlserver rotates passwords of SQL Server logins and of users of contained databases.
//
// ALTER LOGIN or ALTER USER sets a password, in a separate batch: SQL Server keeps the text of such a batch out of
// its traces. A hash is not an option, because logins with CHECK_POLICY do not accept one.
package sqlserver

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf16"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

// Engine rotates logins and contained users of SQL Server 2012 and later.
type Engine struct {
	base
	tls engine.TLSPolicy
}

type base = sqlengine.Engine[*sqlsession.Session]

// New returns the engine with the given policy for its connections, with the names and defaults of AWS's templates and
// RDS's names.
func New(tls engine.TLSPolicy) *Engine {
	e := &Engine{tls: tls}
	e.base = base{
		Port: 1433, Database: "master", Fault: fault, Connect: e.connect, Change: e.change, Grants: grants,
		About: engine.Kind{
			Names:       []string{"sqlserver", "sqlserver-*", "custom-sqlserver-*"},
			Passwords:   engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
			CloneSuffix: "_clone",
			CloneLimit:  limit,
		},
	}
	return e
}

// limit is the maximum length of a name and of a password in characters.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/create-login-transact-sql
const limit = 128

func fault(t engine.Target) string {
	switch {
	case strings.ContainsRune(t.User, '\\'):
		// The driver would log in as a Windows user.
		return "the user is a Windows user, whose password SQL Server does not store"
	case length(t.User) > limit || length(t.Password) > limit:
		return "the user name or the password has more than 128 characters"
	case strings.ContainsFunc(t.User+t.Password+t.Database, unicode.IsControl):
		return "the user name, the password or dbname has a control character, such as an end of line"
	}
	return ""
}

// length counts as the server does, in UTF-16 code units.
func length(s string) int { return len(utf16.Encode([]rune(s))) }

// change makes a change. A rehearsal checks the superuser's right to make it, the databases, and what is documented of
// the password policy.
func (e *Engine) change(ctx context.Context, s *sqlsession.Session, c pair.Change) error {
	// In milliseconds: a frozen function cannot cancel anything, so the server must end the wait.
	// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/set-lock-timeout-transact-sql
	if err := s.Exec(ctx, "SET LOCK_TIMEOUT 5000"); err != nil {
		return err
	}
	password, _ := c.Request.Pending.Text("password")
	t := &target{s, e, c.Request, password}
	if c.Request.Superuser {
		return pair.Apply(ctx, t, c)
	}
	if s.Target.Password == password {
		// An earlier attempt made the change. A policy with a password history would reject it now.
		return nil
	}
	kind := "LOGIN"
	contained, err := t.contained(ctx, c.Pending)
	if contained {
		kind = "USER"
	}
	if c.Rehearsal && err == nil && !contained {
		var p *principal
		if p, err = t.Find(ctx, c.Pending); p != nil {
			err = p.policy(password)
		}
	}
	if err != nil || c.Rehearsal {
		return err
	}
	return t.setPassword(ctx, kind, c.Pending, " OLD_PASSWORD = "+text(s.Target.Password))
}

// setPassword changes a password. A user that changes its own must give the old one: the one that it logged in with,
// which is not always AWSCURRENT's. The statement is a separate batch and appears in no error.
func (t *target) setPassword(ctx context.Context, kind, name, old string) error {
	return t.Secretly(ctx, "the password of "+identifier(name)+" could not be changed",
		"ALTER "+kind+" "+identifier(name)+" WITH PASSWORD = "+text(t.password)+old)
}

// contained reports whether a name is a contained user's. At a login to its database, it hides a login with that name.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/databases/contained-databases
func (t *target) contained(ctx context.Context, name string) (bool, error) {
	rows, err := t.Texts(ctx, "the user could not be read", "SELECT name FROM sys.database_principals WHERE name = "+
		text(name)+" AND type = 'S' AND authentication_type = 2")
	return len(rows) > 0, err
}

func user(v engine.Value) string {
	name, _ := v.Text("username")
	return name
}
