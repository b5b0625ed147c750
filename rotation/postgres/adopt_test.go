package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
)

// master creates a login like RDS's master user: not a superuser, but with CREATEROLE and membership in a role named
// like RDS's. It returns its secret and a connection.
func (w *world) master() (arn string, conn *pgx.Conn) {
	w.t.Helper()
	name, password := w.role("CREATEROLE CREATEDB")
	conn, err := w.connect(name, password)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.secret(w.value(name, password)), conn
}

// exec runs statements as a login and fails the test if one fails.
func (w *world) exec(conn *pgx.Conn, statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(context.Background(), s); err != nil {
			w.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (w *world) text(conn *pgx.Conn, query string, args ...any) (s string) {
	w.t.Helper()
	if err := conn.QueryRow(context.Background(), query, args...).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return s
}

// awsPair creates what AWS's template leaves after one rotation: a clone that is a member of the user, and
// AWSCURRENT. It returns the secret and the user's name.
func (w *world) awsPair(admin string, as *pgx.Conn) (arn, user string) {
	w.t.Helper()
	user = testserver.Unique("app_")
	w.exec(as, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd-1'", "CREATE ROLE "+user+"_clone LOGIN PASSWORD 'clone-Passw0rd-1'", "GRANT "+user+" TO "+user+"_clone")
	w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
	return w.pairSecret(admin, user), user
}

// pairSecret creates a secret whose AWSCURRENT is the clone and whose AWSPREVIOUS is the user.
func (w *world) pairSecret(admin, user string) string {
	w.t.Helper()
	extra := []string{"masterarn", fmt.Sprintf("%q", admin)}
	arn := w.secret(w.value(user, "first-Passw0rd-1", extra...))
	if _, err := w.client.PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String(w.value(user+"_clone", "clone-Passw0rd-1", extra...))}); err != nil {
		w.t.Fatal(err)
	}
	return arn
}

func (w *world) adopt(arn string, apply bool) []string {
	w.t.Helper()
	plan, err := operator.Adopt(context.Background(), w.rotator(), arn, apply)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}

// TestAdoptionIsPrintedFirst: the plan names every object and right, changes nothing, and matches what --yes does. The
// application keeps everything that the clone had.
func TestAdoptionIsPrintedFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		boss := w.pg.Connect(t, "postgres")
		arn, user := w.awsPair(admin, boss)
		clone := user + "_clone"
		elsewhere := w.pg.Database(t)
		there := w.pg.Connect(t, elsewhere)
		w.exec(there, "CREATE TABLE kept (id int)", "ALTER TABLE kept OWNER TO "+clone)
		w.exec(boss, "CREATE EXTENSION IF NOT EXISTS postgres_fdw", "CREATE SERVER s"+user+" FOREIGN DATA WRAPPER postgres_fdw",
			"CREATE USER MAPPING FOR "+clone+" SERVER s"+user+" OPTIONS (user 'x', password 'mapping-Passw0rd')",
			"CREATE TABLE "+user+".made (id int)", "ALTER TABLE "+user+".made OWNER TO "+clone,
			"CREATE TABLE "+user+".rows (id int); INSERT INTO "+user+".rows VALUES (1); ALTER TABLE "+user+".rows ENABLE ROW LEVEL SECURITY; GRANT SELECT ON "+user+".rows TO "+user,
			"CREATE POLICY mine ON "+user+".rows TO "+clone+" USING (true)",
			"ALTER DEFAULT PRIVILEGES FOR ROLE "+clone+" GRANT SELECT ON TABLES TO PUBLIC")
		plan := w.adopt(arn, false)
		want := []string{elsewhere + ": table public.kept belongs to " + user + " instead of " + clone, "postgres: table " + user + ".made belongs to " + user + " instead of " + clone,
			"postgres: ALTER POLICY mine ON " + user + ".rows TO " + clone + ", " + user, "postgres: left alone: " + clone + " keeps the user mapping for the server s" + user,
			"postgres: ALTER DEFAULT PRIVILEGES FOR ROLE " + user + " GRANT SELECT ON TABLES TO PUBLIC", `COMMENT ON ROLE "` + clone + `" IS 'rotator: second user of "` + user + `"'`}
		for _, line := range want {
			if !slices.Contains(plan, line) {
				t.Errorf("the plan lacks %s", line)
			}
		}
		if len(plan) != len(want) || strings.Contains(strings.Join(plan, "\n"), "mapping-Passw0rd") {
			t.Errorf("the plan is\n%s", strings.Join(plan, "\n"))
		}
		if owner := w.text(there, "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'"); owner != clone {
			t.Errorf("without --yes the owner is %s", owner)
		}
		// A rotation adopts only what it can adopt completely: sessions of the clone become the user, without the rest.
		w.env["ADOPT_PAIRS"] = "true"
		wantCause(t, w.rotate(w.pairSecret(admin, user)), engine.TakeoverRefused, "rotatorctl adopt")
		if again := w.adopt(arn, false); !slices.Equal(again, plan) {
			t.Errorf("a refused rotation changed the plan:\n%s", strings.Join(again, "\n"))
		}
		if done := w.adopt(arn, true); !slices.Equal(done, plan) {
			t.Errorf("what was done is not the plan:\n%s", strings.Join(done, "\n"))
		}
		for range 3 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			app := w.opens(arn)
			w.exec(app, "INSERT INTO "+user+".made VALUES (1)")
			if n := w.text(app, "SELECT count(*)::text FROM "+user+".rows"); n != "1" {
				t.Errorf("the policy shows %s rows", n)
			}
		}
		w.exec(boss, "CREATE USER MAPPING FOR "+user+" SERVER s"+user)
		if plan := w.adopt(arn, false); len(plan) > 0 {
			t.Errorf("a second adoption would change\n%s", strings.Join(plan, "\n"))
		}
	})
}

// TestAdoptionByAMasterLikeThatOfRDS: the master is a member of both users only during the change.
func TestAdoptionByAMasterLikeThatOfRDS(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin, master := w.master()
		arn, user := w.awsPair(admin, master)
		clone, err := w.connect(user+"_clone", "clone-Passw0rd-1")
		if err != nil {
			t.Fatal(err)
		}
		w.exec(clone, "CREATE TABLE "+user+".made (id int)")
		wantCause(t, w.rotate(w.pairSecret(admin, user)), engine.TakeoverRefused, "rotatorctl adopt")
		w.adopt(arn, true)
		if owner := w.text(clone, "SELECT tableowner FROM pg_tables WHERE schemaname = $1 AND tablename = 'made'", user); owner != user {
			t.Errorf("the owner is %s", owner)
		}
		if may := w.text(master, "SELECT pg_has_role($1::name, 'USAGE')::text", user); may != "false" {
			t.Error("the master keeps the rights of the user")
		}
		for range 3 {
			if err := w.rotate(arn); err != nil {
				t.Fatal(err)
			}
			w.exec(w.opens(arn), "SELECT * FROM "+user+".made")
		}
	})
}

// TestAdoptionPassesOverADatabaseOfItsOwner: a database whose owner has closed it to the master is skipped.
func TestAdoptionPassesOverADatabaseOfItsOwner(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin, master := w.master()
		arn, user := w.awsPair(admin, master)
		db := w.pg.Database(t)
		w.exec(w.pg.Connect(t, db), "CREATE TABLE t (id int)", "GRANT SELECT ON t TO "+user+"_clone", "REVOKE CONNECT ON DATABASE "+db+" FROM PUBLIC")
		if plan := strings.Join(w.adopt(arn, true), "\n"); !strings.Contains(plan, db+": left alone, as") {
			t.Errorf("the plan is\n%s", plan)
		}
		if err := w.rotate(arn); err != nil {
			t.Error(err)
		}
	})
}

// TestAdoptionOfAnAdministratorIsRefused: this holds even if the secret has working credentials of both users.
func TestAdoptionOfAnAdministratorIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user := w.awsPair(admin, w.pg.Connect(t, "postgres"))
		w.sql("GRANT pg_execute_server_program TO %I", user+"_clone")
		_, err := operator.Adopt(t.Context(), w.rotator(), arn, true)
		enginetest.WantCause(t, err, engine.TakeoverRefused, "pg_execute_server_program")
	})
}

// TestAdoptionKeepsNobodyWaiting: an adoption does not wait for an object in use, because others would wait behind it.
func TestAdoptionKeepsNobodyWaiting(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	arn, user := w.awsPair(admin, w.pg.Connect(t, "postgres"))
	w.sql("CREATE TABLE %I.big (id int)", user)
	w.sql("ALTER TABLE %I.big OWNER TO %I", user, user+"_clone")
	long, err := w.connect(user+"_clone", "clone-Passw0rd-1")
	if err != nil {
		t.Fatal(err)
	}
	w.exec(long, "BEGIN", "SELECT * FROM "+user+".big")
	done := make(chan error, 1)
	go func() {
		_, err := operator.Adopt(context.Background(), w.rotator(), arn, true)
		done <- err
	}()
	time.Sleep(time.Second)
	other, err := w.connect(user+"_clone", "clone-Passw0rd-1")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	w.exec(other, "SELECT * FROM "+user+".big")
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("another client waited %s", d)
	}
	if err := <-done; engine.CauseOf(err) != engine.Locked {
		t.Errorf("%v, want Locked", err)
	}
	w.exec(long, "COMMIT")
	w.adopt(arn, true)
}

// TestAdoptionThatFailsHalfwayIsInTheLog: what was committed in one database stays and is reported, although the next
// one fails.
func TestAdoptionThatFailsHalfwayIsInTheLog(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.env["ADOPT_PAIRS"] = "true"
	boss := w.pg.Connect(t, "postgres")
	arn, user := w.awsPair(w.secret(w.value(w.pg.User, w.pg.Password)), boss)
	elsewhere := w.pg.Database(t)
	w.exec(w.pg.Connect(t, elsewhere), "CREATE TABLE kept (id int)", "ALTER TABLE kept OWNER TO "+user+"_clone")
	w.exec(boss, "CREATE TABLE "+user+".used (id int)", "ALTER TABLE "+user+".used OWNER TO "+user+"_clone")
	w.interrupt = rotation.SetSecret
	if err := w.rotate(arn); err == nil {
		t.Fatal("the rotation was not interrupted")
	}
	w.interrupt = ""
	w.exec(boss, "BEGIN", "SELECT * FROM "+user+".used")
	defer w.exec(boss, "COMMIT")
	err := w.handle(t.Context(), rotation.Event{Step: rotation.SetSecret, SecretID: arn, ClientRequestToken: w.pending(arn)})
	wantCause(t, err, engine.Locked, "pg_locks")
	if want := "changed at the target: " + elsewhere + ": table public.kept belongs to " + user; !strings.Contains(w.log.String(), want) {
		t.Errorf("the log does not have: %s", want)
	}
}

// TestMarkAdviceWorks: the statements in the error, run unchanged, mark the pair as the secret's.
func TestMarkAdviceWorks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		boss := w.pg.Connect(t, "postgres")
		for _, member := range []bool{true, false} {
			arn, user := w.awsPair(admin, boss)
			w.exec(boss, "ALTER ROLE "+user+" PASSWORD 'changed-by-hand'")
			if !member {
				w.exec(boss, "REVOKE "+user+" FROM "+user+"_clone")
			}
			err := w.rotate(w.pairSecret(admin, user))
			wantCause(t, err, engine.TakeoverRefused, "COMMENT ON ROLE")
			_, advice, _ := strings.Cut(err.Error(), "administrator of the target: ")
			w.exec(boss, strings.TrimSuffix(advice, ")"))
			if err := w.rotate(arn); err != nil {
				t.Errorf("member %v: after following the advice: %v", member, err)
				continue
			}
			w.opens(arn)
		}
	})
}
