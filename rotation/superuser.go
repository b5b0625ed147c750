package rotation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation/engine"
)

// proveUser proves that the secret holds a credential of one of its users. A
// superuser's powers are not lent on a name alone: whoever may write the secret
// could name another user there. It is proved where the superuser acts, since a
// user of the same name elsewhere, such as behind another port, proves nothing.
func (r *run) proveUser(ctx context.Context, req *engine.Request) error {
	place, err := r.superuserPlace(ctx, req)
	if err != nil {
		return err
	}
	other, _ := req.Pending.Text(r.kind.UserField)
	elsewhere := !r.samePlace(place, req.Current)
	return r.climb(ctx, r.own(ctx, req, other), func(ctx context.Context, c rung) error {
		err := r.engine.Verify(ctx, req, r.withPlaceOf(place, c.value))
		if e, ok := errors.AsType[*engine.Error](err); ok && elsewhere {
			err = engine.Errorf(e.Cause, e.Advice, "tried where the superuser's secret leads to, as only a login there proves the user: %w", e.Err)
		}
		if err == nil {
			req.Proofs = append(req.Proofs, c.value)
		}
		return err
	})
}

// superuserPlace returns a value that says where the superuser acts.
func (r *run) superuserPlace(ctx context.Context, req *engine.Request) (engine.Value, error) {
	for s, err := range r.superusers(ctx, req) {
		return s.value, err
	}
	return engine.Value{}, nil // unreachable: there is one, or an error
}

// samePlace reports whether two values name the same place, and the same way to connect to
// it. A number is the same as its text.
func (r *run) samePlace(a, b engine.Value) bool {
	for _, name := range r.placeFields() {
		x, ok := a.Text(name)
		y, also := b.Text(name)
		same := ok == also && x == y
		switch {
		case name == "host":
			same = ok == also && SameHost(x, y)
		case name == "ssl":
			same = engine.ParseTLSMode(x) == engine.ParseTLSMode(y)
		case !ok && !also:
			same = cmp.Or(string(a.JSON(name)), "null") == cmp.Or(string(b.JSON(name)), "null")
		}
		if !same {
			return false
		}
	}
	return true
}

func (r *run) placeFields() []string {
	return append([]string{"host", "port", "ssl"}, r.kind.PlaceFields...)
}

// withPlaceOf returns a value with another's fields that say where the target is and how it
// is connected to. One that the other lacks counts as missing.
func (r *run) withPlaceOf(place, v engine.Value) engine.Value {
	if !v.IsObject() {
		return v
	}
	for _, name := range r.placeFields() {
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

// asSuperuser calls do with the first superuser credential that is accepted.
// Where the engine finds a second user that it cannot see to be its own, the
// secret's other versions are asked for a proof of it, once; but only where the
// user of AWSCURRENT is proved, too. Otherwise the owner of the one user would be
// given the rights of the other.
func (r *run) asSuperuser(ctx context.Context, req *engine.Request, do func(context.Context, *engine.Request) error) error {
	attempt := func() error { return r.climb(ctx, r.superusers(ctx, req), as(req, do)) }
	err := attempt()
	if !errors.Is(err, engine.TakeoverRefused) || engine.Proved(r.kind, req) {
		return err
	}
	if e, ok := errors.AsType[*engine.Error](err); ok && !engine.ProvedCurrent(r.kind, req) {
		return engine.Errorf(engine.TakeoverRefused, e.Advice+"; or give AWSCURRENT's user the password that AWSCURRENT has, which would prove it", "%w", e.Err)
	}
	place, perr := r.superuserPlace(ctx, req)
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
		verr := r.tries(ctx, req, r.withPlaceOf(place, c.value))
		if verr == nil {
			r.log.Info("the second user is proved to be the secret's own", "credential", c.name)
			req.Proofs = append(req.Proofs, c.value)
			return attempt()
		}
		if !errors.Is(verr, engine.LoginRefused) {
			return verr
		}
		r.refused(c.name)
	}
	return err
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
func (r *run) superusers(ctx context.Context, req *engine.Request) iter.Seq2[rung, error] {
	return func(yield func(rung, error) bool) {
		id := superuserARN(r.kind, req.Current)
		if a := account(id); a != "" && a != account(r.secret.arn) {
			yield(rung{}, engine.Errorf(engine.InvalidSecret, "keep the superuser secret in the account of the secret", "the superuser secret %s is of another account", id))
			return
		}
		s, err := r.open(ctx, id)
		if err != nil {
			yield(rung{}, err)
			return
		}
		var tried []engine.Value
		labels := []string{awsCurrent, awsPending, awsPrevious}
		// What was read before may be refused because the superuser has been rotated
		// since: then all is read again.
		for range 2 {
			stale := len(r.superuserLogins) > 0
			for _, label := range labels {
				c, err := r.superuserLogin(ctx, s, req, label)
				if err != nil {
					yield(rung{}, err)
					return
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
			clear(r.superuserLogins)
		}
	}
}

// superuserLogin reads the superuser's credential that has a label, once. Where none has, the
// rung has no value; AWSCURRENT there must be.
func (r *run) superuserLogin(ctx context.Context, s *secret, req *engine.Request, label string) (rung, error) {
	c, known := r.superuserLogins[label]
	if known {
		return c, nil
	}
	c = rung{name: "superuser " + label, superuser: true}
	v, err := s.get(ctx, "", label)
	switch {
	case err == nil:
		c.value, err = r.superuser(ctx, s, req, v.value)
	case errors.Is(err, errAbsent) && label != awsCurrent:
		err = nil
	}
	if err != nil {
		return c, explainAbsent(err, s.arn)
	}
	if r.superuserLogins == nil {
		r.superuserLogins = make(map[string]rung)
	}
	r.superuserLogins[label] = c
	return c, nil
}

// explainAbsent turns errAbsent into an error that names the superuser secret.
func explainAbsent(err error, arn string) error {
	if errors.Is(err, errAbsent) {
		return engine.Errorf(engine.InvalidSecret, "check the ARN in the secret's value, and put a value into the superuser secret", "the superuser secret %s does not exist, or has no value", arn)
	}
	return err
}

// SameHost reports whether two names are one in DNS.
func SameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// superuser checks that a superuser secret's value may serve for the request
// and returns it as a login to the request's database.
func (r *run) superuser(ctx context.Context, s *secret, req *engine.Request, v engine.Value) (engine.Value, error) {
	const advice = "the superuser secret must be of the same engine and name the same database server"
	kind := r.kind
	if !v.IsObject() {
		return engine.Value{}, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret %s cannot be read: %s", s.arn, v.Fault())
	}
	if name, ok := v.Text("engine"); ok && !kind.Serves(name) {
		return engine.Value{}, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret's engine is %q", name)
	}
	if req.Current.JSON("host") == nil {
		return v, nil
	}
	host, _ := req.Current.Text("host")
	own, ok := v.Text("host")
	if !ok {
		// RDS keeps nothing but name and password in the secrets that it manages.
		if r.cfg.Topology == nil {
			return engine.Value{}, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret %s has no host", s.arn)
		}
		d, err := s.describe(ctx)
		if err != nil {
			return engine.Value{}, err
		}
		var port int
		if own, port, err = r.cfg.Topology.Managed(ctx, s.arn, d.tags); err != nil {
			return engine.Value{}, err
		}
		v = v.With("host", own).WithJSON("port", []byte(strconv.Itoa(port)))
	}
	if !SameHost(host, own) {
		replica := false
		if r.cfg.Topology != nil {
			var err error
			if replica, err = r.cfg.Topology.Replica(ctx, s.arn, host, own); err != nil {
				return engine.Value{}, err
			}
		}
		if !replica {
			return engine.Value{}, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret's host %q is not the secret's host %q nor known as its writer", own, host)
		}
	}
	if raw := req.Current.JSON("dbname"); raw != nil && !kind.UserDatabase {
		v = v.WithJSON("dbname", raw)
	}
	return v, nil
}

func superuserField(k engine.Kind) string { return cmp.Or(k.SuperuserField, "masterarn") }

func superuserARN(k engine.Kind, v engine.Value) string {
	arn, _ := v.Text(superuserField(k))
	return arn
}

// account returns the account of an ARN, or "".
func account(id string) string {
	a, _ := arn.Parse(id) // "" is the answer for what is none
	return a.AccountID
}
