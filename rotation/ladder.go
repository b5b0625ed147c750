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
	name      string // the label or version that it comes from
	version   string // the version's id, where it was read for itself
	value     engine.Value
	superuser bool
}

// olderLimit bounds how many unlabelled versions are tried, so that a target
// which counts refused logins does not lock the account.
const olderLimit = 5

// climb calls try with one rung after the other until one is not refused. Only a
// refusal moves on: an error that could mean anything else ends the climb,
// because acting on a guess is how users get locked out.
func (r *run) climb(ctx context.Context, rungs iter.Seq2[rung, error], try func(context.Context, rung) error) error {
	var refused []string
	var first *engine.Error // what the target says of the one that ought to work
	for rung, err := range rungs {
		if err != nil {
			return err
		}
		err = r.exchange(ctx, func(ctx context.Context) error { return try(ctx, rung) })
		if err == nil {
			r.opened = rung.name
			r.log.Info("login accepted", "credential", rung.name)
			return nil
		}
		if engine.CauseOf(err) != engine.LoginRefused {
			return err // also a refusal of something else that try did, wrapped
		}
		r.refused(rung.name)
		refused = append(refused, rung.name)
		if first == nil {
			first, _ = errors.AsType[*engine.Error](err)
		}
	}
	if first == nil {
		first = engine.Errorf(engine.LoginRefused, "", "no credential was left to try")
	}
	const advice = "check the user at the target: its password, expiry, lock and right to log in"
	return engine.Errorf(engine.LoginRefused, cmp.Or(first.Advice, advice)+"; `rotatorctl recover` looks further", "the target refused %s: %w", strings.Join(refused, ", "), first.Err)
}

// act calls do with the request as one login after the other, until one is accepted: as the
// superuser, once the secret has proved its user, or as the secret's own credentials.
func (r *run) act(ctx context.Context, req *engine.Request, do func(context.Context, *engine.Request) error) error {
	if !req.SuperuserChanges {
		return r.climb(ctx, r.own(ctx, req), as(req, do))
	}
	if err := r.proveUser(ctx, req); err != nil {
		return err
	}
	return r.asSuperuser(ctx, req, do)
}

// as returns what climb calls to do something as a rung.
func as(req *engine.Request, do func(context.Context, *engine.Request) error) func(context.Context, rung) error {
	return func(ctx context.Context, c rung) error { return do(ctx, req.As(c.value, c.superuser)) }
}

// refused notes that the target refused a credential.
func (r *run) refused(name string) {
	r.refusals++
	r.currentRefused = r.currentRefused || name == awsCurrent
	r.log.Warn("login refused", "credential", name)
}

// own yields the secret's own credentials: current, and then, each read only
// when it is needed, pending, previous, the versions that have lost their label,
// and the superuser's. A credential is only sent to the place that its own version
// names, so a version with another host, port or TLS mode than current's is skipped;
// so is one of another user, unless users names it.
func (r *run) own(ctx context.Context, req *engine.Request, users ...string) iter.Seq2[rung, error] {
	kind := r.kind
	user, _ := req.Current.Text(kind.UserField)
	users = append(users, user)
	return func(yield func(rung, error) bool) {
		tried := []engine.Value{req.Current}
		if !yield(rung{name: awsCurrent, value: req.Current}, nil) {
			return
		}
		// offer yields a version, if it is one of ours and was not tried yet.
		offer := func(name, id string, v engine.Value) bool {
			if len(kind.SecretFields) > 0 {
				if u, _ := v.Text(kind.UserField); !slices.Contains(users, u) {
					r.log.Info("version passed over: it is another user's", "credential", name)
					return true
				}
				if !r.samePlace(req.Current, v) {
					r.log.Info("version skipped: it names another host, port or TLS mode", "credential", name)
					return true
				}
				v = graft(req.Current, v, kind)
			}
			if slices.ContainsFunc(tried, v.Equal) {
				return true
			}
			tried = append(tried, v)
			return yield(rung{name: name, version: id, value: v}, nil)
		}
		// In createSecret the request's pending value is not stored, but an earlier try of
		// this rotation can have stored one.
		pending := version{id: req.Version, value: req.Pending}
		var err error
		if r.event.Step == CreateSecret {
			pending, err = r.secret.get(ctx, req.Version, awsPending)
		}
		if err != nil && !errors.Is(err, errAbsent) {
			yield(rung{}, err)
			return
		}
		if !pending.value.IsZero() && !offer(awsPending, pending.id, pending.value) {
			return
		}
		v, err := r.previous(ctx)
		if err != nil && !errors.Is(err, errAbsent) {
			yield(rung{}, err)
			return
		}
		if err == nil && !offer(awsPrevious, v.id, v.value) {
			return
		}
		ids, err := r.secret.older(ctx)
		if err != nil {
			// Recovery from older versions is lost, and nothing else.
			r.log.Warn("older versions cannot be listed", "cause", engine.CauseOf(err))
		}
		for _, id := range ids[:min(len(ids), olderLimit)] {
			v, err := r.secret.get(ctx, id, "")
			switch {
			case err == nil:
				if !offer("version "+id, id, v.value) {
					return
				}
			case undecipherable(err):
				// Its key may be an earlier one of the secret's.
				r.log.Warn("version passed over: it cannot be read", "credential", "version "+id)
			case !errors.Is(err, errAbsent):
				yield(rung{}, err)
				return
			}
		}
		if r.mayUseSuperuser(req) {
			for s, err := range r.superusers(ctx, req) {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}

// mayUseSuperuser reports whether the superuser may set a single user's credential that no
// version opens. That lends the superuser's powers on a user's name alone, so only the
// function's operator can switch it on.
func (r *run) mayUseSuperuser(req *engine.Request) bool {
	return req.Strategy == engine.SingleUser && superuserARN(r.kind, req.Current) != "" && r.cfg.recoverBySuperuser()
}

// previous reads the version labelled AWSPREVIOUS. It returns errAbsent also for one that cannot
// be decrypted: its key may be an earlier one of the secret's.
func (r *run) previous(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsPrevious)
	if undecipherable(err) {
		r.log.Warn("version skipped: it cannot be decrypted", "credential", awsPrevious)
		return v, errAbsent
	}
	return v, err
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
