// Package sqlserver rotates the passwords of SQL Server: of logins and of users
// of contained databases, for a single user and for alternating users.
//
// A password is set by ALTER LOGIN or ALTER USER, sent as a batch of its own:
// SQL Server keeps the text of such a batch out of its traces. There is no form
// with a hash that a login with CHECK_POLICY may be given.
package sqlserver

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf16"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates logins and contained users of SQL Server 2012 and later.
type Engine struct{ tls engine.TLSPolicy }

var _ engine.DryRunner = (*Engine)(nil)

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine, with the names and the defaults of AWS's templates
// and the names that RDS gives its editions.
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

// limit is the greatest length of a name and of a password in characters.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/create-login-transact-sql
const limit = 128

// parse reads a login and checks what only SQL Server asks for.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 1433, "master")
	if err != nil {
		return t, err
	}
	var fault string
	switch {
	case strings.ContainsRune(t.User, '\\'):
		// The driver would log in as a Windows user.
		fault = "the user is one of Windows, whose password SQL Server does not keep"
	case length(t.User) > limit || length(t.Password) > limit:
		fault = "the user name or the password has more than 128 characters"
	case strings.ContainsFunc(t.User+t.Password+t.Database, unicode.IsControl):
		fault = "the user name, the password or dbname has a control character, such as an end of line"
	default:
		return t, nil
	}
	return t, engine.Errorf(engine.InvalidSecret, "correct the secret's value; its form is in the engine's page of the documentation", "the secret's value is not a valid login: %s", fault)
}

// length counts as the server does, in UTF-16 units.
func length(s string) int { return len(utf16.Encode([]rune(s))) }

// Next returns the current value with a new password and, for alternating
// users, the other user's name.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	next, err := pair.Next(e.Kind(), r)
	if err == nil {
		_, err = parse(next)
	}
	return next, err
}

// DryRun logs in, checks the right to make the change and the new password by
// the documented rules for complexity. It makes no change that it would have to
// take back: a password that was set in a transaction and then rolled back would
// be the end of the login if only once the rollback did not do what is said of it.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, true)
}

// Set makes the pending password valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, false)
}

// Verify logs in and asks for an answer. Every login may change its own
// password, so that there is nothing else to prove.
func (e *Engine) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.close()
	_, err = s.texts(ctx, "the query failed", "SELECT @@VERSION")
	return err
}

// change connects as r.Login and makes the change that r asks for, or rehearses
// it.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.close()
	if r.Superuser {
		stored := func(name string) string {
			if strings.EqualFold(name, s.target.User) { // most collations know no case
				return s.target.User
			}
			return name
		}
		return pair.Apply(ctx, &target{session: s, request: r, password: pending.Password},
			pair.Change{Kind: e.Kind(), Request: r, Superuser: s.target.User, Current: stored(user(r.Current)), Pending: stored(pending.User), Rehearsal: rehearsal})
	}
	if s.target.Password == pending.Password {
		// An earlier try of this step came this far. To set the same password
		// again would break a policy that remembers passwords.
		return nil
	}
	p, err := s.find(ctx, pending.User)
	if err == nil && p == nil {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no login and no contained user %q", pending.User)
	}
	if err == nil {
		err = p.policy(pending.Password)
	}
	if err != nil || rehearsal {
		return err
	}
	return s.setPassword(ctx, p, pending.Password, s.target.Password)
}

func user(v engine.Value) string {
	name, _ := v.Text("username")
	return name
}
