// Package influxdb rotates passwords of InfluxDB 1 users with InfluxQL over the HTTP API.
//
// Only a user with all privileges can change a password, even its own, so most secrets name a superuser secret.
// Source: https://docs.influxdata.com/influxdb/v1/administration/authentication_and_authorization/
package influxdb

import (
	"context"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of InfluxDB 1.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine. AWS has no template for it. Passwords need no escape in a URL.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"influxdb"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`&+=;",
			RequireEachIncludedType: true},
		SuperuserField: "masterarn",
	}
}

func parse(v engine.Value) (engine.Target, error) { return httpapi.ParseUser(v, 8086) }

// Next returns the current value with a new password. It refuses a password longer than bcrypt reads: the server would
// accept any password that begins with the same bytes.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	const limit = 72
	if n := r.Passwords.Length; n > limit {
		return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, "set PASSWORD_LENGTH to 72 or less",
			"a password of %d bytes is too long: the server checks only the first %d", n, limit)
	}
	return pair.Next(e.Kind(), r, parse)
}

// DryRun lists the users, which requires all privileges, and checks that the server requires credentials.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending credential valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in and checks that the server requires credentials. A user that changes itself must be allowed to.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(v)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.SuperuserChanges {
		_, err = s.query(ctx, "the login", "SHOW DATABASES")
	} else {
		_, err = s.users(ctx)
	}
	if err != nil {
		return err
	}
	return e.checked(ctx, s.Target)
}

func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.open(r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	users, err := s.users(ctx)
	if err == nil && rehearsal {
		err = e.checked(ctx, s.Target)
	}
	if err != nil {
		return err
	}
	admin, exists := users[pending.User]
	if !exists {
		return engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", pending.User)
	}
	if r.Superuser && admin {
		return engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "the user %q is an administrator: it has all "+
			"privileges", pending.User)
	}
	if rehearsal {
		return nil
	}
	return s.setPassword(ctx, pending.User, pending.Password)
}

// Needs adds the grant of all privileges: InfluxDB has no finer right to set a password.
// Source: https://docs.influxdata.com/influxdb/v1/administration/authentication_and_authorization/#admin-users
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Grants = []string{"GRANT ALL PRIVILEGES TO " + identifier(n.Login) + ";"}
	return nil
}
