//go:build repro

package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

const rdsMaria = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"

func (f *fixture) try(r *engine.Request) string {
	if err := f.engine.DryRun(context.Background(), r); err != nil {
		return "DryRun: " + err.Error()
	}
	if err := f.engine.Set(context.Background(), r); err != nil {
		return "Set: " + err.Error()
	}
	if err := f.engine.Verify(context.Background(), r, r.Pending); err != nil {
		return "Verify: " + err.Error()
	}
	return "ok"
}

func (f *fixture) rds() (string, string) {
	m, pw := f.user()
	f.sql("GRANT " + rdsMaria + " ON *.* TO " + account(m, "%") + " WITH GRANT OPTION")
	return m, pw
}

func TestZRDSMaster(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		m, mpw := f.rds()
		db := f.server.Database(t)
		user, first := f.user()
		as := func(r *engine.Request) *engine.Request { r.Login = f.value(m, mpw); return r }
		f.sql("GRANT ALL PRIVILEGES ON " + db + ".* TO " + account(user, "%"))
		t.Log("ALL on db:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
		f.sql("REVOKE ALL PRIVILEGES ON "+db+".* FROM "+account(user, "%"), "GRANT SELECT, INSERT, UPDATE, DELETE ON "+db+".* TO "+account(user, "%"))
		t.Log("SIUD on db:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
	})
}

// A DBA grants to the user's own name while the clone is current.
func TestZGrantWhileCloneIsCurrent(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		s := newSecrets(t, f)
		var buf bytes.Buffer
		var err error
		s.rotator, err = rotation.New(rotation.Config{Engines: []engine.Engine{f.engine}, Log: slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return s.client, nil }})
		if err != nil {
			t.Fatal(err)
		}
		db := f.server.Database(t)
		user, first := f.user()
		f.sql("GRANT SELECT ON " + db + ".* TO " + account(user, "%"))
		superuser := s.secret(user+"-superuser", f.admin())
		arn := s.secret(user, f.value(user, first).With("masterarn", superuser))
		rotate := func() error {
			_, step := s.start(arn)
			for _, each := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
				if err := step(each); err != nil {
					return err
				}
			}
			return nil
		}
		t.Log("1:", rotate(), "-> clone is current")
		f.sql("GRANT INSERT ON " + db + ".* TO " + account(user, "%")) // the release needs INSERT; the DBA grants it to the application's user
		t.Log("before:", f.granted(user, "%"))
		buf.Reset()
		t.Log("2:", rotate(), "-> the user itself is current")
		t.Log("after:", f.granted(user, "%"))
		t.Log("log mentions revoke/INSERT:", strings.Contains(strings.ToUpper(buf.String()), "REVOKE"), strings.Contains(buf.String(), "INSERT"))
		t.Log(buf.String())
	})
}

// The superuser secret's user changes, as when it alternates itself.
func TestZOtherMaster(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		a, apw := f.rds()
		b, bpw := f.rds()
		db := f.server.Database(t)
		user, first := f.user()
		f.sql("GRANT SELECT ON " + db + ".* TO " + account(user, "%"))
		as := func(r *engine.Request, u, p string) *engine.Request { r.Login = f.value(u, p); return r }
		t.Log("by a:", f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"), a, apw)))
		t.Log("by b:", f.try(as(f.alternating(user+"_clone", "Second-Pw-2", user, "Third-Pw-3"), b, bpw)))
		// a new account for another host
		f.sql("CREATE USER " + account(user, "10.%") + " IDENTIFIED " + f.by("Third-Pw-3"))
		t.Log("by b, with a new host:", f.try(as(f.alternating(user, "Third-Pw-3", user+"_clone", "Fourth-Pw-4"), b, bpw)))
		t.Log("by a, with a new host:", f.try(as(f.alternating(user, "Third-Pw-3", user+"_clone", "Fourth-Pw-4"), a, apw)))
		// recreated clone: an operator drops it to start afresh
		f.sql("DROP USER " + account(user+"_clone", "%"))
		t.Log("by b, after the clone was dropped:", f.try(as(f.alternating(user, "Third-Pw-3", user+"_clone", "Fifth-Pw-5"), b, bpw)))
	})
}

// A right that the master does not have, on one of the two.
func TestZUnknownRows(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		m, mpw := f.rds()
		db := f.server.Database(t)
		user, first := f.user()
		as := func(r *engine.Request) *engine.Request { r.Login = f.value(m, mpw); return r }
		f.sql("CREATE TABLE "+db+".t (a int, b int)", "GRANT SELECT (a), SHOW VIEW ON "+db+".t TO "+account(user, "%"))
		f.sql("GRANT DELETE HISTORY ON " + db + ".* TO " + account(user, "%"))
		t.Log(f.try(as(f.alternating(user, first, user+"_clone", "Second-Pw-2"))))
	})
}

// objects and definers
func TestZDefiner(t *testing.T) {
	only(t, "mariadb", func(t *testing.T, f *fixture) {
		db := f.server.Database(t)
		user, first := f.user()
		f.sql("GRANT ALL PRIVILEGES ON " + db + ".* TO " + account(user, "%"))
		t.Log(f.try(f.alternating(user, first, user+"_clone", "Second-Pw-2")))
		a := f.as(user, first)
		c := f.as(user+"_clone", "Second-Pw-2")
		ex := func(who string, q string) {
			db := a
			if who == "clone" {
				db = c
			}
			_, err := db.Exec(strings.ReplaceAll(q, "DB", f.dbname(q)))
			t.Log(who, q, err)
		}
		_ = ex
		for _, q := range [][2]string{{"a", "CREATE VIEW %s.v AS SELECT 1 x"}, {"c", "ALTER VIEW %s.v AS SELECT 2 x"}, {"c", "CREATE OR REPLACE VIEW %s.v AS SELECT 2 x"},
			{"a", "CREATE PROCEDURE %s.p() SELECT 1"}, {"c", "CALL %s.p()"}, {"c", "ALTER PROCEDURE %s.p COMMENT 'x'"}, {"c", "DROP PROCEDURE %s.p"},
			{"a", "CREATE EVENT %s.e ON SCHEDULE EVERY 1 DAY DO SELECT 1"}, {"c", "ALTER EVENT %s.e DISABLE"}} {
			conn := a
			if q[0] == "c" {
				conn = c
			}
			_, err := conn.Exec(fmt.Sprintf(q[1], db))
			t.Log(q[0], q[1], "=>", err)
		}
	})
}

var _ = enginetest.Within

func (f *fixture) dbname(string) string { return "" }

func (f *fixture) as(user, password string) *sql.DB {
	connector, err := driver.NewConnector(f.server.Config(user, password, ""))
	if err != nil {
		f.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	f.t.Cleanup(func() { db.Close() })
	return db
}
