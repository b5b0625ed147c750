// Package influxdb2 rotates passwords and tokens of InfluxDB 2 and Amazon Timestream for InfluxDB by the HTTP API.
//
// Two engines share their names in the field engine: Tokens rotates values with the field token, Users all others.
// Source: https://docs.influxdata.com/influxdb/v2/api/,
// https://docs.aws.amazon.com/timestream/latest/developerguide/timestream-for-influx-security-db-secrets.html
package influxdb2

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/form"
	"example.com/rotator/rotation/internal/httpapi"
)

// names are the values of the field engine: AWS's for Timestream, and this project's for other servers.
var names = []string{"timestream-influxdb", "influxdb2"}

const (
	userField     = "username"
	passwordField = "password"
	tokenField    = "token"
	idField       = "tokenId"
	instanceField = "dbIdentifier"
	adminField    = "adminSecretArn"
)

type server struct {
	tls      engine.TLSPolicy
	settings awsapi.Settings
}

type login struct {
	engine.Target        // Host is "" if the value names an instance or no server
	token         string // "" for a user's login
	instance      string // the identifier of a Timestream instance
}

// parse reads a login. The server may be missing, as in the secret that AWS creates for an instance.
func parse(v engine.Value) (login, error) {
	f := form.Form{Value: v}
	l := login{token: f.Optional(tokenField), instance: f.Optional(instanceField)}
	if strings.ContainsFunc(l.token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		f.Wrong("token has characters that are not allowed in a token")
	}
	err := f.Err()
	switch {
	case err != nil:
	case l.token != "": // the token logs in, not the user
		l.Target, err = engine.ParseTarget(v, 8086, "", "host", userField, passwordField)
	default:
		l.Target, err = httpapi.ParseUser(v, 8086, "host")
	}
	if l.Host == "" {
		l.TLSServerName = "" // the endpoint that AWS returns
	}
	return l, err
}

// own parses a value of the rotated secret, which must name its server.
func own(v engine.Value) (login, error) {
	l, err := parse(v)
	if err == nil && l.Host == "" && l.instance == "" {
		err = engine.Errorf(engine.InvalidSecret, "name the server in host, or the Timestream instance in "+
			instanceField, "the secret's value has neither host nor %s", instanceField)
	}
	return l, err
}

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

// openLogin opens the session that makes the change. It sends a superuser's credential only to the server that the
// superuser secret names, or the instance that AWS created it for: a writer of the rotated secret could name any.
func (s server) openLogin(ctx context.Context, r *engine.Request) (*session, error) {
	if !r.Superuser {
		return s.open(ctx, r, r.Login)
	}
	target, err := own(r.Current)
	if err != nil {
		return nil, err
	}
	super, err := parse(r.Login)
	if err != nil {
		return nil, err
	}
	byInstance := target.Host == ""
	made, err := s.locate(ctx, r, &target)
	if err != nil {
		return nil, err
	}
	same := super.Address() == target.Address()
	if super.Host == "" && byInstance {
		admin, _ := r.Current.Text(adminField)
		same = super.instance == target.instance || super.instance == "" && made != "" && admin == made
	}
	if !same {
		return nil, engine.Errorf(engine.InvalidSecret, "name the same server in the superuser secret, by the same field, "+
			"or set "+adminField+" to the secret that Timestream created for the instance",
			"the superuser secret does not name the server %s", target.Address())
	}
	super.Host, super.Port = target.Host, target.Port // but not TLS, which only the superuser secret decides
	return s.connect(ctx, super)
}
