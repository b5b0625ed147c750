// Package mysql rotates passwords of MySQL, Aurora MySQL and MariaDB users. The server, not the secret, says which
// system it is; mysql.go and mariadb.go hold the differences. If the server allows it, a single user's old password
// stays valid until the next rotation: as MySQL's retained password, or as MariaDB's second authentication method.
package mysql

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of MySQL 5.7 and later and MariaDB 10.4 and later.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// The longest user names. Source: https://dev.mysql.com/doc/refman/8.4/en/user-names.html
// and https://mariadb.com/kb/en/identifier-names/#maximum-length
const (
	mysqlNameLimit   = 32
	mariadbNameLimit = 80
)

// Kind describes the engine, with the names and defaults of AWS's templates.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"mysql", "aurora-mysql", "mariadb"},
		Overlap:      engine.AskTarget,
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		CloneSuffix:  "_clone",
		CloneLimit:   mariadbNameLimit,
	}
}

// parse reads a login and checks what only these servers require.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 3306, "")
	if err != nil {
		return t, err
	}
	invalid := func(format string, args ...any) error {
		return engine.Errorf(engine.InvalidSecret, "use the user's real name", format, args...)
	}
	switch {
	case strings.Trim(t.User, " \t\n\v\f\r") != t.User:
		// The servers trim white space from a name in a statement but not at a login: those would be two users.
		return t, invalid("the user name begins or ends with white space")
	case strings.ContainsFunc(t.User, func(c rune) bool { return c > 0xFFFF }):
		// The servers store names in three-byte UTF-8 and would replace it with a question mark, which is another name.
		return t, invalid("the user name has a character beyond U+FFFF")
	case utf8.RuneCountInString(t.User) > mariadbNameLimit:
		return t, invalid("the user name has more than %d characters", mariadbNameLimit)
	}
	return t, nil
}

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	k := e.Kind()
	if name, _ := r.Current.Text("engine"); name != "mariadb" {
		k.CloneLimit = mysqlNameLimit
	}
	return pair.Next(k, r, parse)
}

// DryRun sends statements that the server checks but does not execute: with a wrong password, or for an absent user.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.apply(ctx, r, true) }

// Set makes the pending credential valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.apply(ctx, r, false) }

func (e *Engine) apply(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	s.request = r
	r.Met(s.server)
	switch {
	case r.Superuser:
		current, err := parse(r.Current)
		if err != nil {
			return err
		}
		c := pair.Change{Kind: e.Kind(), Request: r, Rehearsal: rehearsal}
		t := target{session: s, change: c, current: current.User, pending: pending.User, password: pending.Password}
		return t.bySuperuser(ctx)
	case s.Target.User != pending.User:
		return engine.Errorf(engine.TakeoverRefused, "rotate every user by its own secret",
			"the user %q cannot change the password of %q", s.Target.User, pending.User)
	case s.Target.Password == pending.Password:
		return nil // an earlier call made the change
	case rehearsal:
		return s.dialect.rehearse(ctx, pending.Password, s.Target.Password)
	}
	current, _ := r.Current.Text("password")
	return s.dialect.change(ctx, pending.Password, s.Target.Password, current, r.KeepCurrent)
}

// Verify logs in and runs a query. It rehearses the change for a user that changes its own password.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.SuperuserChanges {
		return nil // connect has run a query
	}
	err = s.dialect.rehearse(ctx, s.Target.Password, "")
	if errors.Is(err, engine.PolicyRejected) {
		return nil // says nothing about the next password
	}
	return err
}

// Retire ends the overlap: afterwards only the pending password is valid.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	if r.Superuser {
		only := *r
		only.Proofs, only.KeepCurrent = nil, false
		return e.Set(ctx, &only)
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	old, _ := r.Current.Text("password")
	return s.dialect.retire(ctx, s.Target.Password, old)
}
