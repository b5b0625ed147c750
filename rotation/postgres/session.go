package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/pgsession"
	"example.com/rotator/rotation"
)

// session is a connection to the target of one value.
type session struct {
	engine *Engine
	*pgsession.Session
}

// connect logs in. The error has the cause LoginRefused only where the server
// says so.
func (e *Engine) connect(ctx context.Context, v rotation.Value) (*session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, t)
}

func (e *Engine) dial(ctx context.Context, t rotation.Target) (*session, error) {
	s, err := pgsession.Dial(ctx, e.tls, t)
	if err != nil {
		return nil, pgsession.Classify(t, "no login at "+t.Address(), err)
	}
	return &session{e, s}, nil
}

// transaction is Session.Transaction as the login itself.
func (s *session) transaction(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	return s.Transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		// The role's own settings may make it another, who may not change it.
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE NONE"); err != nil {
			return s.classify("the role could not be reset", err)
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
