// Package postgres rotates the passwords of PostgreSQL and Aurora PostgreSQL
// roles, for a single user and for alternating users.
//
// The server gets a SCRAM-SHA-256 verifier and never a password. The verifier is
// handed over as a bound value and put into the statement by the server itself,
// so that a server which logs its DDL logs no verifier either.
package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates roles of PostgreSQL 10 and later.
type Engine struct{ tls engine.TLSPolicy }

var _ engine.DryRunner = (*Engine)(nil)

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls} }

// Kind describes the engine, with the names and the defaults of AWS's templates.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"postgres", "aurora-postgresql"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `:/@"'\`, RequireEachIncludedType: true},
		Superuser:    engine.ForAlternating,
		CloneSuffix:  "_clone",
		// Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
		CloneLimit: 63,
	}
}

// parse reads a login and checks what only PostgreSQL asks for.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 5432, "postgres")
	if err == nil && len(t.User) > 63 {
		// The server would cut the name and change another role.
		err = engine.Errorf(engine.InvalidSecret, "use the role's real name", "the user name has more than 63 bytes")
	}
	return t, err
}

// Next returns the current value with a new password and, for alternating
// users, the other user's name.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	return pair.Next(e.Kind(), r)
}

// DryRun logs in and makes the change in a transaction that is rolled back, with
// a verifier that fits no password.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, func(s *session) error { return s.apply(ctx, r, true) })
}

// Set makes the pending password valid, in one transaction.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.change(ctx, r, func(s *session) error { return s.apply(ctx, r, false) })
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
		return s.setPassword(ctx, tx, s.Target.User, decoy(s.Target.User))
	})
}

// change connects as r.Login and calls do.
func (e *Engine) change(ctx context.Context, r *engine.Request, do func(*session) error) error {
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// apply makes the change that r asks for, and keeps it unless it is a rehearsal.
func (s *session) apply(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	verifier := decoy(pending.User)
	if !rehearsal {
		verifier = scramVerifier(pending.Password, salt(r.Secret, r.Version, pending.User))
	}
	if r.Superuser && pending.User == s.Target.User {
		return engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the user %q is the superuser itself", pending.User)
	}
	if r.Strategy == engine.AlternatingUsers {
		current, err := parse(r.Current)
		if err != nil {
			return err
		}
		return s.alternate(ctx, twoUsers{current: current.User, other: pending.User, proved: pair.Proved(s.engine.Kind(), r)}, verifier, rehearsal)
	}
	return s.transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		if r.Superuser {
			if _, err := s.ordinary(ctx, tx, pending.User); err != nil {
				return err
			}
		}
		return s.setPassword(ctx, tx, pending.User, verifier)
	})
}

// setPassword stores a verifier. The server composes the statement, so that what
// it logs, and what pg_stat_statements keeps, is this text and not the verifier.
// An error is raised anew because its context would quote the statement.
func (s *session) setPassword(ctx context.Context, tx pgx.Tx, user, verifier string) error {
	if err := s.unlogged(ctx, tx); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('rotator.role', $1, true), pg_catalog.set_config('rotator.verifier', $2, true)", user, verifier)
	if err == nil {
		_, err = tx.Exec(ctx, `DO $$ BEGIN
	EXECUTE pg_catalog.format('ALTER ROLE %I PASSWORD %L', pg_catalog.current_setting('rotator.role'), pg_catalog.current_setting('rotator.verifier'));
EXCEPTION WHEN OTHERS THEN
	RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$`)
	}
	if code(err) == "22023" { // invalid_parameter_value, as the hooks for password checks raise
		return engine.Errorf(engine.PolicyRejected, "adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the server's policy", "the server rejects the password of %q: %w", user, err)
	}
	return s.classify("the password of "+strconv.Quote(user)+" could not be changed", err)
}

// unlogged switches the statement log off for the transaction where the login
// may do so; all others rely on the bound value alone.
func (s *session) unlogged(ctx context.Context, tx pgx.Tx) error {
	if s.Conn.PgConn().ParameterStatus("is_superuser") != "on" {
		return nil
	}
	_, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('log_statement', 'none', true), pg_catalog.set_config('log_min_duration_statement', '-1', true), pg_catalog.set_config('log_duration', 'off', true)")
	return s.classify("the statement log could not be switched off", err)
}
