package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// action performs an operation at the target as the request's login.
type action = func(context.Context, *engine.Request) error

// act calls do with one login after another until the target accepts one: the superuser's, once the secret has proved
// its user, or the secret's own.
func (r *run) act(ctx context.Context, req *engine.Request, do action) (Credential, error) {
	if !req.SuperuserChanges {
		return r.climb(ctx, req, r.own(ctx, req), do)
	}
	if err := r.prove(ctx, req, r.user(req.Current), r.user(req.Pending)); err != nil {
		return Credential{}, err
	}
	return r.asSuperuser(ctx, req, do)
}

// genuine returns an action that calls do only if the credentials that the target accepted show that this function made
// the pending value.
func (r *run) genuine(do action) action {
	return func(ctx context.Context, req *engine.Request) error {
		accepted := []engine.Value{req.Login}
		if req.SuperuserChanges {
			accepted = req.Proofs
		}
		err := r.authentic(req, accepted...)
		switch {
		case err == nil:
			return do(ctx, req)
		case !req.Superuser && errors.Is(r.engine.Verify(ctx, req, req.Login), engine.LoginRefused):
			// The value may have the seal of a credential that has not been tried yet.
			return engine.Errorf(engine.LoginRefused, "", "the target refuses the credential")
		}
		return err
	}
}

// asSuperuser calls do with the first superuser credential that the target accepts. If the engine cannot tell whether
// the second user belongs to the secret, asSuperuser tries once to prove it with the secret's other versions, but only
// if AWSCURRENT's user is already proved. Otherwise the owner of one user would gain the rights of the other.
func (r *run) asSuperuser(ctx context.Context, req *engine.Request, do action) (Credential, error) {
	attempt := func() (Credential, error) { return r.climb(ctx, req, r.superusers(ctx, req), do) }
	c, err := attempt()
	if !errors.Is(err, engine.TakeoverRefused) || pair.Proved(r.kind, req) {
		return c, err
	}
	if e := withCause(err); !pair.ProvedCurrent(r.kind, req) {
		return c, engine.Errorf(engine.TakeoverRefused,
			e.Advice+"; or set the password of AWSCURRENT's user to the one in AWSCURRENT, which proves the user",
			"%w", e.Err)
	}
	switch perr := r.prove(ctx, req, r.user(req.Pending)); {
	case perr == nil:
		r.log.Info("the second user is proved to belong to the secret")
		return attempt()
	case !errors.Is(perr, engine.LoginRefused):
		return c, perr
	}
	return c, err
}

// prove checks by a login that the secret holds a credential of one of the users. Anyone who can write the secret can
// choose a name, so a name alone does not unlock a superuser's powers. The login is at the server where the superuser
// acts: a user of the same name elsewhere, such as on another port, proves nothing.
func (r *run) prove(ctx context.Context, req *engine.Request, users ...string) error {
	var place engine.Value
	for s, err := range r.superusers(ctx, req) {
		if err != nil {
			return err
		}
		place = s.value
		break
	}
	_, err := r.climb(ctx, req, r.own(ctx, req, users...), func(ctx context.Context, as *engine.Request) error {
		err := r.engine.Verify(ctx, req, r.withPlaceOf(place, as.Login))
		switch e, ok := errors.AsType[*engine.Error](err); {
		case err == nil:
			req.Proofs = append(req.Proofs, as.Login)
		case ok && !r.samePlace(place, req.Current):
			err = engine.Errorf(e.Cause, e.Advice,
				"tried at the host of the superuser secret, because only a login there proves the user: %w", e.Err)
		}
		return err
	})
	return err
}
