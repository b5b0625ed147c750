package rotation

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// create proves the rotation possible, makes the next value and stages it.
//
// The value is stored without a look at whether one is there: Secrets Manager
// refuses to change a version, which says the same in one call less.
func (r *run) create(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return err
	}
	current, err := r.latest(ctx, d)
	if err != nil {
		return err
	}
	req, err := r.choose(current)
	if err != nil {
		return err
	}
	if m, ok := r.engine.(engine.Minter); ok {
		return r.mint(ctx, m, req, current)
	}
	next, err := r.next(ctx, req)
	if err != nil {
		return err
	}
	if err := r.checkOnlyCredentialDiffers(req, current, next); err != nil {
		return err
	}
	req.Pending = next
	if err := r.prove(ctx, req); err != nil {
		return err
	}
	if r.opened == awsPending {
		// An earlier try of this rotation has come as far as the change.
		r.log.Info("pending value exists already")
		return nil
	}
	stored, err := r.secret.put(ctx, req.Version, r.event.RotationToken, next)
	if err != nil {
		return err
	}
	r.log.Info("pending value stored", "first", stored)
	if stored {
		return r.checkNotEditedSince(ctx, req, current, next)
	}
	return nil
}

// next asks the engine for the value to follow, as one exchange with the target.
func (r *run) next(ctx context.Context, req *engine.Request) (engine.Value, error) {
	var v engine.Value
	err := r.exchange(ctx, func(ctx context.Context) (err error) {
		v, err = r.engine.Next(ctx, req)
		return err
	})
	if err == nil {
		r.see(v)
	}
	return v, err
}

// prove finds out, without changing anything, whether the change will be possible.
func (r *run) prove(ctx context.Context, req *engine.Request) error {
	return r.act(ctx, req, r.dryRun)
}

func (r *run) dryRun(ctx context.Context, req *engine.Request) error {
	if d, ok := r.engine.(engine.DryRunner); ok {
		return d.DryRun(ctx, req)
	}
	return r.engine.Verify(ctx, req, req.Login)
}
