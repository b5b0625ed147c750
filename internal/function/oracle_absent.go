//go:build !with_oracle

package function

import (
	"context"

	"example.com/rotator/rotation"
)

// oracleEngine recognises Oracle's secrets and says how to build a function that
// rotates them: the driver nearly doubles the function's size, which all others
// should not pay.
func oracleEngine(rotation.TLSPolicy) rotation.Engine { return absent{} }

// absent refuses every call.
type absent struct{}

func (absent) Kind() rotation.Kind {
	return rotation.Kind{Names: []string{"oracle", "oracle-*", "custom-oracle-*"}, UserField: "username", SecretFields: []string{"password"}}
}

func (absent) refusal() error {
	return rotation.Errorf(rotation.InvalidSecret, "build it with them: `TAGS=with_oracle sam build`, or `make build TAGS=with_oracle`", "this function was built without Oracle")
}

func (a absent) Next(context.Context, *rotation.Request) (rotation.Value, error) {
	return rotation.Value{}, a.refusal()
}

func (a absent) Set(context.Context, *rotation.Request) error { return a.refusal() }

func (a absent) Verify(context.Context, *rotation.Request, rotation.Value) error { return a.refusal() }
