package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// mint is create for values that the target makes. Whether the value is stored
// is looked up before every try, since another call may have stored it.
func (r *run) mint(ctx context.Context, m engine.Minter, req *engine.Request, current version) error {
	if err := r.readPrevious(ctx, req); err != nil {
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
		if !errors.Is(err, engine.Unsettled) || sleep(ctx, min(pause, 2*time.Second)) != nil {
			return err
		}
	}
}

func (r *run) mintOnce(ctx context.Context, m engine.Minter, req *engine.Request, current version) error {
	mint := func(within context.Context, req *engine.Request) error {
		next, err := m.Mint(within, req)
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
		err = r.checkNotEditedSince(ctx, req, current, next)
		if errors.Is(err, engine.SecretEdited) {
			err = r.alsoRevoke(ctx, m, req, next, err)
		}
		return err
	}
	return r.act(ctx, req, mint)
}

// readPrevious reads the version labelled AWSPREVIOUS into the request.
func (r *run) readPrevious(ctx context.Context, req *engine.Request) error {
	v, err := r.previous(ctx)
	if errors.Is(err, errAbsent) {
		return nil
	}
	req.Previous = v.value
	return err
}

// unmint takes a value back that could not be stored, unless it was stored all
// the same or that cannot be told.
func (r *run) unmint(ctx context.Context, m engine.Minter, req *engine.Request, next engine.Value, cause error) error {
	stored, err := r.secret.await(ctx, req.Version, awsPending)
	switch {
	case err == nil && stored.value.Equal(next):
		return nil
	case err == nil || errors.Is(err, errAbsent):
		return r.alsoRevoke(ctx, m, req, next, cause)
	}
	return cause
}

// alsoRevoke revokes a value because of cause, and returns cause together with the
// revocation's own error.
func (r *run) alsoRevoke(ctx context.Context, m engine.Minter, req *engine.Request, v engine.Value, cause error) error {
	err := r.revoke(ctx, m, req, v)
	if err == nil {
		return cause
	}
	advice := adviceRevoke
	if e, ok := errors.AsType[*engine.Error](cause); ok && e.Advice != "" {
		advice = e.Advice + "; " + advice
	}
	return engine.Errorf(engine.CauseOf(cause), advice, "%w; %w", cause, err)
}

const adviceRevoke = "revoke the newest credential at the target if the next rotation does not"

func (r *run) revoke(ctx context.Context, m engine.Minter, req *engine.Request, v engine.Value) error {
	undo := *req
	undo.Pending = v
	if err := r.exchange(ctx, func(ctx context.Context) error { return m.Revoke(ctx, &undo) }); err != nil {
		// A refusal here says nothing about the login that created the credential.
		return engine.Errorf(engine.TargetFailed, adviceRevoke, "a new credential that was not stored could not be revoked: %w", err)
	}
	r.log.Info("a value that was not stored is revoked")
	return nil
}
