// Package sqlserver rotates passwords of SQL Server logins and of users of contained databases.
//
// ALTER LOGIN or ALTER USER sets a password, in a separate batch: SQL Server keeps the text of such a batch out of
// its traces. A hash is not an option, because logins with CHECK_POLICY do not accept one.
package sqlserver

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates logins and contained users of SQL Server 2012 and later.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine, with the names and defaults of AWS's templates and RDS's names.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"sqlserver", "sqlserver-*", "custom-sqlserver-*"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		CloneSuffix:  "_clone",
		CloneLimit:   limit,
	}
}

// limit is the maximum length of a name and of a password in characters.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/create-login-transact-sql
const limit = 128

// parse reads a login and checks what only SQL Server requires.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 1433, "master")
	if err != nil {
		return t, err
	}
	var fault string
	switch {
	case strings.ContainsRune(t.User, '\\'):
		// The driver would log in as a Windows user.
		fault = "the user is a Windows user, whose password SQL Server does not store"
	case length(t.User) > limit || length(t.Password) > limit:
		fault = "the user name or the password has more than 128 characters"
	case strings.ContainsFunc(t.User+t.Password+t.Database, unicode.IsControl):
		fault = "the user name, the password or dbname has a control character, such as an end of line"
	default:
		return t, nil
	}
	return t, engine.Errorf(engine.InvalidSecret, "correct the secret's value; the engine's page describes it",
		"the secret's value is not a valid login: %s", fault)
}

// length counts as the server does, in UTF-16 units.
func length(s string) int { return len(utf16.Encode([]rune(s))) }

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return pair.Next(e.Kind(), r, parse)
}

// DryRun logs in and checks the right to make the change, the databases and the documented password rules.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending credential valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in and runs a query. Every login may change its own password.
func (e *Engine) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Texts(ctx, "the query failed", "SELECT @@VERSION")
	return err
}

func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/set-lock-timeout-transact-sql
	if err := s.Bound(ctx, "SET LOCK_TIMEOUT ", time.Millisecond); err != nil {
		return err
	}
	if r.Superuser {
		stored := func(name string) string {
			if strings.EqualFold(name, s.Target.User) { // most collations ignore case
				return s.Target.User
			}
			return name
		}
		return pair.Apply(ctx, &target{session: s, request: r, password: pending.Password},
			pair.Change{Kind: e.Kind(), Request: r, Superuser: s.Target.User, Current: stored(user(r.Current)),
				Pending: stored(pending.User), Rehearsal: rehearsal})
	}
	if s.Target.Password == pending.Password {
		// An earlier attempt made the change. A policy with a password history would reject it now.
		return nil
	}
	p, err := s.existing(ctx, pending.User)
	if err == nil {
		err = p.policy(pending.Password)
	}
	if err != nil || rehearsal {
		return err
	}
	return s.setPassword(ctx, p, pending.Password, s.Target.Password)
}

func user(v engine.Value) string {
	name, _ := v.Text("username")
	return name
}
