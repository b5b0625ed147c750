package rotation

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// rung is a credential that may open the target.
type rung struct {
	name      string // the label or version that it comes from
	version   string // the version's id, where it was read for itself
	value     Value
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
	var first *Error // what the target says of the one that ought to work
	for rung, err := range rungs {
		if err != nil {
			return err
		}
		within, cancel := r.target(ctx)
		err = try(within, rung)
		cancel()
		if err == nil {
			r.log.Info("login accepted", "credential", rung.name)
			return nil
		}
		if !errors.Is(err, LoginRefused) {
			return err
		}
		r.refusals++
		r.log.Warn("login refused", "credential", rung.name)
		refused = append(refused, rung.name)
		if first == nil {
			first, _ = errors.AsType[*Error](err)
		}
	}
	if first == nil {
		first = Errorf(LoginRefused, "", "no credential was left to try")
	}
	const advice = "check the user at the target: its password, expiry, lock and right to log in"
	return Errorf(LoginRefused, cmp.Or(first.Advice, advice)+"; `rotatorctl recover` looks further", "the target refused %s: %w", strings.Join(refused, ", "), first.Err)
}

// own yields the secret's own credentials: current, and then, each read only
// when it is needed, pending, previous, the versions that have lost their label,
// and the superuser's. Everything but the credential itself is current's, so
// that no old version can lead to another host; one of another user is passed
// over unless users names it.
func (r *run) own(ctx context.Context, req *Request, users ...string) iter.Seq2[rung, error] {
	kind := r.kind
	user, _ := req.Current.Text(kind.UserField)
	users = append(users, user)
	return func(yield func(rung, error) bool) {
		tried := []Value{req.Current}
		if !yield(rung{name: awsCurrent, value: req.Current}, nil) {
			return
		}
		// offer yields a version, if it is one of ours and was not tried yet.
		offer := func(name, id string, v Value) bool {
			if len(kind.SecretFields) > 0 {
				if u, _ := v.Text(kind.UserField); !slices.Contains(users, u) {
					r.log.Info("version passed over: it is another user's", "credential", name)
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
		// In createSecret the pending value is stored nowhere yet, so that it
		// opens nothing and would only be a refused login more.
		if r.event.Step != CreateSecret && !req.Pending.IsZero() && !offer(awsPending, req.Version, req.Pending) {
			return
		}
		v, err := r.secret.get(ctx, "", awsPrevious)
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
			r.log.Warn("older versions cannot be listed", "cause", CauseOf(err))
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
		// With this the superuser's powers are lent on a user's name alone, so
		// only the function's operator can switch it on.
		if req.Strategy == SingleUser && superuserARN(kind, req.Current) != "" && truth(r.cfg.Getenv("RECOVER_BY_SUPERUSER")) {
			for s, err := range r.superusers(ctx, req) {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}

// graft returns current with the credential of v: its user and secret fields.
func graft(current, v Value, kind Kind) Value {
	for _, name := range append([]string{kind.UserField}, kind.SecretFields...) {
		if raw := v.JSON(name); raw != nil && name != "" {
			current = current.WithJSON(name, raw)
		}
	}
	return current
}

// superusers yields the superuser secret's credentials: current, and for a
// superuser secret that is being rotated itself, pending and previous. A
// superuser's password is only ever sent to the host that its own secret names,
// or that RDS names for it, and only if the rotated secret's host is the same
// database.
//
// The secret may be of the rotated secret's own account only: by another the writer of
// a value would choose whose role is assumed. What was read once in a step is not
// read again.
func (r *run) superusers(ctx context.Context, req *Request) iter.Seq2[rung, error] {
	return func(yield func(rung, error) bool) {
		id := superuserARN(r.kind, req.Current)
		if a := account(id); a != "" && a != account(r.secret.arn) {
			yield(rung{}, Errorf(InvalidSecret, "keep the superuser secret in the account of the secret", "the superuser secret %s is of another account", id))
			return
		}
		s, err := r.open(ctx, id)
		if err != nil {
			yield(rung{}, err)
			return
		}
		if r.lent == nil {
			r.lent = make(map[string]rung)
		}
		var tried []Value
		labels := []string{awsCurrent, awsPending, awsPrevious}
		// What was read before may be refused because the superuser has been rotated
		// since: then all is read again.
		for range 2 {
			stale := len(r.lent) > 0
			for _, label := range labels {
				c, known := r.lent[label]
				if !known {
					v, err := s.get(ctx, "", label)
					if err == nil {
						c = rung{name: "superuser " + label, superuser: true}
						c.value, err = r.superuser(ctx, s, req, v.value)
					}
					if err = orValueless(err, id); err != nil && (label == awsCurrent || !errors.Is(err, errValueless)) {
						yield(rung{}, err)
						return
					}
					r.lent[label] = c
				}
				if c.value.IsZero() || slices.ContainsFunc(tried, c.value.Equal) {
					continue
				}
				tried = append(tried, c.value)
				if !yield(c, nil) {
					return
				}
			}
			if !stale {
				return
			}
			clear(r.lent)
		}
	}
}

var errValueless = errors.New("does not exist, or has no value")

// orValueless says of a superuser secret without a value what to do.
func orValueless(err error, arn string) error {
	if errors.Is(err, errAbsent) {
		return Errorf(InvalidSecret, "check the ARN in the secret's value, and put a value into the superuser secret", "the superuser secret %s %w", arn, errValueless)
	}
	return err
}

// sameHost reports whether two names are one in DNS.
func sameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// superuser checks that a superuser secret's value may serve for the request
// and returns it as a login to the request's database.
func (r *run) superuser(ctx context.Context, s *secret, req *Request, v Value) (Value, error) {
	const advice = "the superuser secret must be of the same engine and name the same database server"
	kind := r.kind
	if !v.IsObject() {
		return Value{}, Errorf(InvalidSecret, advice, "the superuser secret %s cannot be read: %s", s.arn, v.Fault())
	}
	if engine, ok := v.Text("engine"); ok && !kind.serves(engine) {
		return Value{}, Errorf(InvalidSecret, advice, "the superuser secret's engine is %q", engine)
	}
	if req.Current.JSON("host") == nil {
		return v, nil
	}
	host, _ := req.Current.Text("host")
	own, ok := v.Text("host")
	if !ok {
		// RDS keeps nothing but name and password in the secrets that it manages.
		if r.cfg.Topology == nil {
			return Value{}, Errorf(InvalidSecret, advice, "the superuser secret %s has no host", s.arn)
		}
		d, err := s.describe(ctx)
		if err != nil {
			return Value{}, err
		}
		var port int
		if own, port, err = r.cfg.Topology.Managed(ctx, s.arn, d.tags); err != nil {
			return Value{}, err
		}
		v = v.With("host", own).WithJSON("port", []byte(strconv.Itoa(port)))
	}
	if !sameHost(host, own) {
		replica := false
		if r.cfg.Topology != nil {
			var err error
			if replica, err = r.cfg.Topology.Replica(ctx, s.arn, host, own); err != nil {
				return Value{}, err
			}
		}
		if !replica {
			return Value{}, Errorf(InvalidSecret, advice, "the superuser secret's host %q is not the secret's host %q nor known as its writer", own, host)
		}
	}
	if raw := req.Current.JSON("dbname"); raw != nil && !kind.UserDatabase {
		v = v.WithJSON("dbname", raw)
	}
	return v, nil
}
