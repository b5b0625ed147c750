package operator

import (
	"context"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Adopt returns what taking over the secret's two users changes, one line each, and does it if apply
// is set. Both users must have a credential in the secret that the target accepts.
func Adopt(ctx context.Context, r *rotation.Rotator, arn string, apply bool) ([]string, error) {
	i, err := r.Inspect(ctx, arn)
	if err != nil {
		return nil, err
	}
	a, ok := i.Engine.(engine.Adopter)
	if !ok || i.Request.Strategy != engine.AlternatingUsers {
		return nil, engine.Errorf(engine.InvalidSecret, "rotate it", "there is nothing to take over: the engine %s, with the strategy %s, needs nothing but the credentials", i.Kind.Names[0], i.Request.Strategy)
	}
	return i.Adopt(ctx, a, apply)
}
