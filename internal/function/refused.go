package function

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// refused serves the secrets of an engine that the function does not contain. Every call returns the reason, which is
// more helpful than the error for an unknown engine.
type refused struct {
	names  []string
	reason error
}

// db2 refuses RDS's names for Db2, for which there is no maintained driver in pure Go.
var db2 = refused{[]string{"db2", "db2*"}, engine.Errorf(engine.InvalidSecret,
	"keep AWS's SecretsManagerRDSDb2RotationSingleUser or -MultiUser template for this secret, or let RDS manage the "+
		"master user's password",
	"Db2 is not supported: its driver needs IBM's client library, which this function does not contain")}

func (e refused) Kind() engine.Kind {
	// Secrets that name a superuser or the strategy get the same error.
	return engine.Kind{Names: e.names, UserField: "username", SecretFields: []string{"password"}, CloneSuffix: "_clone"}
}

func (e refused) Next(context.Context, *engine.Request) (engine.Value, error) {
	return engine.Value{}, e.reason
}

func (e refused) Set(context.Context, *engine.Request) error { return e.reason }

func (e refused) Verify(context.Context, *engine.Request, engine.Value) error { return e.reason }
