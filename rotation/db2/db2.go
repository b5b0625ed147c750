// Package db2 recognises the secrets of Db2, which AWS's templates rotate, and
// refuses them with the reason: the driver that those templates use needs IBM's
// own client library, which a static binary cannot hold, and a driver in pure Go
// that is kept up and tried is not to be had.
package db2

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// Engine refuses every call.
type Engine struct{}

var _ engine.Engine = (*Engine)(nil)

// New returns the engine. It makes no connections, whatever the policy.
func New(engine.TLSPolicy) *Engine { return &Engine{} }

// Kind claims the names that RDS gives Db2, so that such a secret is told apart
// from one with a mistyped engine.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{Names: []string{"db2", "db2*"}, UserField: "username", SecretFields: []string{"password"}}
}

// refusal is the answer to every call.
func refusal() error {
	return engine.Errorf(engine.InvalidSecret,
		"keep AWS's SecretsManagerRDSDb2RotationSingleUser or -MultiUser template for this secret, or let RDS manage the master user's password",
		"Db2 is not supported: its driver needs IBM's client library, which this function does not contain")
}

// Next returns an error with the cause InvalidSecret.
func (*Engine) Next(context.Context, *engine.Request) (engine.Value, error) {
	return engine.Value{}, refusal()
}

// Set returns an error with the cause InvalidSecret.
func (*Engine) Set(context.Context, *engine.Request) error { return refusal() }

// Verify returns an error with the cause InvalidSecret: it is what a first test of
// the rotation's configuration calls.
func (*Engine) Verify(context.Context, *engine.Request, engine.Value) error { return refusal() }
