// Package influxdb rotates the passwords of users of InfluxDB 1, by InfluxQL over
// its HTTP API.
//
// Only a user with all privileges can change a password, be it its own, so that
// most secrets name a superuser's.
// Source: https://docs.influxdata.com/influxdb/v1/administration/authentication_and_authorization/
package influxdb

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of InfluxDB 1.
type Engine struct{ tls engine.TLSPolicy }

var _ engine.DryRunner = (*Engine)(nil)

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine. AWS has no template for it. The characters that
// passwords have may stand in a URL as they are, where many clients put them; the
// server's bcrypt ends at 72 bytes.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"influxdb"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`&+=;", RequireEachIncludedType: true},
		CloneSuffix:  "_clone",
		CloneLimit:   255,
	}
}

// passwordLimit is where bcrypt ends: a longer password would be accepted by its
// beginning.
const passwordLimit = 72

// parse reads a login.
func parse(v engine.Value) (engine.Target, error) {
	const advice = "correct the secret's value; its form is in the engine's page of the documentation"
	t, err := engine.ParseTarget(v, 8086, "")
	switch {
	case err != nil:
	case strings.Contains(t.User, ":"):
		err = engine.Errorf(engine.InvalidSecret, advice, "the user name has a colon, with which nobody can log in by HTTP")
	case len(t.User) > 255:
		err = engine.Errorf(engine.InvalidSecret, advice, "the user name has more than 255 bytes")
	}
	return t, err
}

// Next returns the current value with a new password and, for alternating users,
// the other user's name.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	if n := r.Passwords.Length; n > passwordLimit {
		return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, "set PASSWORD_LENGTH to 72 or less", "a password of %d bytes is too long: the server looks at the first 72", n)
	}
	return pair.Next(e.Kind(), r)
}

// DryRun logs in and reads what Set would change, which only a user with all
// privileges may, or anybody where the server asks for no credentials: that is
// looked at, too.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, true)
}

// Set makes the pending password valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in. A user that changes its own password must be able to. A server
// that asks for no credentials takes any, so that its answer proves nothing.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(v)
	if err != nil {
		return err
	}
	defer s.api.Close()
	if r.SuperuserChanges {
		err = s.login(ctx)
	} else {
		_, err = s.users(ctx)
	}
	if err != nil {
		return err
	}
	return e.checked(ctx, s.target)
}

// change makes the change that r asks for, unless it is a rehearsal.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.open(r.Login)
	if err != nil {
		return err
	}
	defer s.api.Close()
	users, err := s.users(ctx)
	if err == nil && rehearsal {
		err = e.checked(ctx, s.target)
	}
	if err != nil {
		return err
	}
	if r.Superuser {
		current, err := parse(r.Current)
		if err != nil {
			return err
		}
		return pair.Apply(ctx, target{s, e, r, users, pending.Password}, pair.Change{Kind: e.Kind(), Request: r, Superuser: s.target.User, Current: current.User, Pending: pending.User, Rehearsal: rehearsal})
	}
	if rehearsal {
		return nil
	}
	return s.setPassword(ctx, pending.User, pending.Password)
}
