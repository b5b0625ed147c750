package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// test logs in with the pending value if setSecret has made it valid, and otherwise rehearses finishSecret's change.
//
// Secrets Manager also runs this step alone if RotateSecret is called with RotateImmediately=false. Then the pending
// value is a copy of the current one, and test rehearses a rotation to a fresh value, which is never stored.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html (RotateImmediately)
func (r *run) test(ctx context.Context) error {
	req, pending, err := r.staged(ctx)
	if err != nil {
		return err
	}
	current, err := r.current(ctx)
	if err != nil {
		return err
	}
	req.Current, req.Base, req.Accepted = current.value, current.id, current.value
	if err := r.checkOnlyCredentialDiffers(req, pending.value); err != nil {
		return err
	}
	copied := pending.value.Equal(current.value)
	if copied || !r.inFinish(req) {
		switch err := r.verify(ctx, req, 2, 2*time.Second); {
		case errors.Is(err, engine.ErrNotVerifiable):
			r.log.Warn("login not tried: the secret does not say where to log in", "credential", awsPending)
		case err != nil:
			return err
		default:
			r.log.Info("login accepted", "credential", awsPending)
		}
		if !copied || r.kind.NoTarget {
			return nil
		}
		if req.Pending, err = r.next(ctx, req); err != nil {
			return err
		}
	}
	if _, err = r.act(ctx, req, r.dryRun); copied {
		return err
	}
	return stuck(err)
}
