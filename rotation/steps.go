package rotation

import (
	"context"
	"errors"
	"time"

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
	if err := r.related(req, current, next); err != nil {
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
		return r.unedited(ctx, req, current, next)
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

// current reads the version labelled AWSCURRENT. It returns errDone where that is
// the event's own: another call of this rotation has ended it since the prologue.
func (r *run) current(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsCurrent)
	if err == nil && v.id == r.event.ClientRequestToken {
		return v, errDone
	}
	if errors.Is(err, errAbsent) {
		return v, engine.Errorf(engine.InvalidSecret, "put a first value into the secret", "the secret %s has no current value", r.secret.arn)
	}
	if err == nil {
		r.age = time.Since(v.created)
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

// set makes the pending value valid at the target, but only where AWSCURRENT stays valid.
// Elsewhere finishSecret makes the change, so that a rotation which stops halfway never
// leaves clients with a credential that the target refuses.
func (r *run) set(ctx context.Context) error {
	pending, d, err := r.staged(ctx)
	if err != nil {
		return err
	}
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
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
	if req.BySuperuser {
		err = r.apply(ctx, req)
	} else {
		err = r.exchange(ctx, func(ctx context.Context) error { return r.engine.Set(ctx, req.As(req.Current, false)) })
	}
	switch {
	case err == nil:
		r.log.Info("pending value set at the target, next to the current one")
	case errors.Is(err, engine.ErrOneAtATime):
		r.log.Info("the target accepts one credential at a time: finishSecret makes the change")
	case engine.CauseOf(err) == engine.LoginRefused && !req.BySuperuser:
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

// base reads the current version into the request and checks that the pending one was
// made from it.
func (r *run) base(ctx context.Context, req *engine.Request, d description, pending version) error {
	current, err := r.current(ctx)
	if err != nil {
		return err
	}
	req.Current, req.Base = current.value, current.id
	return r.kept(req, d, current, pending)
}

// pending reads this rotation's version.
func (r *run) pending(ctx context.Context) (version, error) {
	v, err := r.secret.await(ctx, r.event.ClientRequestToken, awsPending)
	if err != nil {
		// A repetition may have finished the rotation since the prologue. Then the labels
		// say more than the failed read.
		if d, derr := r.secret.describe(ctx); derr == nil {
			if verr := r.verdict(d); verr != nil {
				return v, verr
			}
		}
	}
	if errors.Is(err, errAbsent) {
		return v, engine.Errorf(engine.VersionNotStaged, "let Secrets Manager repeat the rotation from createSecret", "the pending version %s has no value", r.event.ClientRequestToken)
	}
	return v, err
}

// test logs in with the pending value where setSecret has made it valid, and otherwise
// rehearses the change that finishSecret will make.
//
// It also runs by itself, when RotateSecret is told not to rotate immediately: then the
// pending value is a copy of the current one, and a rotation from it to a fresh value,
// which is never stored, is rehearsed.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html (RotateImmediately)
func (r *run) test(ctx context.Context) error {
	pending, d, err := r.staged(ctx)
	if err != nil {
		return err
	}
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
	copied := false
	if r.inFinish(req) || !r.sealed(req, pending.value, d.holder(awsCurrent)) {
		current, err := r.current(ctx)
		if err != nil {
			return err
		}
		req.Current, req.Base = current.value, current.id
		if err := r.related(req, current, pending.value); err != nil {
			return err
		}
		copied = pending.value.Equal(current.value)
	}
	if copied || !r.inFinish(req) {
		switch err := r.verify(ctx, req); {
		case errors.Is(err, engine.ErrUntried):
			r.log.Warn("login not tried: the secret does not say where", "credential", awsPending)
		case err != nil:
			return err
		default:
			r.log.Info("login accepted", "credential", awsPending)
		}
	}
	_, minter := r.engine.(engine.Minter)
	switch {
	case copied && !minter && !r.kind.NoTarget:
		if req.Pending, err = r.next(ctx, req); err != nil {
			return err
		}
		return r.prove(ctx, req)
	case copied || !r.inFinish(req):
		return nil
	}
	return stuck(r.prove(ctx, req))
}

// verify logs in with the pending value. A host that follows another, as a
// reader does, may not know the value yet, so a refused login is repeated once after a
// pause. It is not repeated more often, because targets lock accounts after a few.
func (r *run) verify(ctx context.Context, req *engine.Request) error {
	for try := 1; ; try++ {
		err := r.tries(ctx, req, req.Pending)
		if !errors.Is(err, engine.LoginRefused) {
			return err
		}
		r.refused(awsPending)
		if try == 2 || sleep(ctx, 2*time.Second) != nil {
			return err
		}
	}
}

// staged reads the pending version, and returns errDone where it is AWSCURRENT. It asks for
// the secret's state only where that fails, to say why, or where a tag of the secret could
// matter; otherwise the description is empty.
func (r *run) staged(ctx context.Context) (version, description, error) {
	r.options = option{getenv: r.cfg.Getenv}
	v, err := r.secret.get(ctx, r.event.ClientRequestToken, awsPending)
	if err == nil && v.has(awsCurrent) {
		r.log.Info("version is current already")
		return v, description{}, errDone
	}
	if err == nil && r.untagged(v.value) {
		return v, description{}, nil
	}
	d, perr := r.prologue(ctx)
	if perr != nil || err == nil {
		return v, d, perr
	}
	v, err = r.pending(ctx)
	return v, d, err
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
