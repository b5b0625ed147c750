package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/postgres"
)

// harness creates a role for each rotation of the suite, on one major version.
type harness struct {
	pg          *testserver.PostgresServer
	major       int
	alternating bool
	superuser   bool // changes the single user's password
	rds         bool // the superuser is like RDS's master user

	mu    sync.Mutex
	admin *pgx.Conn // each further connection would cost the server 5 ms
}

func suite(t *testing.T, make func() *harness) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		h := make()
		server := testserver.SharedPostgres(t, testserver.PostgresOptions{Major: h.major})
		h.admin = server.Connect(t, "postgres")
		if h.pg == nil {
			h.pg = server
		}
		return h
	})
}

func TestEngineSingleUser(t *testing.T) { suite(t, func() *harness { return &harness{} }) }

func TestEngineSingleUserBySuperuser(t *testing.T) {
	suite(t, func() *harness { return &harness{superuser: true} })
}

// A real superuser differs in one statement, which the suite with a single user has.
func TestEngineAlternatingUsers(t *testing.T) {
	suite(t, func() *harness { return &harness{alternating: true, rds: true} })
}

func TestEngineMasterOfRDS18(t *testing.T) {
	suite(t, func() *harness { return &harness{major: 18, alternating: true, rds: true} })
}

func (h *harness) Engine() engine.Engine {
	return postgres.New(engine.TLSPolicy{ExtraCAs: h.pg.CA.PEM})
}

func (h *harness) Target() string { return h.pg.Addr() }

func (h *harness) Traits() enginetest.Traits {
	t := enginetest.Traits{}
	if h.superuser {
		t.Env = map[string]string{"STRATEGY": "single"}
	}
	return t
}

func (h *harness) Logs() (string, error) { return h.pg.Logs() }

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q}`, host, port, user, password))
	}
	user, password := testserver.Unique("suite_"), "first-Passw0rd-"+testserver.Unique("")
	boss, bossPassword := h.pg.User, h.pg.Password
	if h.rds {
		boss, bossPassword = testserver.Unique("master_"), "master-Passw0rd-1"
		// Two tests may create the role concurrently.
		_ = h.sql(ctx, "CREATE ROLE rds_superuser IN ROLE pg_signal_backend, pg_read_all_settings")
		if err := h.sql(ctx, "CREATE ROLE %I LOGIN PASSWORD %L CREATEROLE CREATEDB IN ROLE rds_superuser", boss, bossPassword); err != nil {
			return value, superuser, err
		}
	}
	if h.rds {
		conn, err := pgx.Connect(ctx, h.pg.URLFor(boss, bossPassword, "postgres"))
		if err != nil {
			return value, superuser, err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, password))
		if err != nil {
			return value, superuser, err
		}
	} else if err := h.sql(ctx, "CREATE ROLE %I LOGIN PASSWORD %L", user, password); err != nil {
		return value, superuser, err
	}
	if h.alternating || h.superuser {
		superuser = login(boss, bossPassword)
	}
	return login(user, password), superuser, h.sql(ctx, "CREATE SCHEMA %I AUTHORIZATION %I", user, user)
}

// first returns the name of the first user of a value's pair.
func first(v engine.Value) string {
	user, _ := v.Text("username")
	return strings.TrimSuffix(user, "_clone")
}

// Work creates a table, and writes to and alters those of earlier sessions.
func (h *harness) Work(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	conn, err := pgx.Connect(ctx, h.pg.URLFor(user, password, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE "+first(v)+"."+testserver.Unique("t_")+" (id int)"); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT format('ALTER TABLE %I.%I ADD COLUMN %I int', schemaname, tablename, $2::text) FROM pg_tables WHERE schemaname = $1", first(v), testserver.Unique("c_"))
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, statement := range statements {
		if _, serr := conn.Exec(ctx, statement); serr != nil {
			return serr
		}
	}
	return err
}

// Administrators makes the user an administrator in each of PostgreSQL's ways, and in RDS's, which has no superusers.
func (h *harness) Administrators(ctx context.Context, v engine.Value) ([]enginetest.Act, error) {
	_ = h.sql(ctx, "CREATE ROLE rds_superuser")
	ways := map[string]string{
		"SUPERUSER":                      "ALTER ROLE %I SUPERUSER",
		"membership of rds_superuser":    "GRANT rds_superuser TO %I",
		"a program on the server's host": "GRANT pg_execute_server_program TO %I",
		"files on the server's host":     "GRANT pg_write_server_files TO %I",
		"membership of a superuser":      "GRANT postgres TO %I",
	}
	if h.pg.Major < 16 {
		keepers := testserver.Unique("keepers_")
		if err := h.sql(ctx, "CREATE ROLE %I CREATEROLE", keepers); err != nil {
			return nil, err
		}
		ways["CREATEROLE before version 16"] = "ALTER ROLE %I CREATEROLE"
		ways["a role to set with CREATEROLE"] = "GRANT " + keepers + " TO %I"
	}
	if h.pg.User != "postgres" {
		delete(ways, "membership of a superuser")
	}
	user, _ := v.Text("username")
	var acts []enginetest.Act
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		acts = append(acts, enginetest.Act{Name: name, Do: func(ctx context.Context) (func(), error) { return nil, h.sql(ctx, ways[name], user) }})
	}
	return acts, nil
}

// Acts returns what a login that owns a schema, a database and a group, and the user itself, can do.
func (h *harness) Acts(ctx context.Context, v engine.Value) ([]enginetest.Act, error) {
	one := first(v)
	two := one
	if h.alternating {
		two += "_clone"
	}
	stranger, password, database := testserver.Unique("mallory_"), "mallorys-Passw0rd", testserver.Unique("evil_")
	if err := h.sql(ctx, "CREATE ROLE %I LOGIN CREATEDB PASSWORD %L", stranger, password); err != nil {
		return nil, err
	}
	if err := h.sql(ctx, "CREATE SCHEMA %I AUTHORIZATION %I", stranger, stranger); err != nil {
		return nil, err
	}
	if err := h.sql(ctx, "CREATE ROLE %I ADMIN %I", stranger+"_group", stranger); err != nil {
		return nil, err
	}
	as := func(name, user, password, database string, keep bool, script string) enginetest.Act {
		return enginetest.Act{Name: name, Do: func(ctx context.Context) (func(), error) {
			conn, err := pgx.Connect(ctx, h.pg.URLFor(user, password, database))
			if err != nil {
				return nil, err
			}
			done := func() { _ = conn.Close(context.Background()) }
			for _, statement := range strings.Split(script, ";") {
				if _, err := conn.Exec(ctx, statement); err != nil {
					done()
					return nil, err
				}
			}
			if !keep {
				done()
				return nil, nil
			}
			return done, nil
		}, Observed: func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, h.pg.URLFor(stranger, password, "postgres"))
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			var member bool
			if err := conn.QueryRow(ctx, "SELECT pg_has_role($1, 'MEMBER') OR pg_has_role($2, 'MEMBER')", one, two).Scan(&member); err != nil || member {
				return fmt.Errorf("the stranger is a member of a user of the pair %v, %w", member, err)
			}
			return nil
		}}
	}
	mallory := func(name, script string) enginetest.Act {
		return as(name, stranger, password, "postgres", false, script)
	}
	var acts []enginetest.Act
	for _, user := range slices.Compact([]string{one, two}) {
		acts = append(acts,
			mallory("default privileges for "+user, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "+user),
			mallory("rights on a table for "+user, "CREATE TABLE "+stranger+".t (id int); GRANT ALL ON "+stranger+".t TO "+user+" WITH GRANT OPTION"),
			mallory("rights on a column, a schema, a function, a type and a large object for "+user, fmt.Sprintf(`CREATE TABLE %[1]s.c (id int); GRANT SELECT (id) ON %[1]s.c TO %[2]s; GRANT USAGE ON SCHEMA %[1]s TO %[2]s;
CREATE FUNCTION %[1]s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION %[1]s.f() TO %[2]s; CREATE TYPE %[1]s.y AS ENUM ('a'); GRANT USAGE ON TYPE %[1]s.y TO %[2]s; SELECT lo_create(0)`, stranger, user)),
			mallory("a policy for "+user, "CREATE TABLE "+stranger+".p (id int); CREATE POLICY p ON "+stranger+".p TO "+user+" USING (true)"),
			mallory("a group for "+user, "GRANT "+stranger+"_group TO "+user),
		)
	}
	inEvil := func(name, script, after string) enginetest.Act {
		act := as(name, stranger, password, database, false, script)
		do := act.Do
		act.Do = func(ctx context.Context) (func(), error) {
			if err := h.sql(ctx, "CREATE DATABASE %I OWNER %I", database, stranger); err != nil {
				return nil, err
			}
			if _, err := do(ctx); err != nil {
				return nil, err
			}
			return func() { _ = h.sql(context.Background(), "DROP DATABASE %I WITH (FORCE)", database) }, h.sql(ctx, after, database)
		}
		return act
	}
	table := "CREATE TABLE t (id int); GRANT SELECT ON t TO " + two
	acts = append(acts,
		inEvil("a database that nobody can work in", table, "ALTER DATABASE %I SET statement_timeout = 1"),
		inEvil("a database that nobody can log in to", table, "ALTER DATABASE %I ALLOW_CONNECTIONS false"),
		as("a lock on the catalog's rows that anybody can take", stranger, password, "postgres", true, "BEGIN; SELECT pg_advisory_lock(1); LOCK TABLE pg_catalog.pg_description IN ACCESS SHARE MODE"),
		as("a schema of the server's names before its own", stranger, password, "postgres", false, "ALTER ROLE "+stranger+" SET search_path = "+stranger+", pg_catalog; CREATE FUNCTION "+stranger+".shobj_description(oid, name) RETURNS text LANGUAGE sql AS 'SELECT NULL'"))
	return acts, nil
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	conn, err := pgx.Connect(ctx, h.pg.URLFor(user, password, "postgres"))
	if refused(err) {
		return fmt.Errorf("%w: %w", engine.LoginRefused, err)
	}
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (h *harness) Restore(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.sql(ctx, "ALTER ROLE %I PASSWORD %L", user, password)
}

// sql runs a statement whose arguments the server quotes.
func (h *harness) sql(ctx context.Context, format string, args ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var statement string
	if err := h.admin.QueryRow(ctx, "SELECT format($1, VARIADIC $2::text[])", format, args).Scan(&statement); err != nil {
		return err
	}
	_, err := h.admin.Exec(ctx, statement)
	return err
}
