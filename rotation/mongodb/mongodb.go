// Package mongodb rotates the passwords of MongoDB users, and of others who speak its protocol and have its user
// commands, such as Amazon DocumentDB and FerretDB.
//
// A user has one password; alternating users keep both of a pair alive. The server derives its verifiers itself, so
// that it is given the new password, inside TLS, and keeps it out of its log.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of MongoDB.
type Engine struct{ tls engine.TLSPolicy }

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

const cloneSuffix = "_clone"

// Kind describes the engine, with the defaults of AWS's templates. Their name for it is mongo, also for DocumentDB.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"mongodb", "mongo", "documentdb"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		CloneSuffix:  cloneSuffix,
		CloneLimit:   255,
		UserDatabase: true,
		PlaceFields:  []string{"srv"},
	}
}

// login is a login as a secret holds it. Its database is where the user is defined.
type login struct {
	engine.Target
	// srv means that the host stands for those that DNS lists for it.
	srv bool
}

const adviceForm = "correct the secret's value; its form is in the engine's page of the documentation"

func parse(v engine.Value) (login, error) {
	t, err := engine.ParseTarget(v, 27017, "admin")
	srv, _ := v.Text("srv")
	l := login{t, strings.EqualFold(srv, "true")}
	if _, port := v.Text("port"); err == nil && port && l.srv {
		err = engine.Errorf(engine.InvalidSecret, adviceForm, `the secret has a port, which DNS names where it says "srv": true`)
	}
	if err == nil && t.Database == "$external" {
		err = engine.Errorf(engine.InvalidSecret, adviceForm, "users of the database $external have no password")
	}
	return l, err
}

// servers returns where to log in: at the secret's host, or at those that DNS lists for it.
// Source: https://www.mongodb.com/docs/manual/reference/connection-string/#srv-connection-format
func (l login) servers(ctx context.Context) ([]engine.Target, error) {
	if !l.srv {
		return []engine.Target{l.Target}, nil
	}
	_, records, err := net.DefaultResolver.LookupSRV(ctx, "mongodb", "tcp", l.Host)
	var all []engine.Target
	if err == nil {
		all, err = l.listed(records)
	}
	if err != nil {
		return nil, engine.Errorf(engine.NameNotResolved, "check the secret's host and the DNS of the function's VPC", "cannot resolve the hosts of %s by SRV: %w", l.Host, err)
	}
	return all, nil
}

// listed returns the servers of SRV records, which must be in the domain of the secret's host.
func (l login) listed(records []*net.SRV) (all []engine.Target, err error) {
	_, domain, _ := strings.Cut(l.Host, ".")
	if !strings.Contains(domain, ".") {
		domain = l.Host
	}
	for _, r := range records {
		t := l.Target
		t.Host, t.Port = strings.TrimSuffix(r.Target, "."), int(r.Port)
		if all = append(all, t); !strings.HasSuffix(strings.ToLower(t.Host), strings.ToLower("."+domain)) {
			return nil, fmt.Errorf("%s is listed, which is not in the domain", t.Host)
		}
	}
	if all == nil {
		err = errors.New("no server is listed")
	}
	return all, err
}

// Next returns the current value with a new password and, for alternating users, the other user's name.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return pair.Next(e.Kind(), r, parse)
}

// DryRun logs in, reads the users, and asks the server for the login's privileges.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, true)
}

// Set makes the pending password valid, by one command.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in. A user that changes its own password must be able to, as far as the server tells.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.open(ctx, v)
	if err != nil {
		return err
	}
	defer s.close()
	if r.SuperuserChanges {
		return nil
	}
	return s.itself()
}

// change makes the change that r asks for, unless it is a rehearsal.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.open(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.close()
	if !r.Superuser {
		if err := s.itself(); err != nil || rehearsal {
			return err
		}
		return s.setPassword(pending)
	}
	current, _ := r.Current.Text("username")
	c := pair.Change{Kind: e.Kind(), Request: r, Current: current, Pending: pending.User, Rehearsal: rehearsal}
	if s.login.Database == pending.Database { // in another one, the same name is another user's
		c.Superuser = s.login.User
	}
	return pair.Apply(ctx, target{s, c.Kind, r, pending}, c)
}
