package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
)

// set makes the pending value valid at the target, but only where AWSCURRENT stays valid.
// Elsewhere finishSecret makes the change, so that a rotation which stops halfway never
// leaves clients with a credential that the target refuses.
func (r *run) set(ctx context.Context) error {
	req, pending, d, err := r.staged(ctx)
	if err != nil {
		return err
	}
	if r.inFinish(req) && r.kind.Overlap == engine.OneAtATime {
		r.log.Info("the target accepts one credential at a time: finishSecret makes the change")
		return nil
	}
	if d.labels == nil {
		if d, err = r.prologue(ctx); err != nil {
			return err
		}
	}
	if err := r.base(ctx, req, d, pending); err != nil {
		return err
	}
	if r.inFinish(req) {
		return r.setNext(ctx, req)
	}
	if _, ok := r.engine.(engine.Minter); ok {
		if err := r.readPrevious(ctx, req); err != nil {
			return err
		}
	}
	err = r.apply(ctx, req)
	if err != nil && req.Strategy == engine.AlternatingUsers && engine.CauseOf(err) != engine.LoginRefused && r.tries(ctx, req, req.Pending) == nil {
		// Setting the second user's password is an engine's last change.
		r.log.Warn("login accepted, although the change failed", "credential", awsPending, "cause", engine.CauseOf(err))
		err = nil
	}
	if err != nil {
		return stuck(err)
	}
	r.log.Info("pending value set at the target")
	return nil
}

// inFinish reports whether finishSecret makes the change, or completes it.
func (r *run) inFinish(req *engine.Request) bool {
	return req.Strategy == engine.SingleUser && r.kind.Overlap != engine.BothWork
}

// setNext adds the pending credential to the current one where the target accepts both.
// It acts only as AWSCURRENT: where that is refused there is nothing to keep valid.
func (r *run) setNext(ctx context.Context, req *engine.Request) error {
	req.KeepCurrent = true
	var err error
	if req.SuperuserChanges {
		err = r.apply(ctx, req)
	} else {
		err = r.exchange(ctx, func(ctx context.Context) error { return r.engine.Set(ctx, req.As(req.Current, false)) })
	}
	switch {
	case err == nil:
		r.log.Info("pending value set at the target, next to the current one")
	case errors.Is(err, engine.ErrOneAtATime):
		r.log.Info("the target accepts one credential at a time: finishSecret makes the change")
	case engine.CauseOf(err) == engine.LoginRefused && !req.SuperuserChanges:
		r.refused(awsCurrent)
		r.log.Info("finishSecret makes the change by another version")
	default:
		return stuck(err)
	}
	return nil
}

// apply makes the pending value valid at the target.
func (r *run) apply(ctx context.Context, req *engine.Request) error {
	return r.act(ctx, req, r.engine.Set)
}

// stuck gives a rejected password advice that works: a version cannot be changed, so
// repeating the step does not help.
func stuck(err error) error {
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Cause != engine.PolicyRejected {
		return err
	}
	return engine.Errorf(engine.PolicyRejected, "correct the password settings; then `rotatorctl recover --yes` abandons this rotation, and the next one generates another value",
		"the target rejects the pending value: %w", e.Err)
}
