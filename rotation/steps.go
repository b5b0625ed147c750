package rotation

import (
	"cmp"
	"context"
	"encoding/json"
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
	next, err := r.engine.Next(ctx, req)
	if err != nil {
		return err
	}
	r.see(next)
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
		return r.unedited(ctx, req, current)
	}
	return nil
}

// unedited gives the rotation up where AWSCURRENT was edited between the reading of it
// and the storing of what was made from it. A password with a seal shows that by itself
// later; of any other value its date would say that it was made after the edit. A
// process that ends before this look leaves that edit unseen.
func (r *run) unedited(ctx context.Context, req *Request, from version) error {
	if r.sealed(req, from.id) {
		return nil
	}
	now, err := r.current(ctx)
	if err != nil || now.id == from.id {
		return unlessDone(err)
	}
	// A read may be behind; both are not.
	if d, err := r.secret.describe(ctx); err != nil || d.holder(awsCurrent) == from.id {
		return err
	}
	if err := r.secret.release(ctx, req.Version); err != nil {
		return err
	}
	return Errorf(SecretEdited, "the edit is kept; rotate again", "the secret was edited while this rotation began; version %s is AWSCURRENT now", now.id)
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
	within, cancel := r.target(ctx)
	defer cancel()
	err = r.engine.Verify(within, req, stored.value)
	if errors.Is(err, LoginRefused) {
		r.refusals++
		return nil
	}
	if err == nil {
		err = errCreated
	}
	return err
}

// latest is current, which must be the version that the secret's state tells of: reads of
// Secrets Manager may lag behind a write for a moment, and what is made from the
// version before would be taken for outdated later.
func (r *run) latest(ctx context.Context, d description) (version, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		v, err := r.current(ctx)
		if err != nil || v.id == d.holder(awsCurrent) || pause > 2*time.Second || sleep(ctx, pause) != nil {
			return v, err
		}
		if d, err = r.secret.describe(ctx); err != nil {
			return v, err
		}
	}
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

// vouch proves that the secret holds a credential of one of its users. A
// superuser's powers are not lent on a name alone: whoever may write the secret
// could name another user there. It is proved where the superuser acts, since a
// user of the same name elsewhere, such as behind another port, proves nothing.
func (r *run) vouch(ctx context.Context, req *Request, refused func() error) error {
	place, err := r.place(ctx, req)
	if err != nil {
		return err
	}
	user, _ := req.Current.Text(r.kind.UserField)
	other, _ := req.Pending.Text(r.kind.UserField)
	elsewhere := !r.at(place, req.Current).Equal(req.Current)
	return r.climb(ctx, r.own(ctx, req, other), func(ctx context.Context, c rung) error {
		err := r.engine.Verify(ctx, req, r.at(place, c.value))
		if e, ok := errors.AsType[*Error](err); ok && elsewhere {
			err = Errorf(e.Cause, e.Advice, "tried where the superuser's secret leads to, as only a login there proves the user: %w", e.Err)
		}
		switch {
		case err == nil:
			accepted, _ := c.value.Text(r.kind.UserField)
			req.vouched, req.Proofs = accepted == user, append(req.Proofs, c.value)
		case c.name == awsCurrent && errors.Is(err, LoginRefused):
			err = cmp.Or(refused(), err)
		}
		return err
	})
}

// place returns a value that says where the superuser acts.
func (r *run) place(ctx context.Context, req *Request) (Value, error) {
	for s, err := range r.superusers(ctx, req) {
		return s.value, err
	}
	return Value{}, nil // unreachable: there is one, or an error
}

// at returns a value with another's fields that say where the target is and how it
// is connected to. One that the other lacks counts as missing.
func (r *run) at(place, v Value) Value {
	if !v.IsObject() {
		return v
	}
	for _, name := range append([]string{"host", "port", "ssl"}, r.kind.PlaceFields...) {
		raw := place.JSON(name)
		if raw == nil {
			if v.JSON(name) == nil {
				continue
			}
			raw = json.RawMessage("null")
		}
		v = v.WithJSON(name, raw)
	}
	return v
}

func (r *run) dryRun(ctx context.Context, req *Request) error {
	if d, ok := r.engine.(DryRunner); ok {
		return d.DryRun(ctx, req)
	}
	return r.engine.Verify(ctx, req, req.Login)
}

// asSuperuser calls do with the first superuser credential that is accepted.
// Where the engine finds a second user that it cannot see to be its own, the
// secret's other versions are asked for a proof of it, once; but only where the
// user of AWSCURRENT is proved, too. Otherwise the owner of the one user would be
// given the rights of the other.
func (r *run) asSuperuser(ctx context.Context, req *Request, do func(context.Context) error) error {
	attempt := func() error {
		return r.climb(ctx, r.superusers(ctx, req), func(ctx context.Context, c rung) error {
			req.Login, req.Superuser = c.value, true
			return do(ctx)
		})
	}
	err := attempt()
	if !errors.Is(err, TakeoverRefused) || req.Proved {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok && !req.vouched {
		return Errorf(TakeoverRefused, e.Advice+"; or give AWSCURRENT's user the password that AWSCURRENT has, which would prove it", "%w", e.Err)
	}
	place, perr := r.place(ctx, req)
	if perr != nil {
		return perr
	}
	kind := r.kind
	other, _ := req.Pending.Text(kind.UserField)
	for c, cerr := range r.own(ctx, req, other) {
		if cerr != nil {
			return cerr
		}
		if user, _ := c.value.Text(kind.UserField); user != other {
			continue
		}
		within, cancel := r.target(ctx)
		verr := r.engine.Verify(within, req, r.at(place, c.value))
		cancel()
		if verr == nil {
			r.log.Info("the second user is proved to be the secret's own", "credential", c.name)
			req.Proved, req.Proofs = true, append(req.Proofs, c.value)
			return attempt()
		}
		if !errors.Is(verr, LoginRefused) {
			return verr
		}
		r.refusals++
	}
	return err
}

// mint is create for values that the target makes. Whether the value is stored
// is looked up before every try, since another call may have stored it.
func (r *run) mint(ctx context.Context, m Minter, req *Request, current version) error {
	if err := r.previous(ctx, req); err != nil {
		return err
	}
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		_, err := r.secret.get(ctx, req.Version, awsPending)
		if err == nil {
			r.log.Info("pending value exists already")
			return nil
		}
		if !errors.Is(err, errAbsent) {
			return err
		}
		err = r.mintOnce(ctx, m, req, current)
		if !errors.Is(err, Unsettled) || sleep(ctx, min(pause, 2*time.Second)) != nil {
			return err
		}
	}
}

func (r *run) mintOnce(ctx context.Context, m Minter, req *Request, current version) error {
	mint := func(within context.Context) error {
		next, err := m.Next(within, req)
		if err != nil {
			return err
		}
		r.see(next)
		stored, err := r.secret.put(ctx, req.Version, r.event.RotationToken, next)
		if err != nil {
			return r.unmint(ctx, m, req, next, err)
		}
		if !stored {
			// Another call for the same step has stored its own value first, so
			// that the one made here is nobody's.
			return r.revoke(ctx, m, req, next)
		}
		r.log.Info("pending value stored")
		err = r.unedited(ctx, req, current)
		if errors.Is(err, SecretEdited) {
			err = errors.Join(err, r.revoke(ctx, m, req, next))
		}
		return err
	}
	if req.BySuperuser {
		if err := r.vouch(ctx, req, func() error { return nil }); err != nil {
			return err
		}
		return r.asSuperuser(ctx, req, mint)
	}
	return r.climb(ctx, r.own(ctx, req), func(within context.Context, c rung) error {
		req.Login, req.Superuser = c.value, c.superuser
		return mint(within)
	})
}

// previous reads the version labelled AWSPREVIOUS into the request.
func (r *run) previous(ctx context.Context, req *Request) error {
	v, err := r.secret.get(ctx, "", awsPrevious)
	if errors.Is(err, errAbsent) {
		return nil
	}
	req.Previous = v.value
	return err
}

// unmint takes a value back that could not be stored, unless it was stored all
// the same or that cannot be told.
func (r *run) unmint(ctx context.Context, m Minter, req *Request, next Value, cause error) error {
	stored, err := r.secret.await(ctx, req.Version, awsPending)
	switch {
	case err == nil && stored.value.Equal(next):
		return nil
	case err == nil || errors.Is(err, errAbsent):
		return errors.Join(cause, r.revoke(ctx, m, req, next))
	}
	return cause
}

func (r *run) revoke(ctx context.Context, m Minter, req *Request, v Value) error {
	undo := *req
	undo.Pending = v
	if err := m.Revoke(ctx, &undo); err != nil {
		return err
	}
	r.log.Info("a value that was not stored is revoked")
	return nil
}

// related checks that a value differs from current only where a rotation
// changes it: it is what createSecret would make of current, up to chance. An
// operator's edit of the secret shows here, before anything is overwritten.
func (r *run) related(req *Request, current version, pending Value) error {
	kind := r.kind
	fields := kind.SecretFields
	if len(fields) == 0 {
		return nil
	}
	if req.Strategy == AlternatingUsers {
		fields = append([]string{kind.UserField}, fields...)
		user, _ := req.Current.Text(kind.UserField)
		other, err := req.otherUser(kind, user)
		if err != nil {
			return err
		}
		// The copy of current that tests a configuration keeps the user.
		if u, _ := pending.Text(kind.UserField); u != other && !pending.Equal(req.Current) {
			return r.edited(current)
		}
	}
	if !pending.EqualBut(req.Current, fields...) {
		return r.edited(current)
	}
	return nil
}

// kept is related for a stored value. Fields alone do not tell an edit of the
// credential itself; but a value that was made from current is younger than it,
// or has its seal. Which of two credentials the target has is the operator's
// knowledge then: to promote the older would put a dead one before the clients.
func (r *run) kept(req *Request, d description, current, pending version) error {
	if !r.sealed(req, current.id) && (current.created.After(pending.created) || r.outdated(req, d)) {
		return r.edited(current)
	}
	return r.related(req, current, pending.value)
}

// outdated reports whether the pending password tells by itself that it was made from
// the version that is AWSPREVIOUS: since then AWSCURRENT was edited or rolled back.
func (r *run) outdated(req *Request, d description) bool { return r.sealed(req, d.holder(awsPrevious)) }

func (r *run) edited(current version) error {
	return Errorf(SecretEdited, "the edit is kept; remove AWSPENDING from version "+r.event.ClientRequestToken+" and rotate again",
		"the secret was edited during this rotation: the pending version was not made from version %s, which is AWSCURRENT now", current.id)
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
		if err := r.previous(ctx, req); err != nil {
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
		within, cancel := r.target(ctx)
		err := r.engine.Verify(within, req, req.Pending)
		cancel()
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
	return len(k.Options) == 0 && superuserARN(k, v) == ""
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
	next, err := r.engine.Next(ctx, req)
	if err != nil {
		return err
	}
	req.Pending = next
	if err := r.vouch(ctx, req, func() error { return nil }); err != nil {
		return err
	}
	return r.asSuperuser(ctx, req, func(ctx context.Context) error { return r.dryRun(ctx, req) })
}

// finish moves AWSCURRENT to the pending version, but only from the version that
// the pending one was made from. The service removes AWSPENDING by itself.
func (r *run) finish(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return unlessDone(err)
	}
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	from := d.holder(awsCurrent)
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
	retire, err := r.options.retire()
	if err != nil {
		return err
	}
	retirer, overlaps := r.engine.(Retirer)
	early := overlaps && retire.now && req.Strategy == SingleUser
	if !r.sealed(req, from) || early {
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
		// The call may have arrived although its answer did not, and another
		// call of this step may have been first.
		if d, derr := r.secret.describe(ctx); derr == nil {
			if holder := d.holder(awsCurrent); holder == req.Version {
				return nil
			} else if holder != from {
				return r.edited(version{id: holder})
			}
		}
		return err
	}
	r.rotated, r.window = true, time.Since(pending.created)
	r.log.Info("promoted to AWSCURRENT", "from", from)
	if early {
		return r.retire(ctx, retirer, req, retire.grace)
	}
	return nil
}

// sealed reports whether the pending password tells by itself that it was made
// from the version that is AWSCURRENT.
func (r *run) sealed(req *Request, current string) bool {
	kind := r.kind
	if len(kind.SecretFields) != 1 || req.passwords.Length == 0 {
		return false
	}
	password, _ := req.Pending.Text(kind.SecretFields[0])
	return req.passwords.SealedTo(current, password)
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
	within, cancel := r.target(ctx)
	err := e.Verify(within, req, req.Pending)
	cancel()
	if err != nil {
		r.log.Warn("old credential kept: the new one could not be verified", "cause", CauseOf(err))
		return nil
	}
	if req.BySuperuser {
		err = r.asSuperuser(ctx, req, func(ctx context.Context) error { return e.Retire(ctx, req) })
	} else {
		within, cancel := r.target(ctx)
		req.Login = req.Pending
		err = e.Retire(within, req)
		cancel()
	}
	if err != nil {
		r.log.Warn("old credential kept until the next rotation", "cause", CauseOf(err))
		return nil
	}
	r.log.Info("old credential retired")
	return nil
}

// unlessDone turns errDone into success.
func unlessDone(err error) error {
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
