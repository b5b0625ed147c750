package rotation

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Credential is a value of the secret, or of its superuser secret, that may open the target.
type Credential struct {
	Name, Version string // the label or version, and the version's id or, for a superuser's credential, ""
	Superuser     bool
	value         engine.Value
}

// Host returns the host that the value names, or "".
func (c Credential) Host() string {
	host, _ := c.value.Text("host")
	return host
}

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
			// A credential that is tried later may be the one that made the value.
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

// olderLimit bounds how many unlabeled versions are tried, because targets lock accounts after a few refusals.
const olderLimit = 5

// climb calls do as one credential after another and returns the first that is not refused. Only a refusal leads to the
// next one. Any other error ends the climb, because acting on a guess can lock users out.
func (r *run) climb(ctx context.Context, req *engine.Request, ladder iter.Seq2[Credential, error],
	do action) (Credential, error) {
	var refused []string
	var first *engine.Error // the target's answer to the credential that should work
	var forged error
	for c, err := range ladder {
		if err != nil {
			return c, err
		}
		err = r.exchange(ctx, func(ctx context.Context) error { return do(ctx, req.As(c.value, c.Superuser)) })
		if err == nil {
			r.log.Info("login accepted", "credential", c.Name)
			return c, nil
		}
		if errors.Is(err, errForged) { // another credential, tried later, may match the value's seal
			forged = err
			continue
		}
		if engine.CauseOf(err) != engine.LoginRefused {
			return c, err // even if it wraps a refusal of something else that do did
		}
		r.refused(c.Name)
		refused = append(refused, c.Name)
		if first == nil {
			first = withCause(err)
		}
	}
	if forged != nil {
		return Credential{}, forged
	}
	if first == nil {
		first = engine.Errorf(engine.LoginRefused, "", "no credential was left to try")
	}
	const advice = "check the user at the target: its password, expiry, lock and right to log in"
	return Credential{}, engine.Errorf(engine.LoginRefused,
		cmp.Or(first.Advice, advice)+"; `rotatorctl recover SECRET` searches further", "the target refused %s: %w",
		strings.Join(refused, ", "), first.Err)
}

// own yields the secret's own credentials of the given users (by default, the current user) and then, if the operator
// allows that, the superuser's. A credential is sent only to the place that its own version names, so a version whose
// host, port or TLS mode differs from current's is skipped.
func (r *run) own(ctx context.Context, req *engine.Request, users ...string) iter.Seq2[Credential, error] {
	if users == nil {
		users = []string{r.user(req.Current)}
	}
	return func(yield func(Credential, error) bool) {
		var tried []engine.Value
		for c, err := range r.versions(ctx, req) {
			if err != nil {
				yield(c, err)
				return
			}
			if len(r.kind.SecretFields) > 0 {
				if !slices.Contains(users, r.user(c.value)) {
					r.log.Info("version skipped: it belongs to another user", "credential", c.Name)
					continue
				}
				if !r.sameAccount(req.Current, c.value) {
					r.log.Info("version skipped: it names another place", "credential", c.Name)
					continue
				}
				c.value = graft(req.Current, c.value, r.kind)
			}
			if slices.ContainsFunc(tried, c.value.Equal) {
				continue
			}
			tried = append(tried, c.value)
			if !yield(c, nil) {
				return
			}
		}
		if r.mayUseSuperuser(req) {
			r.superusers(ctx, req)(yield)
		}
	}
}

// versions yields current, pending, previous and unlabeled versions, and reads each only when needed. It skips versions
// that do not exist. It also skips previous and unlabeled versions that cannot be decrypted, because the secret may
// have had another key then.
func (r *run) versions(ctx context.Context, req *engine.Request) iter.Seq2[Credential, error] {
	return func(yield func(Credential, error) bool) {
		offer := func(name string, v version, err error) (more bool) {
			if errors.Is(err, errAbsent) {
				return true
			}
			return yield(Credential{Name: name, Version: v.id, value: v.value}, err) && err == nil
		}
		if !offer(awsCurrent, version{id: req.Base, value: req.Current}, nil) {
			return
		}
		// In createSecret the request's pending value is not stored, but an earlier attempt may have stored one.
		pending := version{id: req.Version, value: req.Pending}
		var err error
		if r.event.Step == CreateSecret {
			pending, err = r.secret.get(ctx, req.Version, awsPending)
		} else if pending.value.IsZero() {
			err = errAbsent
		}
		if !offer(awsPending, pending, err) {
			return
		}
		if v, err := r.former(ctx, "", awsPrevious); !offer(awsPrevious, v, err) {
			return
		}
		older, err := r.secret.older(ctx)
		if err != nil {
			// Only recovery from older versions is lost.
			r.log.Warn("older versions cannot be listed", "cause", engine.CauseOf(err))
		}
		for _, o := range older[:min(len(older), olderLimit)] {
			if v, err := r.former(ctx, o.id, ""); !offer("version "+o.id, v, err) {
				return
			}
		}
	}
}

// graft returns current with the credential of v: its user and secret fields.
func graft(current, v engine.Value, kind engine.Kind) engine.Value {
	for _, name := range append([]string{kind.UserField}, kind.SecretFields...) {
		if raw := v.JSON(name); raw != nil && name != "" {
			current = current.WithJSON(name, raw)
		}
	}
	return current
}
