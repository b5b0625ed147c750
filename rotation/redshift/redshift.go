// Package redshift rotates the passwords of Amazon Redshift users, provisioned
// and serverless, for a single user and for alternating users.
//
// The server gets an MD5 digest and never a password: the form that it makes of
// a password itself, and the only one that every driver of PostgreSQL's protocol
// can log in with. See digest.
package redshift

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Redshift.
type Engine struct{ tls engine.TLSPolicy }

var _ engine.DryRunner = (*Engine)(nil)

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine, with the names and the defaults of AWS's templates.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"redshift"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\:`, RequireEachIncludedType: true},
		CloneSuffix:  "_clone",
		CloneLimit:   nameLimit - len(markPrefix) + len("_clone"),
	}
}

// nameLimit is the greatest length of a name in bytes. A second user's first
// user must be short enough for the name of the pair's group; see mark.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_names.html
const nameLimit = 127

// parse reads a login and checks what only Redshift asks for.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 5439, "dev")
	switch {
	case err != nil:
	case len(t.User) > nameLimit:
		err = engine.Errorf(engine.InvalidSecret, "use the user's real name", "the user name has more than %d bytes", nameLimit)
	case strings.EqualFold(t.User, "public"):
		err = engine.Errorf(engine.InvalidSecret, "use the user's real name", "public is no user")
	}
	return t, err
}

// policy is Redshift's rule for passwords. The server cannot apply it to a
// digest, so it is applied here: a password that breaks it would be the one that
// nobody can set again by hand.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html
func policy(password string) error {
	var fault string
	switch {
	case len(password) < 8 || len(password) > 64:
		fault = "it has not 8 to 64 characters"
	case !strings.ContainsFunc(password, func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		fault = "it has no uppercase letter"
	case !strings.ContainsFunc(password, func(r rune) bool { return 'a' <= r && r <= 'z' }):
		fault = "it has no lowercase letter"
	case !strings.ContainsFunc(password, func(r rune) bool { return '0' <= r && r <= '9' }):
		fault = "it has no digit"
	case strings.ContainsFunc(password, func(r rune) bool { return r < 33 || r > 126 || strings.ContainsRune(`'"\/@`, r) }):
		fault = `it has a character other than the visible ASCII ones without ' " \ / @`
	default:
		return nil
	}
	return engine.Errorf(engine.PolicyRejected, "adapt PASSWORD_LENGTH, EXCLUDE_* and REQUIRE_EACH_INCLUDED_TYPE to Redshift's rule", "Redshift would reject the new password: %s", fault)
}

// Next returns the current value with a new password and, for alternating
// users, the other user's name.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	next, err := pair.Next(e.Kind(), r)
	if err != nil {
		return engine.Value{}, err
	}
	password, _ := next.Text("password")
	return next, policy(password)
}

// DryRun logs in and makes the change in a transaction that is rolled back, with
// the digest of a password that nobody knows. For alternating users it covers
// the database that the secret names.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, true)
}

// Set makes the pending password valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, false)
}

// Verify logs in and asks for an answer. A user that changes its own password
// must be able to, which is tried and rolled back.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	if r.Strategy == engine.AlternatingUsers {
		_, err = s.Conn.Exec(ctx, "SELECT 1")
		return s.classify("the query failed", err)
	}
	return s.transaction(ctx, true, func(tx pgx.Tx) error {
		return s.ownPassword(ctx, tx, decoy)
	})
}

// change connects as r.Login and makes the change that r asks for, and keeps it
// unless it is a rehearsal.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	if err := policy(pending.Password); err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	seal := func(user string) string { return digest(pending.Password, user) }
	if r.Superuser {
		current, err := parse(r.Current)
		if err != nil {
			return err
		}
		c := pair.Change{Kind: e.Kind(), Request: r, Superuser: s.Target.User, Current: current.User, Pending: pending.User, Rehearsal: rehearsal}
		return pair.Apply(ctx, target{session: s, change: c, seal: seal}, c)
	}
	if rehearsal {
		seal = decoy
	}
	return s.transaction(ctx, rehearsal, func(tx pgx.Tx) error { return s.ownPassword(ctx, tx, seal) })
}
