// Package pgsession is what the engines for PostgreSQL's protocol share: one
// connection with the core's rules for TLS, the meaning of the server's errors
// and transactions that are tried again.
package pgsession

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/errtree"
)

// Session is a connection to a target.
type Session struct {
	Conn   *pgx.Conn
	Target engine.Target
}

// noTLS is the driver's text for a server that answered that it has no TLS. The
// errors around it quote the user and the database, so that a part of their text
// proves nothing.
const noTLS = "server refused TLS connection"

// Dial logs in, with TLS as the policy says. The error is the driver's, for
// Classify to explain, or an *engine.Error where no login was tried.
func Dial(ctx context.Context, policy engine.TLSPolicy, t engine.Target) (*Session, error) {
	// The driver's settings must be made by its parser, which also reads PG*
	// variables; whatever decides where a password goes is set here by hand.
	cfg, err := pgx.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, engine.Errorf(engine.InvalidConfiguration, "unset the PG* variables", "the driver's settings are unusable")
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = t.Host, uint16(t.Port), t.User, t.Password, t.Database
	cfg.Fallbacks = nil
	// The encoding is said, as libpq does, because the database's owner can set another
	// for its sessions, in which the bytes of one role's name are those of another's.
	cfg.RuntimeParams = map[string]string{"application_name": "rotator", "client_encoding": "UTF8"}
	cfg.ValidateConnect = nil
	cfg.MaxProtocolMessageBodyLen = answerLimit // of which memory is taken before it is read
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		b := &bounded{reader: r, writer: w}
		return pgproto3.NewFrontend(b, b)
	}
	// No prepared statements: a pooler in front of the server may not keep them.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	for i, tls := range policy.Attempts(t) {
		if i > 0 && !errtree.Is(err, noTLS) {
			break
		}
		cfg.TLSConfig = tls
		// A server may ask for the password itself only over TLS.
		cfg.RequireAuth = ""
		if tls == nil {
			cfg.RequireAuth = "!password"
		}
		var conn *pgx.Conn
		if conn, err = pgx.ConnectConfig(ctx, cfg); err == nil {
			return &Session{conn, t}, nil
		}
	}
	if errtree.Is(err, noTLS) {
		return nil, engine.Errorf(engine.TLSFailed, `switch TLS on at the server, or say "ssl": false in the secret to send passwords in the clear`, "%s offers no TLS", t.Address())
	}
	return nil, err
}

// Close ends the connection without waiting long for a server that hangs.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = s.Conn.Close(ctx)
}

// Transaction runs do in a transaction, which it rolls back after a rehearsal.
// Changes of one role by several sessions at once make the server fail with an
// internal error instead of waiting, and a role that two make at once exists for the
// second; these are tried again.
func (s *Session) Transaction(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	for try := 0; ; try++ {
		err := s.once(ctx, rehearsal, do)
		if c := Code(err); try == 7 || !slices.Contains([]string{"XX000", "40001", "40P01", "23505", "42710"}, c) {
			return err
		}
		pause := time.NewTimer(time.Duration(rand.IntN(20<<try)) * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

func (s *Session) once(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	tx, err := s.Conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
	if err != nil {
		return Classify(s.Target, "no transaction", err)
	}
	if err = do(tx); err != nil || rehearsal {
		_ = tx.Rollback(ctx)
		return err
	}
	return Classify(s.Target, "the change could not be committed", tx.Commit(ctx))
}

// Code returns the SQLSTATE of a server's error, or "".
func Code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// Without returns the server's error with the texts left out of its message. One that
// is too short to be a key is left in: it would be found in the words around it.
func Without(err error, texts []string) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	bare := *e
	for _, t := range texts {
		if len(t) >= 6 {
			bare.Message = strings.ReplaceAll(bare.Message, t, "…")
		}
	}
	return &bare
}

// AdviceDenied is for a statement that the login may not run, where nothing better is known.
const AdviceDenied = "grant the login what the engine's page lists"

// Classify gives an error of the server or of its connection its cause and
// advice; one that has them already, and nil, come back as they are.
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
func Classify(t engine.Target, what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	cause, advice := engine.TargetFailed, "see the server's message and log"
	switch c := Code(err); c {
	case "":
		if e := engine.NetworkError(t, err); e != nil {
			return e
		}
	case "28P01":
		cause, advice = engine.LoginRefused, "check the password; the server says the same of a role that does not exist and of one whose VALID UNTIL has passed"
	case "28000":
		// No other password would change this answer, so it is no refusal of
		// the credential: the role may not log in, or not from here.
		cause, advice = engine.PrivilegeMissing, "give the role LOGIN, and pg_hba.conf an entry for it and for the function's address"
	case "42501":
		cause, advice = engine.PrivilegeMissing, AdviceDenied
	case "55P03":
		cause, advice = engine.Locked, "find what holds the lock in pg_locks and pg_stat_activity, and end it or wait; Secrets Manager tries again"
	case "3D000":
		cause, advice = engine.InvalidSecret, "correct the secret's field dbname"
	case "25006", "0A000":
		advice = "name the writer in the secret's host: a standby cannot change a role"
	case "53300":
		advice = "raise the server's or the role's connection limit"
	case "57P03":
		advice = "the server is starting or stopping; Secrets Manager tries again"
	}
	return engine.Errorf(cause, advice, "%s: %w", what, err)
}
