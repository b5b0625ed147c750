package redshift

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

// session is a connection to the target of one value.
type session struct {
	engine *Engine
	*pgsession.Session
}

// connect logs in. The error has the cause LoginRefused only where the server
// says so.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, t)
}

func (e *Engine) dial(ctx context.Context, t engine.Target) (*session, error) {
	s, err := pgsession.Dial(ctx, e.tls, t)
	if err != nil {
		return nil, classify(t, "no login at "+t.Address(), err)
	}
	return &session{e, s}, nil
}

// transaction is Session.Transaction with the server's own functions, tables and views
// alone: others of their names, which the database's owner can make and put first in
// the search path, must not be run by the superuser. All statements but those without
// any name are run in one. Redshift's system views are in pg_catalog. Redshift has no lock_timeout, so
// the limit of a statement ends the wait for a lock while there is time left to report it.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_search_path.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SET.html (LOCAL),
// https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html
func (s *session) transaction(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	return s.Transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path TO pg_catalog; SET LOCAL statement_timeout TO 5000"); err != nil {
			return s.classify("search path and timeout could not be set", err)
		}
		return do(tx)
	})
}

// classify gives an error its cause and advice.
func (s *session) classify(what string, err error) error { return classify(s.Target, what, err) }

// classify is PostgreSQL's but for what Redshift does otherwise. Redshift comes
// from PostgreSQL 8.0, which had no code of its own for a wrong password: the
// code 28000 says that a login is refused, and only the text says why.
func classify(t engine.Target, what string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && e.Code == "28000" && strings.Contains(e.Message, "password authentication failed"):
		return engine.Errorf(engine.LoginRefused, "check the password; Redshift says the same of a user that does not exist, whose password is disabled or whose VALID UNTIL has passed", "%s: %w", what, err)
	case ok && e.Code == "28000":
		return engine.Errorf(engine.PrivilegeMissing, "let the user connect from the function's address, and over TLS or not as the cluster's require_ssl says", "%s: %w", what, err)
	case ok && e.Code == "42501":
		return engine.Errorf(engine.PrivilegeMissing, "grant the login what the engine's page lists", "%s: %w", what, err)
	case ok && (e.Code == "55P03" || e.Code == "57014"):
		return engine.Errorf(engine.TargetFailed, "something holds a lock on the user or the object, or the cluster is overloaded: find the session in svv_transactions and end it, or wait until it ends", "%s: %w", what, err)
	case ok && e.Code == "2BP01":
		return engine.Errorf(engine.PrivilegeMissing, "as a superuser, run the statement with CASCADE at its end, or give both users the same", "%s: %w", what, err)
	case ok && e.Code == "0A000":
		return engine.Errorf(engine.TargetFailed, "see the server's message", "%s: %w", what, err)
	case !ok && strings.Contains(err.Error(), "unknown authentication type: 13"):
		return engine.Errorf(engine.TargetFailed, "as a superuser, give the user a password in the default form: ALTER USER name PASSWORD 'md5…'",
			"the user's password is stored in the form sha256, which only Redshift's own drivers can log in with: %w", err)
	}
	return pgsession.Classify(t, what, err)
}

// ownPassword changes the password of the user that is logged in. Redshift
// folds names to lower case, and the digest needs the name as it is stored.
func (s *session) ownPassword(ctx context.Context, tx pgx.Tx, seal func(user string) string) error {
	var user string
	if err := tx.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
		return s.classify("the user's name could not be read", err)
	}
	return s.setPassword(ctx, tx, user, seal(user))
}

// setPassword stores a digest, which needs no quoting. Redshift has no way to
// make the statement at the server, as PostgreSQL has, so the digest stands in
// the text and is kept out of the error.
func (s *session) setPassword(ctx context.Context, tx pgx.Tx, user, digest string) error {
	_, err := tx.Exec(ctx, "ALTER USER "+name(user)+" PASSWORD '"+digest+"'")
	return s.classify("the password of "+name(user)+" could not be changed", err)
}

// name quotes a name.
func name(s string) string { return pgx.Identifier{s}.Sanitize() }

// text quotes a text. A backslash in it would count differently with and
// without standard_conforming_strings, so E'…' says which.
func text(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

// do runs a part of the change in the rehearsal's transaction, or else in its own.
func (t target) do(ctx context.Context, part func(target) error) error {
	if t.tx != nil {
		return part(t)
	}
	return t.transaction(ctx, false, func(tx pgx.Tx) error { return part(target{t.session, tx, t.change, t.seal}) })
}

// exec runs a statement that holds no password and reports it.
func (t target) exec(ctx context.Context, statement string) error {
	_, err := t.tx.Exec(ctx, statement)
	if err == nil {
		t.change.Request.Changed(statement)
	}
	return t.classify(statement, err)
}

// list returns the one column of a query's rows.
func (t target) list(ctx context.Context, what, query string, args ...any) ([]string, error) {
	rows, _ := t.tx.Query(ctx, query, args...) // the rows have its error
	column, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return column, t.classify(what, err)
}
