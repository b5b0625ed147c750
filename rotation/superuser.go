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

// mayUseSuperuser reports whether the superuser may set a single user's credential that no version
// opens. That lends the superuser's powers on a user's name alone, so only the function's operator
// can switch it on.
func (r *run) mayUseSuperuser(req *engine.Request) bool {
	return req.Strategy == engine.SingleUser && req.SuperuserChanges && r.settings.recoverBySuperuser
}

// superusers yields the superuser secret's credentials: current, and for a superuser secret that is
// being rotated itself, pending and previous. A superuser's password is only ever sent to the host
// that its own secret names, or that RDS names for it, and only if the rotated secret's host is the
// same database. What was read once in a step is read again only where it is refused.
func (r *run) superusers(ctx context.Context, req *engine.Request) iter.Seq2[rung, error] {
	return func(yield func(rung, error) bool) {
		s, err := r.openSuperuser(ctx, superuserARN(r.kind, req.Current))
		if err != nil {
			yield(rung{}, err)
			return
		}
		var tried []engine.Value
		for {
			stale := len(r.superuserLogins) > 0
			for _, label := range []string{awsCurrent, awsPending, awsPrevious} {
				c, known := r.superuserLogins[label]
				if !known {
					if c, err = r.superuserLogin(ctx, s, req, label); err != nil {
						yield(c, err)
						return
					}
					r.superuserLogins[label] = c
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

// openSuperuser opens the superuser secret with an ARN, or with a name, which AWS's templates accept
// as well: a name is looked up where the secret is.
func (r *run) openSuperuser(ctx context.Context, id string) (*secret, error) {
	if !arn.IsARN(id) {
		return &secret{api: r.secret.api, arn: id, see: r.see}, nil
	}
	if err := r.sameOwner(id); err != nil {
		return nil, err
	}
	return r.open(ctx, id)
}

// sameOwner refuses a superuser secret of another account: by it the writer of a value would choose
// whose role is assumed, or borrow a superuser of the function's account.
func (r *run) sameOwner(superuser string) error {
	if Account(superuser) == Account(r.secret.arn) {
		return nil
	}
	return engine.Errorf(engine.InvalidSecret, "keep the superuser secret in the account of the secret", "the superuser secret %s is of another account", superuser)
}

// superuserLogin reads the superuser's credential that has a label. Where none has, the rung has no
// value; AWSCURRENT there must be.
func (r *run) superuserLogin(ctx context.Context, s *secret, req *engine.Request, label string) (rung, error) {
	c := rung{name: "superuser " + label, superuser: true}
	v, err := s.get(ctx, "", label)
	switch {
	case err == nil:
		s.arn = v.arn
		if err = r.sameOwner(s.arn); err == nil {
			c.value, err = r.superuser(ctx, s, req, v.value)
		}
	case errors.Is(err, errAbsent) && label != awsCurrent:
		err = nil
	}
	return c, explainAbsent(err, s.arn)
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

// superuser checks that a superuser secret's value may serve for the request and returns it as a
// login to the request's database.
func (r *run) superuser(ctx context.Context, s *secret, req *engine.Request, v engine.Value) (engine.Value, error) {
	invalid := func(format string, args ...any) error {
		return engine.Errorf(engine.InvalidSecret, "the superuser secret must be of the same engine and name the same database server", format, args...)
	}
	if !v.IsObject() {
		return v, invalid("the superuser secret %s cannot be read: %s", s.arn, v.Fault())
	}
	if name, ok := v.Text("engine"); ok && !r.kind.Serves(name) {
		return v, invalid("the superuser secret's engine is %q", name)
	}
	if req.Current.JSON("host") == nil {
		return v, nil
	}
	host, _ := req.Current.Text("host")
	own, ok := v.Text("host")
	if !ok {
		// RDS keeps nothing but name and password in the secrets that it manages.
		if r.cfg.Topology == nil {
			return v, invalid("the superuser secret %s has no host", s.arn)
		}
		d, err := s.describe(ctx)
		if err != nil {
			return v, err
		}
		var port int
		if own, port, err = r.cfg.Topology.Managed(ctx, s.arn, d.tags); err != nil {
			return v, err
		}
		v = v.With("host", own).WithJSON("port", []byte(strconv.Itoa(port)))
	}
	if !SameHost(host, own) {
		replica, err := false, error(nil)
		if r.cfg.Topology != nil {
			replica, err = r.cfg.Topology.Replica(ctx, s.arn, host, own)
		}
		if err == nil && !replica {
			err = invalid("the superuser secret's host %q is not the secret's host %q nor known as its writer", own, host)
		}
		if err != nil {
			return v, err
		}
	}
	if raw := req.Current.JSON("dbname"); raw != nil && !r.kind.UserDatabase {
		v = v.WithJSON("dbname", raw)
	}
	return v, nil
}

// superuserARN returns the superuser secret that a value names, or "".
func superuserARN(k engine.Kind, v engine.Value) string {
	if k.Superusers() == "" {
		return ""
	}
	arn, _ := v.Text(k.Superusers())
	return arn
}

// Account returns the account of an ARN, or "".
func Account(id string) string {
	a, _ := arn.Parse(id) // "" is the answer for what is none
	return a.AccountID
}

// samePlace reports whether two values name the same place and the same way to connect to it.
func (r *run) samePlace(a, b engine.Value) bool { return same(a, b, r.placeFields()) }

// sameAccount reports whether the users of two values, if they have the same name, are one user.
func (r *run) sameAccount(a, b engine.Value) bool {
	return same(a, b, append(append(r.placeFields(), "dbname", "engine"), r.kind.AccountFields...))
}

// same reports whether two values have the same in the named fields. A number is the same as its
// text.
func same(a, b engine.Value, names []string) bool {
	for _, name := range names {
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
	return append([]string{"host", "port", "ssl", "tlsServerName"}, r.kind.PlaceFields...)
}

// withPlaceOf returns a value with another's fields that say where the target is and how it is
// connected to. One that the other lacks counts as missing; but a superuser secret that names no place
// at all, such as the one that Timestream makes for an instance, is used at the secret's own.
func (r *run) withPlaceOf(place, v engine.Value) engine.Value {
	names := func(field string) bool { return field != "engine" && place.JSON(field) != nil }
	if !v.IsObject() || !slices.ContainsFunc(r.placeFields(), names) {
		return v
	}
	for _, name := range r.placeFields() {
		if raw := place.JSON(name); raw != nil || v.JSON(name) != nil {
			v = v.WithJSON(name, json.RawMessage(cmp.Or(string(raw), "null")))
		}
	}
	return v
}
