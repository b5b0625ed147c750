package rotation

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// rung is a credential that may open the target.
type rung struct {
	name      string // the label or version
	version   string // the version's id, if it was read separately
	value     engine.Value
	superuser bool
}

// olderLimit bounds how many unlabeled versions are tried, because targets lock accounts.
const olderLimit = 5

// climb calls try with one rung after another and returns the first that is not refused. Only a
// refusal moves on. Any other error ends the climb, because acting on a guess is how users get
// locked out.
func (r *run) climb(ctx context.Context, rungs iter.Seq2[rung, error],
	try func(context.Context, rung) error) (rung, error) {
	var refused []string
	var first *engine.Error // the target's answer to the credential that should work
	var forged error
	for c, err := range rungs {
		if err != nil {
			return c, err
		}
		err = r.exchange(ctx, func(ctx context.Context) error { return try(ctx, c) })
		if err == nil {
			r.log.Info("login accepted", "credential", c.name)
			return c, nil
		}
		if errors.Is(err, errForged) { // it may have the seal of another rung, which could make the change
			forged = err
			continue
		}
		if engine.CauseOf(err) != engine.LoginRefused {
			return c, err // includes a wrapped refusal of something else that try did
		}
		r.refused(c.name)
		refused = append(refused, c.name)
		if first == nil {
			first = withCause(err)
		}
	}
	if forged != nil {
		return rung{}, forged
	}
	if first == nil {
		first = engine.Errorf(engine.LoginRefused, "", "no credential was left to try")
	}
	const advice = "check the user at the target: its password, expiry, lock and right to log in"
	return rung{}, engine.Errorf(engine.LoginRefused,
		cmp.Or(first.Advice, advice)+"; `rotatorctl recover` searches further", "the target refused %s: %w",
		strings.Join(refused, ", "), first.Err)
}

// own yields the secret's own credentials of the given users, or of the current one, and then the
// superuser's, if the operator allows that. A credential is sent only to the place that its own
// version names, so a version whose host, port or TLS mode differs from current's is skipped.
func (r *run) own(ctx context.Context, req *engine.Request, users ...string) iter.Seq2[rung, error] {
	if users == nil {
		users = []string{r.user(req.Current)}
	}
	return func(yield func(rung, error) bool) {
		var tried []engine.Value
		for c, err := range r.versions(ctx, req) {
			if err != nil {
				yield(c, err)
				return
			}
			if len(r.kind.SecretFields) > 0 {
				if !slices.Contains(users, r.user(c.value)) {
					r.log.Info("version skipped: it belongs to another user", "credential", c.name)
					continue
				}
				if !r.sameAccount(req.Current, c.value) {
					r.log.Info("version skipped: it names another place", "credential", c.name)
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

// versions yields current and then, each read only when needed, pending, previous and unlabeled
// versions. It skips versions that do not exist, and those other than pending that cannot be
// decrypted, because the secret may have had another key then.
func (r *run) versions(ctx context.Context, req *engine.Request) iter.Seq2[rung, error] {
	return func(yield func(rung, error) bool) {
		offer := func(name string, v version, err error) (more bool) {
			if errors.Is(err, errAbsent) {
				return true
			}
			return yield(rung{name: name, version: v.id, value: v.value}, err) && err == nil
		}
		if !offer(awsCurrent, version{id: req.Base, value: req.Current}, nil) {
			return
		}
		// In createSecret the request's pending value is not stored, but an earlier attempt of this
		// rotation may have stored one.
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
		if v, err := r.previous(ctx); !offer(awsPrevious, v, err) {
			return
		}
		older, err := r.secret.older(ctx)
		if err != nil {
			// Only recovery from older versions is lost.
			r.log.Warn("older versions cannot be listed", "cause", engine.CauseOf(err))
		}
		for _, o := range older[:min(len(older), olderLimit)] {
			id := o.id
			v, err := r.secret.get(ctx, id, "")
			if undecipherable(err) {
				r.log.Warn("version skipped: it cannot be decrypted", "credential", "version "+id)
				err = errAbsent
			}
			if !offer("version "+id, v, err) {
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
