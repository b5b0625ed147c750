//go:build repro

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

var pg18 = testserver.PostgresOptions{Major: 18}

func both(t *testing.T, test func(t *testing.T, w *world)) {
	for name, o := range map[string]testserver.PostgresOptions{"15": {}, "18": pg18} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, testserver.SharedPostgres(t, o))) })
	}
}

func (w *world) one(c *pgx.Conn, q string, args ...any) string {
	var s string
	if err := c.QueryRow(context.Background(), q, args...).Scan(&s); err != nil {
		return "ERR " + err.Error()
	}
	return s
}
func (w *world) ex(c *pgx.Conn, q string) string {
	if _, err := c.Exec(context.Background(), q); err != nil {
		return "ERR " + err.Error()
	}
	return "ok"
}

// awsPair makes what AWS's multi-user template leaves after one rotation.
func (w *world) awsPair(admin string) (arn, user, clone string) {
	user, oldPassword := w.role("")
	clone, password := user+"_clone", "clone-Passw0rd-1"
	w.sql("CREATE ROLE %I LOGIN PASSWORD %L", clone, password)
	w.sql("GRANT %I TO %I", user, clone)
	extra := []string{"masterarn", fmt.Sprintf("%q", admin)}
	arn = w.secret(w.value(user, oldPassword, extra...))
	if _, err := w.client.PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(w.value(clone, password, extra...))}); err != nil {
		w.t.Fatal(err)
	}
	return
}

func (w *world) check(arn string) string {
	var out []string
	for _, f := range operator.Check(context.Background(), w.rotator(), arn) {
		out = append(out, f.Check+"="+f.State)
	}
	return strings.Join(out, " ")
}

func (w *world) alt(attrs string) (arn, user string) {
	user, pw := w.role(attrs)
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	return w.secret(w.value(user, pw, "masterarn", fmt.Sprintf("%q", admin))), user
}

// B: poolers that reset with DISCARD ALL.
func TestZDiscardAll(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		c := w.opens(arn)
		t.Log("login:", w.one(c, "select session_user||' as '||current_user"))
		t.Log("RESET ALL:", w.ex(c, "RESET ALL"), w.one(c, "select session_user||' as '||current_user"))
		t.Log("RESET ROLE:", w.ex(c, "RESET ROLE"), w.one(c, "select session_user||' as '||current_user"))
		t.Log("DISCARD ALL:", w.ex(c, "DISCARD ALL"), w.one(c, "select session_user||' as '||current_user"))
		t.Log("create:", w.ex(c, "CREATE TABLE "+user+".pooled (id int)"), "owner", w.one(c, "select tableowner from pg_tables where tablename='pooled' and schemaname=$1", user))
		_, pw := w.current(arn)
		_ = pw
		w.sql("ALTER ROLE %I PASSWORD 'x1'", user)
		first, err := w.connect(user, "x1")
		if err != nil {
			t.Fatal(err)
		}
		t.Log("first user reads it:", w.ex(first, "SELECT * FROM "+user+".pooled"))
	})
}

func TestZDiscardAllNoInherit(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("NOINHERIT")
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		w.sql("CREATE TABLE %I.t (id int)", user)
		w.sql("ALTER TABLE %I.t OWNER TO %I", user, user)
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		c := w.opens(arn)
		t.Log("before:", w.ex(c, "SELECT * FROM "+user+".t"))
		t.Log("DISCARD ALL:", w.ex(c, "DISCARD ALL"), w.ex(c, "SELECT * FROM "+user+".t"))
	})
}

// C
func TestZStatStatements(t *testing.T) {
	for name, o := range map[string]testserver.PostgresOptions{"15": {}, "18": pg18} {
		t.Run(name, func(t *testing.T) {
			o.Config = "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = all\n"
			w := newWorld(t, testserver.Postgres(t, o))
			w.sql("CREATE EXTENSION pg_stat_statements")
			user, pw := w.role("")
			arn := w.secret(w.value(user, pw))
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			arn2, _ := w.alt("")
			if err := w.rotate(arn2); err != nil {
				t.Fatal(err)
			}
			c := w.pg.Connect(t, "postgres")
			rows, _ := c.Query(t.Context(), "select toplevel, query from pg_stat_statements where query ilike '%SCRAM-SHA%' or query ilike '%PASSWORD%'")
			for rows.Next() {
				var top bool
				var q string
				rows.Scan(&top, &q)
				if len(q) > 150 {
					q = q[:150]
				}
				t.Logf("toplevel=%v %s", top, strings.ReplaceAll(q, "\n", " "))
			}
		})
	}
}

// D
func TestZDefaultPrivileges(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON TABLES TO %I", user, clone)
		t.Log("check:", w.check(arn))
		t.Log("rotate:", w.rotate(arn))
		t.Log("versions", w.versions(arn))
		// Follow the advice: grant it to the first user by hand.
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON TABLES TO %I", user, user)
		t.Log("after advice:", w.rotate(arn))
	})
}
func TestZDefaultPrivilegesReverse(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON TABLES TO %I", clone, user)
		t.Log("check:", w.check(arn))
		t.Log("rotate:", w.rotate(arn))
	})
}

// E
func TestZPolicy(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("CREATE SCHEMA %I", user)
		w.sql("GRANT USAGE ON SCHEMA %I TO %I", user, user)
		w.sql("CREATE TABLE %I.t (id int, tenant text)", user)
		w.sql("INSERT INTO %I.t VALUES (1, 'a')", user)
		w.sql("ALTER TABLE %I.t ENABLE ROW LEVEL SECURITY", user)
		w.sql("GRANT SELECT ON %I.t TO %I", user, user)
		w.sql("CREATE POLICY p1 ON %I.t TO %I USING (true)", user, clone)
		before := w.opens(arn)
		t.Log("clone before:", w.one(before, "select count(*)::text from "+user+".t"))
		t.Log("rotate:", w.rotate(arn))
		c := w.opens(arn)
		t.Log("now", w.one(c, "select session_user::text"), w.one(c, "select count(*)::text from "+user+".t"))
		again, err := w.connect(clone, "clone-Passw0rd-1")
		if err != nil {
			t.Fatal(err)
		}
		t.Log("clone after (new session, AWSPREVIOUS):", w.one(again, "select count(*)::text from "+user+".t"))
	})
}

// F
func TestZUserMapping(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	arn, user, clone := w.awsPair(admin)
	w.sql("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
	w.sql("CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw", "s"+user)
	w.sql("CREATE USER MAPPING FOR %I SERVER %I", clone, "s"+user)
	t.Log("check:", w.check(arn))
	t.Log("rotate:", w.rotate(arn))
}

// G
func TestZSetFalse(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, pg18))
	for _, opt := range []string{"WITH INHERIT FALSE, SET FALSE", "WITH SET FALSE", "WITH INHERIT FALSE"} {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("REVOKE %I FROM %I", user, clone)
		w.sql("GRANT %I TO %I "+opt, user, clone)
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		w.sql("CREATE TABLE %I.t (id int)", user)
		w.sql("ALTER TABLE %I.t OWNER TO %I", user, user)
		t.Log(opt, "1st:", w.rotate(arn))
		c := w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"), w.ex(c, "select * from "+user+".t"))
		t.Log(opt, "2nd:", w.rotate(arn))
		c = w.opens(arn)
		t.Log(w.one(c, "select session_user||' as '||current_user"), w.ex(c, "select * from "+user+".t"))
	}
}

// H
func TestZAdvice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand'", user)
		err := w.rotate(arn)
		t.Log("rotate:", err)
		s := err.Error()
		i := strings.Index(s, "GRANT ")
		if i < 0 {
			return
		}
		stmt := s[i:]
		c := w.pg.Connect(t, "postgres")
		for _, q := range strings.Split(stmt, "; ") {
			if strings.HasPrefix(q, "GRANT") || strings.HasPrefix(q, "COMMENT") {
				q = strings.TrimRight(strings.Split(q, ")")[0], " ")
				t.Log(q, "=>", w.ex(c, q))
			}
		}
		_ = clone
		t.Log("rotate again:", w.rotate(arn))
	})
}

// I
func TestZLogStatementAll(t *testing.T) {
	o := testserver.PostgresOptions{Config: "log_statement = 'all'\n"}
	w := newWorld(t, testserver.Postgres(t, o))
	master, mpw := w.role("CREATEROLE CREATEDB")
	w.sql("GRANT SET ON PARAMETER log_statement TO %I", master)
	w.sql("GRANT SET ON PARAMETER log_min_duration_statement TO %I", master)
	w.sql("GRANT SET ON PARAMETER log_parameter_max_length TO %I", master)
	user, pw := w.role("")
	admin := w.secret(w.value(master, mpw))
	arn := w.secret(w.value(user, pw, "masterarn", fmt.Sprintf("%q", admin)))
	m, _ := w.connect(master, mpw)
	t.Log("master may:", w.ex(m, "SET log_statement='none'"), w.ex(m, "SET log_parameter_max_length=0"))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	log, _ := w.pg.Logs()
	n := 0
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, "SCRAM-SHA-256$") {
			n++
			if n < 3 {
				t.Log(l[:min(len(l), 260)])
			}
		}
	}
	t.Log("lines with verifier:", n)
}

// J
func TestZNoConnect(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{}))
	master, mpw := w.role("CREATEROLE CREATEDB")
	admin := w.secret(w.value(master, mpw))
	arn, user, clone := w.awsPair(admin)
	_ = user
	w.sql("CREATE DATABASE private")
	w.sql("REVOKE CONNECT ON DATABASE private FROM PUBLIC")
	c := w.pg.Connect(t, "private")
	t.Log(w.ex(c, "CREATE TABLE t(id int); GRANT SELECT ON t TO "+clone))
	t.Log("check:", w.check(arn))
	t.Log("rotate:", w.rotate(arn))
}

// DD
func TestZDatabaseRole(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		db := w.pg.Database(t)
		user, pw := w.role("")
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		owner := testserver.Unique("owner_")
		w.sql("CREATE ROLE %I", owner)
		w.sql("GRANT %I TO %I", owner, user)
		w.sql("ALTER DATABASE %I SET role TO %I", db, owner)
		arn := w.secret(w.value(user, pw, "masterarn", fmt.Sprintf("%q", admin), "dbname", fmt.Sprintf("%q", db)))
		c, err := pgx.Connect(t.Context(), w.pg.URLFor(user, pw, db))
		if err != nil {
			t.Fatal(err)
		}
		t.Log(w.one(c, "select session_user||' as '||current_user"))
		t.Log("rotate:", w.rotate(arn))
		u, p := w.current(arn)
		c, err = pgx.Connect(t.Context(), w.pg.URLFor(u, p, db))
		if err != nil {
			t.Fatal(err)
		}
		t.Log(w.one(c, "select session_user||' as '||current_user"))
	})
}

// Z
func TestZNoInheritConnect(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		db := w.pg.Database(t)
		user, pw := w.role("NOINHERIT")
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		w.sql("REVOKE CONNECT ON DATABASE %I FROM PUBLIC", db)
		w.sql("GRANT CONNECT ON DATABASE %I TO %I", db, user)
		arn := w.secret(w.value(user, pw, "masterarn", fmt.Sprintf("%q", admin), "dbname", fmt.Sprintf("%q", db)))
		t.Log("check:", w.check(arn))
		t.Log("rotate:", w.rotate(arn))
		t.Log("versions", w.versions(arn))
	})
}

// A2
func TestZRDSMasterTakeover(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		master, mpw := w.role("CREATEROLE CREATEDB")
		m, err := w.connect(master, mpw)
		if err != nil {
			t.Fatal(err)
		}
		user := testserver.Unique("app_")
		t.Log(w.ex(m, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd'"))
		t.Log(w.ex(m, "CREATE ROLE "+user+"_clone LOGIN PASSWORD 'clone-Passw0rd'"))
		t.Log(w.ex(m, "GRANT "+user+" TO "+user+"_clone"))
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
		cl, err := w.connect(user+"_clone", "clone-Passw0rd")
		if err != nil {
			t.Fatal(err)
		}
		t.Log(w.ex(cl, "CREATE TABLE "+user+".made(id int)"))
		admin := w.secret(w.value(master, mpw))
		extra := []string{"masterarn", fmt.Sprintf("%q", admin)}
		arn := w.secret(w.value(user, "first-Passw0rd", extra...))
		if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(w.value(user+"_clone", "clone-Passw0rd", extra...))}); err != nil {
			t.Fatal(err)
		}
		t.Log("check:", w.check(arn))
		t.Log("rotate:", w.rotate(arn))
		t.Log("versions", w.versions(arn))
	})
}

// PP
func TestZReassignBlocks(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	arn, user, clone := w.awsPair(admin)
	w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
	w.sql("CREATE TABLE %I.big (id int)", user)
	w.sql("ALTER TABLE %I.big OWNER TO %I", user, clone)
	long, _ := w.connect(clone, "clone-Passw0rd-1")
	tx, _ := long.Begin(context.Background())
	tx.Exec(context.Background(), "SELECT * FROM "+user+".big")
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- w.rotate(arn) }()
	time.Sleep(2 * time.Second)
	other, _ := w.connect(clone, "clone-Passw0rd-1")
	b := time.Now()
	t.Log("another client's select:", w.ex(other, "SELECT * FROM "+user+".big"), "waited", time.Since(b).Round(100*time.Millisecond))
	t.Log("rotate:", <-done, time.Since(begin).Round(100*time.Millisecond))
	tx.Rollback(context.Background())
}

// U
func TestZNoPlpgsql(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{}))
	w.sql("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
	user, pw := w.role("")
	arn := w.secret(w.value(user, pw))
	t.Log("rotate:", w.rotate(arn))
	c, _ := w.connect(user, pw)
	t.Log("AWS's way:", w.ex(c, "ALTER USER "+user+" WITH PASSWORD 'x'"))
}

var _ = engine.CauseOf
