//go:build repro

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/testing/testserver"
)

func fast(c *pgx.Conn, id uint32, args ...string) error {
	fe := c.PgConn().Frontend()
	call := &pgproto3.FunctionCall{Function: id, ArgFormatCodes: []uint16{0}, ResultFormatCode: 0}
	for _, a := range args {
		call.Arguments = append(call.Arguments, []byte(a))
	}
	fe.Send(call)
	if err := fe.Flush(); err != nil {
		return err
	}
	var failed error
	for {
		m, err := fe.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			failed = fmt.Errorf("%s", m.Message)
		case *pgproto3.ReadyForQuery:
			return failed
		}
	}
}

func TestUFastpathAll(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "shared_preload_libraries='pgaudit'\npgaudit.log='all'\npgaudit.log_parameter=on\nlog_statement='all'\nlog_min_duration_statement=0\nlog_min_error_statement=debug5\n"}))
	user, pw := w.role("")
	c, err := w.connect(user, pw)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var id uint32
	fmt.Sscan(w.one(c, "select 'pg_catalog.set_config(text,text,boolean)'::regprocedure::oid::text"), &id)
	const v = "SCRAM-SHA-256$4096:ldS7aS2EceqQbytG2lKugA==$7USVK9JtkaTjMspzakkYF8aJHijAOaIgQKSywzVmWJI=:TLIVVgl0aNLR7h5NJzhk/mo/rBACS1o/wNJq98cFP48="
	c.Exec(ctx, "BEGIN")
	t.Log(fast(c, id, "rotator.role", user, "t"), fast(c, id, "rotator.verifier", v, "t"))
	t.Log(w.ex(c, `DO $$ BEGIN
	EXECUTE pg_catalog.format('ALTER ROLE %I PASSWORD %L', pg_catalog.current_setting('rotator.role'), pg_catalog.current_setting('rotator.verifier'));
END $$`), w.ex(c, "COMMIT"))
	log, _ := w.pg.Logs()
	t.Log("verifier in the log, as no superuser, with pgaudit, log_statement=all and all durations:", strings.Contains(log, "SCRAM-SHA-256$4096:ldS7"))
	a := w.pg.Connect(t, "postgres")
	t.Log("stored:", w.one(a, "select (rolpassword=$2)::text from pg_authid where rolname=$1", user, v))
}

// what would have adopted the pair of TestZAdvice
func TestURightAdvice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand'", user)
		err := w.rotate(arn)
		t.Log(err != nil)
		w.sql("COMMENT ON ROLE %I IS "+"'rotator: second user of "+`"`+user+`"'`, clone)
		t.Log("again:", w.again(arn))
	})
}
