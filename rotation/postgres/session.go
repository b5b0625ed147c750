package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

func (e *Engine) connect(ctx context.Context, t engine.Target) (*pgsession.Session, error) {
	s, err := pgsession.Dial(ctx, e.tls, t, begin)
	if err == nil && s.Major < 10 { // without SCRAM, it would store a verifier as a password
		s.Close()
		err = engine.Errorf(engine.InvalidSecret, "upgrade the server, or correct the secret's field engine",
			"%s is version %d, and this engine needs PostgreSQL 10 or later", t.Address(), s.Major)
	}
	return s, err
}

// begin makes every transaction run as the login itself, with only built-in functions. All statements with unqualified
// names are in one. A database's owner sets the role, the search path, timeouts and the date format of its sessions, and
// can create functions and operators with the names that the statements use, which would run as the superuser.
// Searching pg_catalog first, the default, does not prevent that: the server calls the best fit in the whole path.
// pg_temp is never searched for functions; listed last, it hides no tables. Only a superuser can create casts of
// built-in types and event triggers.
// Source: https://www.postgresql.org/docs/current/typeconv-func.html,
// https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SEARCH-PATH,
// https://www.postgresql.org/docs/current/sql-createeventtrigger.html
//
// The timeouts, in milliseconds, end the transaction of a frozen function, which cannot even send a cancel request. A
// statement may take as long as an engine's call. Waits for locks are short because they block others.
const begin = `SET LOCAL statement_timeout = 15000; SET LOCAL idle_in_transaction_session_timeout = 5000;
SET LOCAL lock_timeout = 2000; SET LOCAL ROLE NONE;
SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL standard_conforming_strings = on`

// target is a transaction and, for package pair, a superuser's. Of two alternating users, the first owns everything and
// has every right. The second is a member of the first, and its sessions become the first at login. So everything that
// either creates belongs to the first, and both gain or lose rights with the first.
type target struct{ *pgsession.Work }

// exec runs a statement that ends with texts, separated by commas. A text may be a verifier, or a key in a role's
// setting. Texts therefore reach the server by function calls, which appear in no server log; the log shows the block
// below.
func (t *target) exec(ctx context.Context, statement string, texts ...string) error {
	call := "'%s" + strings.Repeat(", %L", len(texts))[1:] + "', " + pgsession.Literal(statement)
	for i, text := range texts {
		parameter := fmt.Sprintf("rotator.value%d", i)
		if err := t.Classify(statement, t.set(ctx, parameter, text)); err != nil {
			return err
		}
		call += ", pg_catalog.current_setting('" + parameter + "')"
	}
	// The error is raised anew because its original context would quote the statement.
	err := t.Exec(ctx, statement+" ...", "DO "+pgsession.Literal("BEGIN EXECUTE pg_catalog.format("+call+`);
EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM; END`), texts...)
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Cause == engine.PrivilegeMissing &&
		strings.Contains(err.Error(), "language plpgsql") {
		e.Advice = "GRANT USAGE ON LANGUAGE plpgsql TO " + pgsession.Quote(t.Target.User) +
			"; only in its blocks a verifier stays out of the server's log"
	}
	return err
}

// do runs a statement without secrets.
func (t *target) do(ctx context.Context, statement string) error {
	return t.Exec(ctx, statement, statement)
}

// setConfig is the ID of the function set_config(text, text, boolean), the same in all versions.
// Source: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_proc.dat
const setConfig = 2078

// set sets a parameter for the rest of the transaction with the protocol's function call.
// Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-FUNCTION-CALL
func (t *target) set(ctx context.Context, name, value string) error {
	stop := context.AfterFunc(ctx, func() { _ = t.Conn.Conn().SetDeadline(time.Now()) })
	defer stop()
	wire := t.Conn.Frontend()
	wire.Send(&pgproto3.FunctionCall{Function: setConfig, ArgFormatCodes: []uint16{0},
		Arguments: [][]byte{[]byte(name), []byte(value), []byte("t")}})
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

// optional calls do. It returns the error as denied if the login lacks the right or the server lacks the object.
func (t *target) optional(ctx context.Context, do func() error) (denied, err error) {
	if err := t.do(ctx, "SAVEPOINT optional"); err != nil {
		return nil, err
	}
	if err = do(); err == nil {
		return nil, nil
	}
	if back := t.do(ctx, "ROLLBACK TO SAVEPOINT optional"); back != nil {
		return nil, back
	}
	if code := pgsession.Code(err); code == "42501" || code == "42704" {
		return err, nil
	}
	return nil, err
}
