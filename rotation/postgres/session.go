package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

// oldest is the first version that knows SCRAM. One before it would store a verifier as a password.
const oldest = 10

// connect logs in.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*pgsession.Session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	s, err := pgsession.Dial(ctx, e.tls, t, begin)
	if err == nil && s.Major < oldest {
		s.Close()
		err = engine.Errorf(engine.InvalidSecret, "upgrade the server, or correct the secret's field engine", "%s is version %d, and this engine needs PostgreSQL %d or later", t.Address(), s.Major, oldest)
	}
	return s, err
}

// begin has every transaction run as the login itself, with the server's own functions alone. All statements but
// those without any name are in one. A database's owner sets search_path for every session in it, and can create
// functions and operators of the names that the statements use, which would run as the superuser. It does not help
// that pg_catalog comes first by default, since of all in the path the function that fits the arguments best is
// called. pg_temp is never searched for functions; named last, it hides no table either. Casts of built-in types
// and event triggers are found without the path, but take a superuser to create. The owner also sets time-outs, the
// form of dates and, as the role's own settings do, the role.
// Source: https://www.postgresql.org/docs/current/typeconv-func.html,
// https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SEARCH-PATH,
// https://www.postgresql.org/docs/current/sql-createeventtrigger.html
//
// The time-outs, in milliseconds, end the transaction of a function that Lambda freezes, which does not even
// send a cancel. A statement has as long as the call of an engine. A wait for a lock keeps others waiting.
const begin = `SET LOCAL statement_timeout = 15000; SET LOCAL idle_in_transaction_session_timeout = 5000; SET LOCAL lock_timeout = 2000;
SET LOCAL ROLE NONE; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL datestyle = 'ISO, YMD'`

// target is a transaction, for package pair a superuser's. Of two users that alternate one, the first, owns everything
// and holds every right; the second is a member of it whose sessions become the first when they log in. So an object
// that either creates belongs to the first, and a right that the first gets or loses, both get or lose.
type target struct {
	*pgsession.Work
	password string // to set
}

// verbs are the places of names and texts in a statement.
var verbs = lazyregexp.New("%[IL]")

// exec runs a statement whose names (%I) and texts (%L) the server itself puts in and quotes. It returns the
// statement with the names alone: a text may be a verifier, or a role's setting, which applications keep keys
// in. For the same reason the texts reach the server by function calls, which are in no log of the server,
// and the statement that it composes of them is logged as the block below.
func (t *target) exec(ctx context.Context, format string, args ...string) (shown string, err error) {
	var names, texts []string
	for i, verb := range verbs.FindAllString(format, -1) {
		if verb == "%I" {
			names = append(names, args[i])
		} else {
			texts = append(texts, args[i])
		}
	}
	if err := t.Tx.QueryRow(ctx, "SELECT pg_catalog.format($1, VARIADIC $2::text[])", strings.ReplaceAll(format, "%L", "..."), names).Scan(&shown); err != nil {
		return "", t.Classify("the statement could not be composed", err)
	}
	if texts == nil {
		_, err = t.Tx.Exec(ctx, shown)
		return shown, t.Classify(shown, err)
	}
	values := make([]string, len(args))
	for i, a := range args {
		parameter := fmt.Sprintf("rotator.value%d", i)
		if err := t.set(ctx, parameter, a); err != nil {
			return shown, t.Classify(shown, err)
		}
		values[i] = "pg_catalog.current_setting('" + parameter + "')"
	}
	// An error is raised anew because its context would quote the statement.
	_, err = t.Tx.Exec(ctx, "DO $$ BEGIN EXECUTE pg_catalog.format('"+format+"', "+strings.Join(values, ", ")+`);
EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM; END $$`)
	if pgsession.Code(err) == "42501" && strings.Contains(err.Error(), "plpgsql") {
		return shown, engine.Errorf(engine.PrivilegeMissing, "GRANT USAGE ON LANGUAGE plpgsql TO "+quote(t.Target.User)+"; only in its blocks a verifier stays out of the server's log", "%s: %w", shown, err)
	}
	return shown, t.Classify(shown, pgsession.Without(err, texts))
}

// setConfig is the function set_config(text, text, boolean), whose id is the same in all versions.
// Source: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_proc.dat
const setConfig = 2078

// set sets a parameter for the rest of the transaction by the protocol's function call.
// Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-FUNCTION-CALL
func (t *target) set(ctx context.Context, name, value string) error {
	conn := t.Conn.PgConn()
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

// grant runs a statement and reports it.
func (t *target) grant(ctx context.Context, format string, args ...string) error {
	shown, err := t.exec(ctx, format, args...)
	if err == nil {
		t.Request.Changed(shown)
	}
	return err
}

// optional returns an error of do as denied where the login lacks the right or the server does not know the object.
func (t *target) optional(ctx context.Context, do func() error) (denied, err error) {
	err = pgx.BeginFunc(ctx, t.Tx, func(pgx.Tx) error { return do() })
	if code := pgsession.Code(err); code == "42501" || code == "42704" {
		return err, nil
	}
	return nil, t.Classify("no savepoint", err)
}

// denied gives an error for lack of a right the advice for its statement, unless it has one of its own.
func denied(err error, advice string) error {
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Advice == pgsession.AdviceDenied {
		return engine.Errorf(engine.PrivilegeMissing, advice, "%w", e.Err)
	}
	return err
}

// quote quotes a name, as advice shows it.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
