package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
)

// set makes the pending value valid at the target, but only if AWSCURRENT stays valid. Otherwise finishSecret makes the
// change, so a rotation that stops halfway never leaves clients with a credential that the target refuses.
func (r *run) set(ctx context.Context) error {
	req, pending, err := r.staged(ctx)
	if err != nil {
		return err
	}
	const oneAtATime = "the target accepts one credential at a time: finishSecret makes the change"
	if r.inFinish(req) && r.kind.Overlap == engine.OneAtATime {
		r.log.Info(oneAtATime)
		return nil
	}
	if err := r.base(ctx, req, pending); err != nil {
		return err
	}
	if err := r.readPrevious(ctx, req); err != nil {
		return err
	}
	// To keep the current value valid, act only as AWSCURRENT: if that is refused, there is nothing to keep.
	req.KeepCurrent = r.inFinish(req)
	set := r.genuine(r.engine.Set)
	if req.KeepCurrent && !req.SuperuserChanges {
		err = r.exchange(ctx, func(ctx context.Context) error { return set(ctx, req.As(req.Current, false)) })
	} else {
		_, err = r.act(ctx, req, set)
	}
	refused := engine.CauseOf(err) == engine.LoginRefused
	switch {
	case err == nil:
		r.log.Info("pending value set at the target; AWSCURRENT stays valid")
	case errors.Is(err, engine.ErrOneAtATime):
		r.log.Info(oneAtATime)
	case req.KeepCurrent && !req.SuperuserChanges && (refused || errors.Is(err, errForged)):
		if refused {
			r.refused(awsCurrent)
		}
		r.log.Info("finishSecret makes the change with another version's credential")
	case req.Strategy == engine.AlternatingUsers && !refused && r.tries(ctx, req, req.Pending) == nil:
		// An engine sets the second user's password last, so an accepted login proves that the change is complete.
		r.log.Warn("login accepted although the change failed", "credential", awsPending, "cause", engine.CauseOf(err))
	default:
		return stuck(err)
	}
	return nil
}
