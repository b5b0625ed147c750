// Package influxdb2 rotates the passwords and the tokens of users of InfluxDB 2 and of Amazon Timestream
// for InfluxDB, by the HTTP API.
//
// They are two engines with the same names in the field engine: a value with the field token is a
// token's secret, any other one a user's.
// Source: https://docs.influxdata.com/influxdb/v2/api/,
// https://docs.aws.amazon.com/timestream/latest/developerguide/timestream-for-influx-security-db-secrets.html
package influxdb2

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/httpapi"
)

// names are the field engine's values: AWS's for its service, and ours for other servers.
var names = []string{"timestream-influxdb", "influxdb2"}

// Fields of a secret.
const (
	userField     = "username"
	passwordField = "password"
	tokenField    = "token"
	idField       = "tokenId"
	instanceField = "dbIdentifier"
	adminField    = "adminSecretArn"
)

// server finds and opens the servers that secrets name.
type server struct {
	tls      engine.TLSPolicy
	settings awsapi.Settings
}

// login is what a value says: a user with its password, or a token, and where.
type login struct {
	engine.Target        // its Host is "" where the value names an instance or nothing
	token         string // "" for a user's login
	instance      string // the identifier of an instance at Timestream
}

// parse reads a login. It may name no server, as AWS's own secret for an instance does not.
func parse(v engine.Value) (login, error) {
	const advice = "correct the secret's value; its form is in the engine's page of the documentation"
	if !v.IsObject() {
		return login{}, engine.Errorf(engine.InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var l login
	var faults []string
	for name, to := range map[string]*string{tokenField: &l.token, instanceField: &l.instance} {
		s, ok := v.Text(name)
		if *to = s; !ok && v.JSON(name) != nil && string(v.JSON(name)) != "null" {
			faults = append(faults, name+" is not text")
		}
	}
	// Put in what may be missing, to check the rest.
	full, placed := v, v.JSON("host") != nil
	if l.token != "" {
		full = full.With(userField, "none").With(passwordField, "none")
	}
	if !placed {
		full = full.With("host", "none")
	}
	if strings.ContainsFunc(l.token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		faults = append(faults, "token has characters that no token has")
	}
	t, err := httpapi.ParseUser(full, 8086)
	if failure, ok := errors.AsType[*engine.Error](err); ok {
		faults = append(faults, failure.Err.Error())
	}
	if faults != nil {
		slices.Sort(faults)
		return login{}, engine.Errorf(engine.InvalidSecret, advice, "%s", strings.Join(faults, ", "))
	}
	l.Target = t
	if !placed {
		l.Host, l.TLSServerName = "", "" // AWS names them
	}
	return l, nil
}

// own parses a value of the secret itself, which says where its server is.
func own(v engine.Value) (login, error) {
	l, err := parse(v)
	if err == nil && l.Host == "" && l.instance == "" {
		err = engine.Errorf(engine.InvalidSecret, "name the server in host, or the instance at Timestream in "+instanceField, "the secret's value has neither host nor %s", instanceField)
	}
	return l, err
}

// open opens a session with a value of the secret.
func (s server) open(ctx context.Context, r *engine.Request, v engine.Value) (*session, error) {
	l, err := own(v)
	if err != nil {
		return nil, err
	}
	if _, err := s.locate(ctx, r, &l); err != nil {
		return nil, err
	}
	return s.connect(ctx, l)
}

// openLogin opens a session with who makes the change. A superuser's credential is sent only where its
// own secret names the server, or where AWS says that it is the instance's secret: whoever may write the
// rotated secret could name another server there.
func (s server) openLogin(ctx context.Context, r *engine.Request) (*session, error) {
	if !r.Superuser {
		return s.open(ctx, r, r.Login)
	}
	const advice = "have the superuser secret name the same server, by host or by " + instanceField +
		", or put the ARN of the secret that Timestream made for the instance into " + adminField
	target, err := own(r.Current)
	if err != nil {
		return nil, err
	}
	made, err := s.locate(ctx, r, &target)
	if err != nil {
		return nil, err
	}
	super, err := parse(r.Login)
	if err != nil {
		return nil, err
	}
	if super.Host == "" && super.instance == "" {
		if admin, _ := r.Current.Text(adminField); made == "" || admin != made {
			return nil, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret names no server")
		}
		super.Host, super.Port = target.Host, target.Port // and not TLS, which is for the superuser's own secret to say
	} else if _, err := s.locate(ctx, r, &super); err != nil {
		return nil, err
	}
	if super.Address() != target.Address() {
		return nil, engine.Errorf(engine.InvalidSecret, advice, "the superuser secret is of the server %s and the secret of %s", super.Address(), target.Address())
	}
	return s.connect(ctx, super)
}
