package operator

import (
	"context"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Adopt returns the changes that take over the secret's two users, one line each, and applies them if
// apply is set. The secret must hold a credential of each user that the target accepts.
func Adopt(ctx context.Context, r *rotation.Rotator, arn string, apply bool) ([]string, error) {
	i, err := r.Inspect(ctx, arn)
	if err != nil {
		return nil, err
	}
	a, ok := i.Engine.(engine.Adopter)
	if !ok || i.Request.Strategy != engine.AlternatingUsers {
		return nil, engine.Errorf(engine.InvalidSecret, "rotate the secret",
			"nothing to take over: the engine %s with the strategy %s needs only the credentials",
			i.Kind.Names[0], i.Request.Strategy)
	}
	return i.Adopt(ctx, a, apply)
}
