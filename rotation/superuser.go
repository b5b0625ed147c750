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

// mayUseSuperuser reports whether the superuser may set a single user's credential when no version opens the target.
// Doing so trusts the user's name alone, so only the function's operator can enable it.
func (r *run) mayUseSuperuser(req *engine.Request) bool {
	return req.Strategy == engine.SingleUser && req.SuperuserChanges && r.settings.recoverBySuperuser
}

// superusers yields the superuser secret's credentials: current and, in case that secret is itself being rotated,
// pending and previous. A superuser's password is sent only to the host that its own secret names, or that RDS names
// for it, and only if the rotated secret's host is the same database. Current is read again in the same step only if it
// is refused.
func (r *run) superusers(ctx context.Context, req *engine.Request) iter.Seq2[Credential, error] {
	return func(yield func(Credential, error) bool) {
		s, err := r.openSuperuser(ctx, superuserARN(r.kind, req.Current))
		if err != nil {
			yield(Credential{}, err)
			return
		}
		if r.superuserLogin.Superuser && !yield(r.superuserLogin, nil) {
			return
		}
		tried := []engine.Value{r.superuserLogin.value}
		for _, label := range []string{awsCurrent, awsPending, awsPrevious} {
			c := Credential{Name: "superuser " + label, Superuser: true}
			v, err := s.get(ctx, "", label)
			if errors.Is(err, errAbsent) && label != awsCurrent {
				continue
			}
			if err = explainAbsent(err, s.arn); err == nil {
				s.arn = v.arn
				err = r.sameOwner(s.arn)
			}
			if err == nil {
				c.value, err = r.superuser(ctx, s, req, v.value)
			}
			if err == nil && slices.ContainsFunc(tried, c.value.Equal) {
				continue
			}
			tried = append(tried, c.value)
			if err == nil && label == awsCurrent {
				r.superuserLogin = c
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// openSuperuser opens the superuser secret by its ARN or, as AWS's templates allow, by its name in the secret's region
// and account.
func (r *run) openSuperuser(ctx context.Context, id string) (*secret, error) {
	if !arn.IsARN(id) {
		return &secret{api: r.secret.api, arn: id, see: r.see}, nil
	}
	if err := r.sameOwner(id); err != nil {
		return nil, err
	}
	return r.open(ctx, id)
}

// sameOwner rejects a superuser secret in another account: it would let anyone who can write the secret choose which
// role is assumed, or borrow a superuser of the function's account.
func (r *run) sameOwner(superuser string) error {
	if Account(superuser) == Account(r.secret.arn) {
		return nil
	}
	return engine.Errorf(engine.InvalidSecret, "keep the superuser secret in the account of the secret",
		"the superuser secret %s is in another account", superuser)
}

// explainAbsent turns errAbsent into an error that names the superuser secret.
func explainAbsent(err error, arn string) error {
	if errors.Is(err, errAbsent) {
		return engine.Errorf(engine.InvalidSecret,
			"check the ARN in the secret's value, and that the superuser secret has a value",
			"the superuser secret %s does not exist or has no value", arn)
	}
	return err
}

// SameHost reports whether two names are the same in DNS.
func SameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// superuser checks that a superuser secret's value may be used for the request, and returns it as a login to the
// request's database.
func (r *run) superuser(ctx context.Context, s *secret, req *engine.Request, v engine.Value) (engine.Value, error) {
	invalid := func(format string, args ...any) error {
		const advice = "name a superuser secret of the same engine and database server"
		return engine.Errorf(engine.InvalidSecret, advice, format, args...)
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
		// Secrets that RDS manages hold only a user name and a password.
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
			err = invalid("the superuser secret's host %q is neither the secret's host %q nor known as its writer",
				own, host)
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
	a, _ := arn.Parse(id) // the zero ARN on error
	return a.AccountID
}

// samePlace reports whether two values name the same place and the same way to connect to it.
func (r *run) samePlace(a, b engine.Value) bool { return same(a, b, r.placeFields()) }

// sameAccount reports whether users of the same name in two values are the same user.
func (r *run) sameAccount(a, b engine.Value) bool {
	return same(a, b, append(r.placeFields(), "dbname", "engine"))
}

// same reports whether two values agree in the named fields. A number equals a string with the same text.
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

// withPlaceOf returns v with the fields of place that say where the target is and how to connect. Fields that place
// lacks become null. If place has no such field, as in the secret that Timestream creates for an instance, v is
// returned unchanged.
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
