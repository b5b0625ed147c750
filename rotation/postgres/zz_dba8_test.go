//go:build repro

package postgres_test

import (
	"context"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

// What the server logs of the plain values of settings copied to the clone.
func TestSSettingsInLog(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "log_statement='ddl'\n"}))
	arn, user := w.alt("")
	w.sql("ALTER ROLE %I SET app.api_key = 'sk-live-0123456789abcdef'", user)
	_ = context.Background
	before, _ := w.pg.Logs()
	t.Log(w.rotate(arn))
	log, _ := w.pg.Logs()
	n := len(before)
	after := log[min(n, len(log)):]
	c := 0
	for i := 0; i+24 < len(after); i++ {
		if after[i:i+8] == "sk-live-" {
			c++
		}
	}
	t.Log("copies of the setting's value in the server's log from the rotation:", c)
}

// The first role is renamed by a DBA (app -> shop): what does the clone become?
func TestSRename(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		t.Log(w.rotate(arn))
		w.sql("ALTER ROLE %I RENAME TO %I", user, user+"x")
		c := w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"), w.ex(c, "CREATE TABLE "+user+".t(id int)"))
		t.Log("rotate:", w.rotate(arn))
	})
}

// app has CREATEROLE (an application that makes tenants' roles) and the master is RDS's
func TestSAppWithCreaterole(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		master, mpw := w.role("CREATEROLE CREATEDB")
		m, _ := w.connect(master, mpw)
		user := testserver.Unique("app_")
		w.ex(m, "CREATE ROLE "+user+" LOGIN CREATEROLE PASSWORD 'first-Passw0rd'")
		admin := w.secret(w.value(master, mpw))
		arn := w.secret(w.value(user, "first-Passw0rd", "masterarn", `"`+admin+`"`))
		t.Log("1:", w.rotate(arn))
		c := w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"), w.ex(c, "CREATE ROLE "+user+"_tenant1 LOGIN PASSWORD 'x'"))
		t.Log("alter own tenant:", w.ex(c, "ALTER ROLE "+user+"_tenant1 PASSWORD 'y'"))
		t.Log("2:", w.rotate(arn))
		c = w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"), w.ex(c, "ALTER ROLE "+user+"_tenant1 PASSWORD 'z'"))
		t.Log("3:", w.rotate(arn))
	})
}
