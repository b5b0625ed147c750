//go:build !with_oracle

package function

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// oracleEngine recognises Oracle's secrets and says how to build a function that
// rotates them: the driver nearly doubles the function's size, which all others
// should not pay.
func oracleEngine(engine.TLSPolicy) engine.Engine { return absent{} }

// absent refuses every call.
type absent struct{}

func (absent) Kind() engine.Kind {
	return engine.Kind{Names: []string{"oracle", "oracle-*", "custom-oracle-*"}, UserField: "username", SecretFields: []string{"password"}}
}

func (absent) refusal() error {
	return engine.Errorf(engine.InvalidSecret, "build it with them: `TAGS=with_oracle sam build`, or `make build TAGS=with_oracle`", "this function was built without Oracle")
}

func (a absent) Next(context.Context, *engine.Request) (engine.Value, error) {
	return engine.Value{}, a.refusal()
}

func (a absent) Set(context.Context, *engine.Request) error { return a.refusal() }

func (a absent) Verify(context.Context, *engine.Request, engine.Value) error { return a.refusal() }
