package rotation

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// create proves the rotation possible, makes the next value and stages it.
//
// The value is stored without a look at whether one is there: Secrets Manager
// refuses to change a version, which says the same in one call less.
func (r *run) create(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return unlessDone(err)
	}
	current, err := r.latest(ctx, d)
	if err != nil {
		return unlessDone(err)
	}
	req, err := r.choose(current)
	if err != nil {
		return err
	}
	if m, ok := r.engine.(Minter); ok {
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
	err = r.prove(ctx, req, func() error { return r.created(ctx, req, current) })
	if errors.Is(err, TakeoverRefused) {
		// The second user may be this rotation's own work, which the engine
		// cannot see where the target keeps no mark.
		err = cmp.Or(r.created(ctx, req, current), err)
	}
	if errors.Is(err, errCreated) {
		r.log.Info("pending value exists already")
		return nil
	}
	if err != nil {
		return err
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
func (r *run) next(ctx context.Context, req *Request) (Value, error) {
	var v Value
	err := r.exchange(ctx, func(ctx context.Context) (err error) {
		v, err = r.engine.Next(ctx, req)
		return err
	})
	if err == nil {
		r.see(v)
	}
	return v, err
}

// errCreated is created's answer where there is nothing left to create.
var errCreated = errors.New("a value is staged already")

// created finds out whether an earlier try of this rotation has come as far as
// setSecret: the stored value then opens the target, and its answer is errCreated.
// That one is stored proves nothing, as others can store one. Where there is
// none, or the target refuses it, there is no error.
func (r *run) created(ctx context.Context, req *Request, current version) error {
	stored, err := r.secret.get(ctx, req.Version, awsPending)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.related(req, current, stored.value); err != nil {
		return err
	}
	err = r.tries(ctx, req, stored.value)
	if errors.Is(err, LoginRefused) {
		r.refusals++
		return nil
	}
	if err == nil {
		err = errCreated
	}
	return err
}

// current reads the version labelled AWSCURRENT. It returns errDone where that is
// the event's own: another call of this rotation has ended it since the prologue.
func (r *run) current(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsCurrent)
	if err == nil && v.id == r.event.ClientRequestToken {
		return v, errDone
	}
	if errors.Is(err, errAbsent) {
		return v, Errorf(InvalidSecret, "put a first value into the secret", "the secret %s has no current value", r.secret.arn)
	}
	if err == nil {
		r.age = time.Since(v.created)
	}
	return v, err
}

// prove finds out, without changing anything, whether setSecret will be able to
// make req.Pending valid. refused is called when the target refuses current;
// its error ends the proof.
func (r *run) prove(ctx context.Context, req *Request, refused func() error) error {
	if req.BySuperuser {
		if err := r.vouch(ctx, req, refused); err != nil {
			return err
		}
		return r.asSuperuser(ctx, req, func(ctx context.Context) error { return r.dryRun(ctx, req) })
	}
	return r.climb(ctx, r.own(ctx, req), func(ctx context.Context, c rung) error {
		req.Login, req.Superuser = c.value, c.superuser
		err := r.dryRun(ctx, req)
		if c.name == awsCurrent && errors.Is(err, LoginRefused) {
			err = cmp.Or(refused(), err)
		}
		return err
	})
}

func (r *run) dryRun(ctx context.Context, req *Request) error {
	if d, ok := r.engine.(DryRunner); ok {
		return d.DryRun(ctx, req)
	}
	return r.engine.Verify(ctx, req, req.Login)
}

// set makes the pending value valid at the target.
func (r *run) set(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return unlessDone(err)
	}
	pending, current, req, err := r.both(ctx)
	if err != nil {
		return unlessDone(err)
	}
	if err := r.kept(req, d, current, pending); err != nil {
		return err
	}
	if _, ok := r.engine.(Minter); ok {
		if err := r.readPrevious(ctx, req); err != nil {
			return err
		}
	}
	set := func(ctx context.Context) error { return r.engine.Set(ctx, req) }
	if req.BySuperuser {
		// createSecret has proved it, but of what the secret said then.
		if err = r.vouch(ctx, req, func() error { return nil }); err == nil {
			err = r.asSuperuser(ctx, req, set)
		}
	} else {
		err = r.climb(ctx, r.own(ctx, req), func(ctx context.Context, c rung) error {
			req.Login, req.Superuser = c.value, c.superuser
			return set(ctx)
		})
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Cause == PolicyRejected {
		// A version cannot be changed, so that repeating will not help.
		return Errorf(PolicyRejected, "correct the password settings; then `rotatorctl recover --yes` gives this rotation up, and the next makes another value",
			"the pending value is stuck, as the target does not take it: %w", e.Err)
	}
	if err != nil {
		return err
	}
	r.log.Info("pending value set at the target")
	return nil
}

// both reads the pending and the current version and returns the request that
// they make.
func (r *run) both(ctx context.Context) (pending, current version, req *Request, err error) {
	if pending, err = r.pending(ctx); err != nil {
		return pending, current, nil, err
	}
	if current, err = r.current(ctx); err != nil {
		return pending, current, nil, err
	}
	if req, err = r.choose(current); err != nil {
		return pending, current, nil, err
	}
	req.Pending = pending.value
	return pending, current, req, nil
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
		return v, Errorf(VersionNotStaged, "let Secrets Manager repeat the rotation from createSecret", "the pending version %s has no value", r.event.ClientRequestToken)
	}
	return v, err
}

// test logs in with the pending value. It changes nothing, so it needs no more
// from Secrets Manager than the value itself, which the call gives only if the
// version is staged. It stands alone where RotateSecret is told not to rotate
// at once: then the pending value is a copy of the current one, and the step
// tells whether a rotation would be possible.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html (RotateImmediately)
func (r *run) test(ctx context.Context) error {
	pending, err := r.staged(ctx)
	if err != nil {
		return unlessDone(err)
	}
	if pending.has(awsCurrent) {
		r.log.Info("version is current already")
		return nil
	}
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
	err = r.verify(ctx, req)
	if err != nil && !errors.Is(err, ErrUntried) {
		return err
	}
	if err != nil {
		r.log.Warn("login not tried: the secret does not say where", "credential", awsPending)
	} else {
		r.log.Info("login accepted", "credential", awsPending)
	}
	if req.Strategy == AlternatingUsers {
		return unlessDone(r.rehearse(ctx, req))
	}
	return nil
}

// verify logs in with the pending value. A host that follows another, as a
// reader does, may not know the value yet, so that a refusal is asked for again,
// though not so often that an account is locked for it.
func (r *run) verify(ctx context.Context, req *Request) error {
	for _, pause := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 0} {
		err := r.tries(ctx, req, req.Pending)
		if !errors.Is(err, LoginRefused) {
			return err
		}
		r.refusals++
		if pause == 0 || sleep(ctx, pause) != nil {
			return err
		}
	}
	return nil // unreachable
}

// staged reads the pending version. It asks for the secret's state only where
// that fails, to say why, or where a tag of the secret could matter.
func (r *run) staged(ctx context.Context) (version, error) {
	r.options = option{getenv: r.cfg.Getenv}
	v, err := r.secret.get(ctx, r.event.ClientRequestToken, awsPending)
	if err == nil && r.untagged(v.value) {
		return v, nil
	}
	if _, perr := r.prologue(ctx); perr != nil || err == nil {
		return v, perr
	}
	return r.pending(ctx)
}

// untagged reports whether the value alone says how to verify it: it names its
// engine, which has no settings of its own, and leaves no choice of strategy.
func (r *run) untagged(v Value) bool {
	name, _ := v.Text("engine")
	e := r.cfg.engine(name, v)
	if name == "" || e == nil {
		return false
	}
	k := e.Kind()
	return len(k.Options) == 0 && superuserARN(k, v) == "" && r.cfg.Getenv("STRATEGY") != string(AlternatingUsers)
}

// rehearse is the part of the test that concerns the superuser: where the
// pending value is a copy of the current one, a rotation to the other user is
// proved possible.
func (r *run) rehearse(ctx context.Context, req *Request) error {
	current, err := r.current(ctx)
	if err != nil {
		return err
	}
	if !req.Pending.Equal(current.value) {
		return nil
	}
	next, err := r.next(ctx, req)
	if err != nil {
		return err
	}
	req.Pending = next
	if err := r.vouch(ctx, req, func() error { return nil }); err != nil {
		return err
	}
	return r.asSuperuser(ctx, req, func(ctx context.Context) error { return r.dryRun(ctx, req) })
}

// unlessDone turns errDone into success.
func unlessDone(err error) error {
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
