package rotation

import (
	"context"
	"time"
)

// finish moves AWSCURRENT to the pending version, but only from the version that
// the pending one was made from. The service removes AWSPENDING by itself.
func (r *run) finish(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return unlessDone(err)
	}
	pending, err := r.pending(ctx)
	if err != nil {
		return unlessDone(err)
	}
	from := d.holder(awsCurrent)
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
	retire := r.retirement
	retirer, overlaps := r.engine.(Retirer)
	early := overlaps && retire.now && req.Strategy == SingleUser
	if !r.sealed(req, pending.value, from) || early {
		current, err := r.current(ctx)
		if err != nil {
			return unlessDone(err)
		}
		if current.id != from {
			return r.edited(current)
		}
		req.Current = current.value
		if err := r.kept(req, d, current, pending); err != nil {
			return err
		}
	}
	if err := r.secret.promote(ctx, req.Version, from); err != nil {
		// The call may have succeeded although its answer was lost, and another call of
		// this step may have been first. Either way the rest of the step is still due.
		d, derr := r.secret.describe(ctx)
		if derr != nil {
			return err
		}
		switch holder := d.holder(awsCurrent); holder {
		case req.Version:
		case from:
			return err
		default:
			return r.edited(version{id: holder})
		}
	}
	r.rotated, r.window = true, time.Since(pending.created)
	r.log.Info("promoted to AWSCURRENT", "from", from)
	if early {
		return r.retire(ctx, retirer, req, retire.grace)
	}
	return nil
}

// retire ends the overlap early, after a grace time that must fit into the
// invocation. The pending value is current by now, so an error here would only
// have the rotation repeated in vain: the next rotation retires the old one.
func (r *run) retire(ctx context.Context, e Retirer, req *Request, grace time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < grace+labelReserve {
		r.log.Warn("old credential kept until the next rotation: the grace time exceeds the invocation", "grace", grace.String())
		return nil
	}
	if sleep(ctx, grace) != nil {
		return nil
	}
	err := r.tries(ctx, req, req.Pending)
	if err != nil {
		r.log.Warn("old credential kept: the new one could not be verified", "cause", CauseOf(err))
		return nil
	}
	if req.BySuperuser {
		err = r.asSuperuser(ctx, req, func(ctx context.Context) error { return e.Retire(ctx, req) })
	} else {
		req.Login = req.Pending
		err = r.exchange(ctx, func(ctx context.Context) error { return e.Retire(ctx, req) })
	}
	if err != nil {
		r.log.Warn("old credential kept until the next rotation", "cause", CauseOf(err))
		return nil
	}
	r.log.Info("old credential retired")
	return nil
}
