// Package sqlengine is the code that the engines of SQL servers share: reading a request and logging in for it.
package sqlengine

import (
	"context"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine has the methods that these engines share by embedding it. S is a login at a server.
type Engine[S interface{ Close() }] struct {
	About    engine.Kind
	Port     int    // the default
	Database string // the default
	// Fault returns why a login is not valid at this kind of server, or "".
	Fault func(engine.Target) string
	// Connect logs in. The error has the cause LoginRefused only if the server refuses the login.
	Connect func(context.Context, engine.Target) (S, error)
	// Change makes or rehearses a change as the session's user. The change has the users' names as in the secret.
	Change func(context.Context, S, pair.Change) error
	// Grants adds what the superuser needs at the server.
	Grants func(context.Context, *engine.Request, *engine.Needs) error
}

// Kind describes the engine. The fields are those that engine.ParseTarget reads.
func (e *Engine[S]) Kind() engine.Kind {
	k := e.About
	k.UserField, k.SecretFields = "username", []string{"password"}
	return k
}

// Next returns the value that follows the current one.
func (e *Engine[S]) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return pair.Next(e.Kind(), r, e.Parse)
}

// DryRun logs in and rehearses the change as far as the server allows.
func (e *Engine[S]) DryRun(ctx context.Context, r *engine.Request) error {
	return e.Act(ctx, r, r.Login, true, e.Change)
}

// Set makes the pending credential valid.
func (e *Engine[S]) Set(ctx context.Context, r *engine.Request) error {
	return e.Act(ctx, r, r.Login, false, e.Change)
}

// Verify logs in, which is enough where every user may change its own password.
func (e *Engine[S]) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	return e.With(ctx, v, func(S) error { return nil })
}

// Needs adds what the change needs at the server.
func (e *Engine[S]) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if r.Superuser {
		return e.Grants(ctx, r, n)
	}
	n.Note = "none: a user may change its own password"
	return nil
}

// Parse reads a login.
func (e *Engine[S]) Parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, e.Port, e.Database)
	if err != nil {
		return t, err
	}
	if fault := e.Fault(t); fault != "" {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's value; the engine's page describes it",
			"the secret's value is not a valid login: %s", fault)
	}
	return t, err
}

// Act logs in with a value and calls do for the users of a request.
func (e *Engine[S]) Act(ctx context.Context, r *engine.Request, login engine.Value, rehearsal bool,
	do func(context.Context, S, pair.Change) error) error {
	current, err := e.Parse(r.Current)
	if err != nil {
		return err
	}
	pending, err := e.Parse(r.Pending)
	if err != nil {
		return err
	}
	user, _ := login.Text("username")
	return e.With(ctx, login, func(s S) error {
		return do(ctx, s, pair.Change{Kind: e.Kind(), Request: r, Superuser: user, Current: current.User,
			Pending: pending.User, Rehearsal: rehearsal})
	})
}

// With logs in with a value and calls do.
func (e *Engine[S]) With(ctx context.Context, v engine.Value, do func(S) error) error {
	t, err := e.Parse(v)
	if err != nil {
		return err
	}
	s, err := e.Connect(ctx, t)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}
