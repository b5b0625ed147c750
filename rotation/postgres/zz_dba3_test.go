//go:build repro

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
)

func TestXParameterAcl(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		t.Log("1st:", w.rotate(arn))
		w.sql("GRANT SET ON PARAMETER log_statement TO %I", user)
		w.sql("GRANT SET ON PARAMETER log_statement TO %I", user+"_clone")
		t.Log("check:", w.check(arn))
		t.Log("2nd:", w.rotate(arn))
	})
}

// one who may create a database stops it, too
func TestXDatabaseOwnerStopsRotation(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{}))
	arn, user := w.alt("")
	t.Log("1st:", w.rotate(arn))
	mallory, mpw := w.role("CREATEDB")
	m, _ := w.connect(mallory, mpw)
	t.Log(w.ex(m, "CREATE DATABASE evil"), w.ex(m, "GRANT TEMP ON DATABASE evil TO "+user+"_clone"))
	c := w.pg.Connect(t, "evil")
	t.Log(w.ex(c, "SET ROLE "+mallory), w.ex(c, "CREATE TABLE t(id int)"), w.ex(c, "GRANT SELECT ON t TO "+user+"_clone"))
	c.Close(context.Background())
	t.Log(w.ex(m, "ALTER DATABASE evil SET statement_timeout = 1"))
	t.Log("2nd (timeout 1 ms in evil):", w.rotate(arn))
	t.Log(w.ex(m, "ALTER DATABASE evil RESET statement_timeout"), w.ex(m, "ALTER DATABASE evil ALLOW_CONNECTIONS false"))
	t.Log("again:", w.again(arn))
}

// password_encryption = md5, as RDS has it until version 13
func TestXMD5Server(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "password_encryption = md5\n", HBA: "hostssl all all 127.0.0.1/32 md5\n"}))
	user, pw := w.role("")
	c := w.pg.Connect(t, "postgres")
	t.Log("before:", w.one(c, "select left(rolpassword, 5) from pg_authid where rolname=$1", user))
	arn := w.secret(w.value(user, pw))
	t.Log("rotate:", w.rotate(arn))
	t.Log("after:", w.one(c, "select left(rolpassword, 14) from pg_authid where rolname=$1", user))
}

// the labels of audit: how often is a password changed as the server sees it
func TestXAuditNoise(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "log_statement = 'all'\n"}))
	user, pw := w.role("")
	arn := w.secret(w.value(user, pw))
	t.Log(w.rotate(arn))
	log, _ := w.pg.Logs()
	t.Log("DO blocks:", strings.Count(log, "DO $$ BEGIN"), "verifiers:", strings.Count(log, "SCRAM-SHA-256$"))
}

// sessions of the clone that are open while its objects are taken over
func TestXOldSessions(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	arn, user, clone := w.awsPair(admin)
	w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
	old, _ := w.connect(clone, "clone-Passw0rd-1")
	t.Log(w.ex(old, "CREATE TABLE "+user+".a (id int)"))
	t.Log("rotate:", w.rotate(arn))
	// the application's pool goes on with the old session, as pools do
	t.Log("old session makes another:", w.ex(old, "CREATE TABLE "+user+".b (id int)"))
	c := w.opens(arn)
	t.Log("new session:", w.one(c, "select session_user||' as '||current_user"), "reads a:", w.ex(c, "TABLE "+user+".a"), "reads b:", w.ex(c, "TABLE "+user+".b"))
}

// A DBA renames or recreates the first role: what becomes of role= at login
func TestXWarningsAtLogin(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		t.Log("1st:", w.rotate(arn))
		w.sql("REVOKE %I FROM %I", user, user+"_clone")
		c := w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"))
		t.Log("check:", w.check(arn))
	})
}

// Does a verification tell a second user that does not become the first?
func TestXLockTimeout(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, pw := w.role("")
	arn := w.secret(w.value(user, pw))
	c := w.pg.Connect(t, "postgres")
	tx, _ := c.Begin(context.Background())
	tx.Exec(context.Background(), fmt.Sprintf("ALTER ROLE %s SET work_mem='5MB'", user))
	b := time.Now()
	t.Log(w.rotate(arn), time.Since(b).Round(time.Second))
	tx.Rollback(context.Background())
}
