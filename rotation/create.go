package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// create proves that the rotation is possible, generates the next value and stages it. It does not look for a stored
// value first, because Secrets Manager refuses to change a version.
func (r *run) create(ctx context.Context) error {
	if err := r.prologue(ctx); err != nil {
		return err
	}
	current, err := r.latest(ctx)
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
	if p := req.Passwords; p.Length > 0 && !p.Seals() {
		const text = "new passwords are too short for a seal: anyone who can write the secret can choose the next one"
		r.log.Warn(text+"; raise PASSWORD_LENGTH", "bits", p.Strength())
	}
	if req.Pending, err = r.next(ctx, req); err != nil {
		return err
	}
	if err := r.checkOnlyCredentialDiffers(req, req.Pending); err != nil {
		return err
	}
	opened, err := r.act(ctx, req, r.dryRun)
	if err != nil {
		return err
	}
	if opened.Name == awsPending {
		r.log.Info("pending value already exists") // an earlier attempt has changed the target
		return nil
	}
	accepted := append(req.Proofs, opened.value)[0] // a superuser's credential does not belong to the secret
	if !accepted.Equal(req.Accepted) {
		req.Accepted = accepted
		if req.Pending, err = r.next(ctx, req); err != nil {
			return err
		}
	}
	stored, err := r.secret.put(ctx, req.Version, r.event.RotationToken, req.Pending)
	if err != nil {
		return err
	}
	r.log.Info("pending value stored", "first", stored)
	if stored {
		return r.checkNotEditedSince(ctx, req, current, req.Pending)
	}
	v, err := r.pending(ctx) // an earlier attempt of this rotation, or someone else, has stored it
	if err != nil {
		return err
	}
	req.Pending = v.value
	return r.authentic(req, append(req.Proofs, opened.value)...)
}

// mint is create for values that the target issues. Another call may store one between two attempts.
func (r *run) mint(ctx context.Context, m engine.Minter, req *engine.Request, current version) error {
	if err := r.readPrevious(ctx, req); err != nil {
		return err
	}
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		_, err := r.secret.get(ctx, req.Version, awsPending)
		if err == nil {
			r.log.Info("pending value already exists")
			return nil
		}
		if !errors.Is(err, errAbsent) {
			return r.unread(ctx, err)
		}
		_, err = r.act(ctx, req, func(within context.Context, req *engine.Request) error {
			next, err := m.Mint(within, req)
			if err != nil {
				return err
			}
			r.see(next)
			return r.store(ctx, m, req, current, next)
		})
		if !errors.Is(err, engine.Unsettled) || sleep(ctx, min(pause, 2*time.Second)) != nil {
			return err
		}
	}
}

// store stores a value that the target has issued. If it cannot store the value, it revokes it.
func (r *run) store(ctx context.Context, m engine.Minter, req *engine.Request, current version,
	next engine.Value) error {
	stored, err := r.secret.put(ctx, req.Version, r.event.RotationToken, next)
	switch {
	case err != nil: // the value may have been stored anyway
		v, lookup := r.secret.await(ctx, req.Version, awsPending)
		if lookup == nil && v.value.Equal(next) {
			return nil
		}
		if lookup != nil && !errors.Is(lookup, errAbsent) {
			return err
		}
	case stored:
		r.log.Info("pending value stored")
		if err = r.checkNotEditedSince(ctx, req, current, next); !errors.Is(err, engine.SecretEdited) {
			return err
		}
	default: // another call for this step stored its value first
	}
	undo := *req
	undo.Pending = next
	const advice = "revoke the newest credential at the target, unless the next rotation does"
	switch rerr := r.exchange(ctx, func(ctx context.Context) error { return m.Revoke(ctx, &undo) }); {
	case rerr == nil:
		r.log.Info("revoked a value that was not stored")
		return err
	case err == nil: // not Revoke's cause: its refusal says nothing about the login that minted
		return engine.Errorf(engine.TargetFailed, advice,
			"a new credential that was not stored could not be revoked: %w", rerr)
	default:
		e := withCause(err)
		return engine.Errorf(e.Cause, e.Advice+"; "+advice,
			"%w; the new credential could not be revoked: %w", e.Err, rerr)
	}
}
