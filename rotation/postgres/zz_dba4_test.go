//go:build repro

package postgres_test

import (
	"context"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
)

func TestWCancelAndActivity(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		first := w.opens(arn)
		first2 := w.opens(arn)
		t.Log("as the first user: cancel own other session:", w.one(first, "select pg_cancel_backend($1::int)::text", int32(first2.PgConn().PID())), "own query:", w.one(first, "select query from pg_stat_activity where pid=pg_backend_pid()"))
		t.Log("1st:", w.rotate(arn))
		a, b := w.opens(arn), w.opens(arn)
		t.Log("as the second user: cancel own other session:", w.one(a, "select pg_cancel_backend($1::int)::text", int32(b.PgConn().PID())))
		t.Log("terminate:", w.one(a, "select pg_terminate_backend($1::int)::text", int32(b.PgConn().PID())))
		t.Log("own query and state:", w.one(a, "select coalesce(query,'NULL')||' / '||coalesce(state,'NULL') from pg_stat_activity where pid=pg_backend_pid()"))
		t.Log("sessions of current_user:", w.one(a, "select count(*)::text from pg_stat_activity where usename=current_user and pid=pg_backend_pid()"))
		// what AWS's template's clone could do
		w.sql("ALTER ROLE %I RESET role", user+"_clone")
		c, d := w.opens(arn), w.opens(arn)
		t.Log("AWS's clone: cancel:", w.one(c, "select pg_cancel_backend($1::int)::text", int32(d.PgConn().PID())), "query:", w.one(c, "select query from pg_stat_activity where pid=pg_backend_pid()"))
	})
}

func TestWDateStyle(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "datestyle = 'sql, dmy'\ntimezone = 'Asia/Kolkata'\n"}))
	arn, user := w.alt("VALID UNTIL '2030-05-04 12:00:00+00'")
	t.Log(w.rotate(arn))
	c := w.pg.Connect(t, "postgres")
	t.Log(w.one(c, "select extract(epoch from rolvaliduntil)::text from pg_roles where rolname=$1", user), w.one(c, "select extract(epoch from rolvaliduntil)::text from pg_roles where rolname=$1", user+"_clone"))
	_ = context.Background
	_ = time.Second
}
