package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// test logs in with the pending value where setSecret has made it valid, and otherwise
// rehearses the change that finishSecret will make.
//
// It also runs by itself, when RotateSecret is told not to rotate immediately: then the
// pending value is a copy of the current one, and a rotation from it to a fresh value,
// which is never stored, is rehearsed.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html (RotateImmediately)
func (r *run) test(ctx context.Context) error {
	req, pending, d, err := r.staged(ctx)
	if err != nil {
		return err
	}
	copied := false
	if r.inFinish(req) || !r.sealed(req, pending.value, d.holder(awsCurrent)) {
		current, err := r.current(ctx)
		if err != nil {
			return err
		}
		req.Current, req.Base = current.value, current.id
		if err := r.checkOnlyCredentialDiffers(req, current, pending.value); err != nil {
			return err
		}
		copied = pending.value.Equal(current.value)
	}
	if copied || !r.inFinish(req) {
		switch err := r.verify(ctx, req, 2, 2*time.Second); {
		case errors.Is(err, engine.ErrNotVerifiable):
			r.log.Warn("login not tried: the secret does not say where", "credential", awsPending)
		case err != nil:
			return err
		default:
			r.log.Info("login accepted", "credential", awsPending)
		}
	}
	switch {
	case copied && !r.kind.NoTarget:
		if req.Pending, err = r.next(ctx, req); err != nil {
			return err
		}
		return r.prove(ctx, req)
	case copied || !r.inFinish(req):
		return nil
	}
	return stuck(r.prove(ctx, req))
}

// verify logs in with the pending value. A host that follows another, as a reader does, may not
// know the value yet, so a refused login is repeated while time allows, after pauses that
// double. It is not tried more often than the given number, because targets lock accounts after
// a few refusals.
func (r *run) verify(ctx context.Context, req *engine.Request, tries int, pause time.Duration) error {
	for try := 1; ; try++ {
		err := r.tries(ctx, req, req.Pending)
		if !errors.Is(err, engine.LoginRefused) {
			return err
		}
		r.refused(awsPending)
		late := !r.share.IsZero() && time.Until(r.share) < pause+fairChance/2
		if try == tries || late || sleep(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// staged reads the pending version and makes the request of it, and returns errDone where it is
// AWSCURRENT. It asks for the secret's state only where the read fails, to say why, or where a
// tag of the secret could matter; otherwise the description is empty.
func (r *run) staged(ctx context.Context) (*engine.Request, version, description, error) {
	r.options = option{getenv: r.cfg.Getenv}
	var d description
	pending, err := r.secret.get(ctx, r.event.ClientRequestToken, awsPending)
	switch {
	case err == nil && pending.has(awsCurrent):
		r.log.Info("version is current already")
		return nil, pending, d, errDone
	case err != nil || !r.untagged(pending.value):
		var perr error
		if d, perr = r.prologue(ctx); perr != nil {
			return nil, pending, d, perr
		}
		if err != nil {
			if pending, err = r.pending(ctx); err != nil {
				return nil, pending, d, err
			}
		}
	}
	req, err := r.choose(pending)
	if err == nil {
		req.Pending = pending.value
	}
	return req, pending, d, err
}

// untagged reports whether the value alone says how to verify it: it names its
// engine, which has no settings of its own, and leaves no choice of strategy.
func (r *run) untagged(v engine.Value) bool {
	name, _ := v.Text("engine")
	e := r.cfg.engine(name, v)
	if name == "" || e == nil {
		return false
	}
	k := e.Kind()
	return len(k.Options) == 0 && superuserARN(k, v) == "" && r.cfg.Getenv("STRATEGY") != string(engine.AlternatingUsers)
}
