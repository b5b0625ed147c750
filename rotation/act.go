package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// action is what is done at the target as the request's login.
type action = func(context.Context, *engine.Request) error

// act calls do with the request as one login after the other, until one is accepted: as the
// superuser, once the secret has proved its user, or as the secret's own credentials.
func (r *run) act(ctx context.Context, req *engine.Request, do action) (rung, error) {
	if !req.SuperuserChanges {
		return r.climb(ctx, r.own(ctx, req), as(req, do))
	}
	if err := r.prove(ctx, req, r.user(req.Current), r.user(req.Pending)); err != nil {
		return rung{}, err
	}
	return r.asSuperuser(ctx, req, do)
}

// as returns what climb calls to do something as a rung.
func as(req *engine.Request, do action) func(context.Context, rung) error {
	return func(ctx context.Context, c rung) error { return do(ctx, req.As(c.value, c.superuser)) }
}

// setPending makes the pending value valid as the request's login, if it is authentic.
func (r *run) setPending(ctx context.Context, req *engine.Request) error {
	accepted := req.Proofs
	if !req.SuperuserChanges {
		accepted = []engine.Value{req.Login}
	}
	if err := r.authentic(req, accepted...); err != nil {
		// The value may have the seal of a credential that comes later; that this one is refused
		// shall be seen all the same.
		if !req.Superuser && errors.Is(r.engine.Verify(ctx, req, req.Login), engine.LoginRefused) {
			return engine.Errorf(engine.LoginRefused, "", "the target refuses the credential")
		}
		return err
	}
	return r.engine.Set(ctx, req)
}

// asSuperuser calls do with the first superuser credential that is accepted. Where the engine finds
// a second user that it cannot see to be its own, the secret's other versions are asked for a proof
// of it, once; but only where the user of AWSCURRENT is proved, too. Otherwise the owner of the one
// user would be given the rights of the other.
func (r *run) asSuperuser(ctx context.Context, req *engine.Request, do action) (rung, error) {
	attempt := func() (rung, error) { return r.climb(ctx, r.superusers(ctx, req), as(req, do)) }
	c, err := attempt()
	if !errors.Is(err, engine.TakeoverRefused) || pair.Proved(r.kind, req) {
		return c, err
	}
	if e := withCause(err); !pair.ProvedCurrent(r.kind, req) {
		return c, engine.Errorf(engine.TakeoverRefused, e.Advice+"; or give AWSCURRENT's user the password that AWSCURRENT has, which would prove it", "%w", e.Err)
	}
	switch perr := r.prove(ctx, req, r.user(req.Pending)); {
	case perr == nil:
		r.log.Info("the second user is proved to be the secret's own")
		return attempt()
	case !errors.Is(perr, engine.LoginRefused):
		return c, perr
	}
	return c, err
}

// prove proves that the secret holds a credential of one of the users. A superuser's powers are not
// lent on a name alone, which any writer of the secret can choose. It is proved where the superuser
// acts, since a user of the same name elsewhere, such as behind another port, proves nothing.
func (r *run) prove(ctx context.Context, req *engine.Request, users ...string) error {
	var place engine.Value
	for s, err := range r.superusers(ctx, req) {
		if err != nil {
			return err
		}
		place = s.value
		break
	}
	_, err := r.climb(ctx, r.own(ctx, req, users...), func(ctx context.Context, c rung) error {
		err := r.engine.Verify(ctx, req, r.withPlaceOf(place, c.value))
		switch e, ok := errors.AsType[*engine.Error](err); {
		case err == nil:
			req.Proofs = append(req.Proofs, c.value)
		case ok && !r.samePlace(place, req.Current):
			err = engine.Errorf(e.Cause, e.Advice, "tried where the superuser's secret leads to, as only a login there proves the user: %w", e.Err)
		}
		return err
	})
	return err
}
