// Package postgres rotates the passwords of PostgreSQL and Aurora PostgreSQL
// roles, for a single user and for alternating users.
//
// The server gets a SCRAM-SHA-256 verifier and never a password. The verifier is handed over by a
// function call and put into the statement by the server itself, so no log of statements has it.
package postgres

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
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
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending password valid, in one transaction.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in and asks for an answer. The sessions of a second user must be the first's: without
// that, an application could log in and would have lost its rights.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	// It can be the superuser's login, and the search path the database owner's: see transaction,
	// which would make the session another role.
	var second, itself bool
	err = s.Conn.QueryRow(ctx, `SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_authid') OPERATOR(pg_catalog.~~) 'rotator: second user of "%"', false),
	current_user OPERATOR(pg_catalog.=) session_user FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user`).Scan(&second, &itself)
	if err == nil && second && itself && r.Strategy == engine.AlternatingUsers && v.Equal(r.Pending) {
		return engine.Errorf(engine.PrivilegeMissing, "look for a setting of role that overrides the second user's, and for a membership without SET",
			"the sessions of %q do not become the first user", s.Target.User)
	}
	return s.classify("the query failed", err)
}

// change makes the change that r asks for as r.Login, and keeps it unless it is a rehearsal.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	verifier := decoy(pending.User)
	if !rehearsal {
		verifier = scramVerifier(pending.Password, salt(r.Secret, r.Version, pending.User))
	} else if err := s.warnOfMD5(ctx, r, pending.User); err != nil {
		return err
	}
	if !r.Superuser {
		return s.transaction(ctx, rehearsal, func(tx pgx.Tx) error { return s.setPassword(ctx, tx, pending.User, verifier) })
	}
	if r.Adopt && r.Strategy == engine.AlternatingUsers {
		if err := s.adoptUnmarked(ctx, r, rehearsal); err != nil {
			return err
		}
	}
	return s.reporting(ctx, r, rehearsal, func(tx pgx.Tx, r *engine.Request) error {
		c, err := s.users(r)
		if err != nil {
			return err
		}
		return pair.Apply(ctx, &target{s, tx, r, verifier}, c)
	})
}

// warnOfMD5 says beforehand that the user's clients must know SCRAM.
func (s *session) warnOfMD5(ctx context.Context, r *engine.Request, user string) error {
	var encryption string
	err := s.Conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('password_encryption')").Scan(&encryption)
	if encryption == "md5" {
		r.Warn("password_encryption is md5 at the server, and " + user + " gets SCRAM-SHA-256: clients that know nothing but MD5 will not be able to log in")
	}
	return s.classify("the server's settings could not be read", err)
}

// reporting is transaction with a request whose reports are written once the changes are committed.
func (s *session) reporting(ctx context.Context, r *engine.Request, rehearsal bool, do func(pgx.Tx, *engine.Request) error) error {
	var reports []func()
	buffered := *r
	err := s.transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		reports = nil // of a try that was rolled back
		buffered.Report = func(level slog.Level, text string) {
			reports = append(reports, func() { r.Report(level, text) })
		}
		return do(tx, &buffered)
	})
	if err == nil && !rehearsal && r.Report != nil {
		for _, report := range reports {
			report()
		}
	}
	r.Proofs = buffered.Proofs
	return err
}

// setPassword stores a verifier.
func (s *session) setPassword(ctx context.Context, tx pgx.Tx, user, verifier string) error {
	if s.Conn.PgConn().ParameterStatus("is_superuser") == "on" {
		// What it keeps of a statement inside a block, only a superuser can switch off.
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('pg_stat_statements.track', 'none', true)"); err != nil {
			return s.classify("pg_stat_statements could not be switched off", err)
		}
	}
	_, err := s.exec(ctx, tx, "ALTER ROLE %I PASSWORD %L", user, verifier)
	if code(err) == "22023" { // invalid_parameter_value, as the hooks for password checks raise
		return engine.Errorf(engine.PolicyRejected, "adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the server's policy", "the server rejects the password of %q: %w", user, err)
	}
	return s.denied(err, s.adviceChange(user))
}

// denied gives an error for lack of a right the advice for the statement that failed, unless it has
// one of its own.
func (s *session) denied(err error, advice string) error {
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Advice == pgsession.AdviceDenied {
		return engine.Errorf(engine.PrivilegeMissing, advice, "%w", e.Err)
	}
	return err
}

// adviceChange says what lets the session's user change a user.
func (s *session) adviceChange(user string) string {
	login, of := pgx.Identifier{s.Target.User}.Sanitize(), pgx.Identifier{user}.Sanitize()
	switch {
	case user == s.Target.User:
		return "let the user set its own password: on RDS with rds.restrict_password_commands, GRANT rds_password TO " + of
	case s.major < 16:
		return "ALTER ROLE " + login + " CREATEROLE"
	}
	return "ALTER ROLE " + login + " CREATEROLE; GRANT " + of + " TO " + login + " WITH ADMIN OPTION"
}

// users returns the change of the request.
func (s *session) users(r *engine.Request) (c pair.Change, err error) {
	current, err := parse(r.Current)
	if err != nil {
		return c, err
	}
	pending, err := parse(r.Pending)
	return pair.Change{Kind: s.engine.Kind(), Request: r, Superuser: s.Target.User, Current: current.User, Pending: pending.User, Marked: !r.Adopt}, err
}
