// Package mongodb rotates passwords of users of MongoDB and compatible servers, such as Amazon DocumentDB and FerretDB.
//
// A user has one password; with alternating users, both users of a pair stay valid. The server derives its verifiers
// itself, so it receives the new password, over TLS, and keeps it out of its log.
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

// Kind describes the engine, with the defaults of AWS's templates, which use the name mongo even for DocumentDB.
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

type login struct {
	engine.Target
	// srv means that DNS lists the actual hosts for the secret's host.
	srv bool
}

const adviceForm = "correct the secret's value; the engine's page describes it"

func parse(v engine.Value) (login, error) {
	t, err := engine.ParseTarget(v, 27017, "admin")
	srv, _ := v.Text("srv")
	l := login{t, strings.EqualFold(srv, "true")}
	if _, port := v.Text("port"); err == nil && port && l.srv {
		err = engine.Errorf(engine.InvalidSecret, adviceForm,
			`the secret has a port, but with "srv" DNS has it`)
	}
	if err == nil && t.Database == "$external" {
		err = engine.Errorf(engine.InvalidSecret, adviceForm, "users of the database $external have no password")
	}
	return l, err
}

// servers returns where to log in: the secret's host, or the hosts that DNS lists for it.
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
		return nil, engine.Errorf(engine.NameNotResolved, "check the secret's host and the DNS of the function's VPC",
			"cannot resolve the hosts of %s by SRV: %w", l.Host, err)
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
			return nil, fmt.Errorf("%s is listed but is not in the domain", t.Host)
		}
	}
	if all == nil {
		err = errors.New("no server is listed")
	}
	return all, err
}

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return pair.Next(e.Kind(), r, parse)
}

// DryRun logs in, reads the users, and checks the login's privileges.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, true)
}

// Set makes the pending password valid with one command.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in. A user that changes its own password must have the privilege, as far as the server reveals it.
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
	if s.login.Database == pending.Database { // the same name in another database is a different user
		c.Superuser = s.login.User
	}
	return pair.Apply(ctx, target{s, c.Kind, r, pending}, c)
}
