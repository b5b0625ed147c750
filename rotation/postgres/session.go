package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

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
		return nil, pgsession.Classify(t, "no login at "+t.Address(), err)
	}
	return &session{e, s}, nil
}

// transaction is Session.Transaction as the login itself, with the server's own
// functions alone. All statements but those without any name are run in one.
//
// A database's owner sets search_path for every session in it, and can make functions
// and operators of the names that the statements use, which would run as the superuser.
// It does not help that pg_catalog comes first by default, since of all in the path the
// function that fits the arguments best is called. pg_temp is never searched for
// functions; named last, it hides no table either. Casts of built-in types and event
// triggers are found without the path, but take a superuser to create.
// Source: https://www.postgresql.org/docs/current/typeconv-func.html,
// https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SEARCH-PATH,
// https://www.postgresql.org/docs/current/sql-createeventtrigger.html
func (s *session) transaction(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	return s.Transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		// The role's own settings may make it another, who may not change it.
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
			return s.classify("role and search path could not be reset", err)
		}
		return do(tx)
	})
}

// code returns the SQLSTATE of a server's error, or "".
func code(err error) string { return pgsession.Code(err) }

// classify gives an error its cause and advice.
func (s *session) classify(what string, err error) error {
	return pgsession.Classify(s.Target, what, err)
}
