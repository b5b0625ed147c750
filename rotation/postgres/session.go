package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

// session is a connection to the target of one value.
type session struct {
	engine *Engine
	*pgsession.Session
	major int // the server's version
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

// oldest is the first version that knows SCRAM. One before it would store a verifier as a password.
const oldest = 10

func (e *Engine) dial(ctx context.Context, t engine.Target) (*session, error) {
	s, err := pgsession.Dial(ctx, e.tls, t)
	if err != nil {
		return nil, pgsession.Classify(t, "no login at "+t.Address(), err)
	}
	version := s.Conn.PgConn().ParameterStatus("server_version")
	major, _ := strconv.Atoi(version[:len(version)-len(strings.TrimLeft(version, "0123456789"))])
	if major < oldest {
		s.Close()
		return nil, engine.Errorf(engine.InvalidSecret, "upgrade the server, or correct the secret's field engine", "%s is version %q, and this engine needs PostgreSQL %d or later", t.Address(), version, oldest)
	}
	return &session{e, s, major}, nil
}

// lockLimit bounds each wait for a lock. Whoever waits for one keeps other clients waiting.
const lockLimit = 2 * time.Second

// transaction is Session.Transaction as the login itself, with the server's own
// functions alone. All statements but those without any name are run in one.
//
// A database's owner sets search_path for every session in it, and can make functions
// and operators of the names that the statements use, which would run as the superuser.
// It does not help that pg_catalog comes first by default, since of all in the path the
// function that fits the arguments best is called. pg_temp is never searched for
// functions; named last, it hides no table either. Casts of built-in types and event
// triggers are found without the path, but take a superuser to create. The owner also
// sets time-outs and the form of dates.
// Source: https://www.postgresql.org/docs/current/typeconv-func.html,
// https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SEARCH-PATH,
// https://www.postgresql.org/docs/current/sql-createeventtrigger.html
func (s *session) transaction(ctx context.Context, rehearsal bool, do func(pgx.Tx) error) error {
	// The role's own settings may make it another, who may not change it.
	preamble := fmt.Sprintf("SET LOCAL statement_timeout = 0; SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = %d; SET LOCAL datestyle = 'ISO, YMD'", lockLimit.Milliseconds())
	return s.Transaction(ctx, rehearsal, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, preamble); err != nil {
			return s.classify("the session could not be prepared", err)
		}
		return do(tx)
	})
}

// verbs are the places of names and texts in a statement.
var verbs = lazyregexp.New("%[IL]")

// exec runs a statement whose names and texts the server itself puts in and quotes: %I stands for a
// name and %L for a text. It returns the statement with the names alone: a text may be the value of
// a role's setting, which applications keep keys in, or a verifier. For the same reason the texts
// reach the server by function calls and not by statements: those are in no log of the server, and
// the statement that it composes of them is logged as the block below.
func (s *session) exec(ctx context.Context, tx pgx.Tx, format string, args ...string) (shown string, err error) {
	var names, texts []string
	for i, verb := range verbs.FindAllString(format, -1) {
		if verb == "%I" {
			names = append(names, args[i])
		} else {
			texts = append(texts, args[i])
		}
	}
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.format($1, VARIADIC $2::text[])", strings.ReplaceAll(format, "%L", "..."), names).Scan(&shown); err != nil {
		return "", s.classify("the statement could not be made", err)
	}
	if texts == nil {
		_, err = tx.Exec(ctx, shown)
		return shown, s.classify(shown, err)
	}
	values := make([]string, len(args))
	for i, a := range args {
		parameter := fmt.Sprintf("rotator.value%d", i)
		if err := s.set(ctx, parameter, a); err != nil {
			return shown, s.classify(shown, err)
		}
		values[i] = "pg_catalog.current_setting('" + parameter + "')"
	}
	// An error is raised anew because its context would quote the statement.
	_, err = tx.Exec(ctx, "DO $$ BEGIN EXECUTE pg_catalog.format('"+format+"', "+strings.Join(values, ", ")+`);
EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM; END $$`)
	if code(err) == "42501" && strings.Contains(err.Error(), "plpgsql") {
		return shown, engine.Errorf(engine.PrivilegeMissing, "GRANT USAGE ON LANGUAGE plpgsql TO "+pgx.Identifier{s.Target.User}.Sanitize()+"; only in its blocks a verifier stays out of the server's log", "%s: %w", shown, err)
	}
	return shown, s.classify(shown, pgsession.Without(err, texts))
}

// setConfig is the function set_config(text, text, boolean), whose id is the same in all versions.
// Source: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_proc.dat
const setConfig = 2078

// set sets a parameter for the rest of the transaction by the protocol's function call.
// Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-FUNCTION-CALL
func (s *session) set(ctx context.Context, name, value string) error {
	conn := s.Conn.PgConn()
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetDeadline(time.Now()) })
	defer stop()
	wire := conn.Frontend()
	wire.Send(&pgproto3.FunctionCall{Function: setConfig, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte(name), []byte(value), []byte("t")}})
	if err := wire.Flush(); err != nil {
		return err
	}
	var refused error
	for {
		message, err := wire.Receive()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			refused = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			return refused
		}
	}
}

// code returns the SQLSTATE of a server's error, or "".
func code(err error) string { return pgsession.Code(err) }

// classify gives an error its cause and advice.
func (s *session) classify(what string, err error) error {
	return pgsession.Classify(s.Target, what, err)
}

// grant runs a statement and reports it.
func (t *target) grant(ctx context.Context, format string, args ...string) error {
	shown, err := t.exec(ctx, t.tx, format, args...)
	if err == nil {
		t.request.Changed(shown)
	}
	return err
}

// optional calls what may fail because the login has not the right to it, or the server does not know
// the object, and returns that error as denied.
func (t *target) optional(ctx context.Context, do func() error) (denied, err error) {
	savepoint, err := t.tx.Begin(ctx)
	if err != nil {
		return nil, t.classify("no savepoint", err)
	}
	switch err = do(); {
	case code(err) == "42501" || code(err) == "42704":
		return err, t.classify("the savepoint is lost", savepoint.Rollback(ctx))
	case err != nil:
		return nil, err
	}
	return nil, t.classify("the savepoint is lost", savepoint.Commit(ctx))
}
