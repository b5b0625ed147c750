package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness connects the suite to a server, for one kind of rotation.
type harness struct {
	*fixture
	kind     string
	database string // the application's
}

// The suite runs for users that cannot overlap, for users that can, for users that the superuser changes, and for
// alternating users, also with a master user like RDS's.
func TestEngine(t *testing.T) {
	for _, system := range slices.Sorted(maps.Keys(systems)) {
		for _, kind := range []string{"single", "overlap", "superuser", "alternating", "rds"} {
			if kind == "overlap" && system == "mariadb" {
				continue // a user may not give itself a second password
			}
			t.Run(system+" "+kind, func(t *testing.T) {
				t.Parallel()
				enginetest.Run(t, func(t *testing.T) enginetest.Harness {
					o := serverOptions{AllowPlaintext: true}
					if kind == "rds" && system == "mysql" {
						o.Config = "partial_revokes = ON"
					}
					server := systems[system](t, o)
					return &harness{newFixture(t, system, server), kind, server.Database(t)}
				})
			})
		}
	}
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.server.Addr() }

func (h *harness) Traits() enginetest.Traits {
	t := enginetest.Traits{Overlap: h.kind != "single"}
	if h.kind == "superuser" {
		t.Env = map[string]string{"STRATEGY": "single"}
	}
	return t
}

func (h *harness) Logs() (string, error) { return h.logs(), nil }

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	at := func(v engine.Value) engine.Value {
		return v.With("host", host).WithJSON("port", fmt.Append(nil, port))
	}
	switch h.kind {
	case "single":
		value = h.value(h.user())
	case "overlap":
		value = h.value(h.privileged())
	default:
		user, password := h.user()
		h.sql("GRANT PROCESS ON *.* TO " + account(user, "%"))
		value, superuser = h.value(user, password), at(h.admin())
	}
	user, _ := value.Text("username")
	rights := "ALL"
	if h.kind == "rds" {
		rights, superuser = ofDatabase, at(h.master(h.database))
	}
	h.sql("GRANT " + rights + " ON " + h.database + ".* TO " + account(user, "%"))
	return at(value), superuser, nil
}

// The global privileges of RDS's master user, except those on rows, and an application's privileges on a database.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.MasterAccounts.html
const (
	ofMaster = "SELECT, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, CREATE TEMPORARY " +
		"TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, " +
		"REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER"
	ofDatabase = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, " +
		"LOCK TABLES, EXECUTE, " +
		"CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER"
)

// master creates a user like RDS's master user, which lacks SUPER and may not write to the database mysql. On MySQL, it
// has all its rights through its default role.
func (f *fixture) master(databases ...string) engine.Value {
	name, password := f.user()
	a := account(name, "%")
	if f.name == "mysql" {
		role := "rds_superuser_role"
		f.sql("CREATE ROLE IF NOT EXISTS "+role,
			"GRANT "+ofMaster+", INSERT, UPDATE, DELETE, CREATE ROLE, DROP ROLE ON *.* TO "+role+" WITH GRANT OPTION",
			"GRANT APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN ON *.* TO "+role+" WITH GRANT OPTION",
			"GRANT "+role+" TO "+a, "ALTER USER "+a+" DEFAULT ROLE "+role)
		for _, privilege := range []string{"INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX"} {
			// This succeeds only if partial revokes are on.
			_, _ = f.db.Exec("REVOKE " + privilege + " ON mysql.* FROM " + role)
		}
		return f.value(name, password)
	}
	f.sql("GRANT " + ofMaster + " ON *.* TO " + a + " WITH GRANT OPTION")
	for _, d := range databases {
		f.sql("GRANT " + ofDatabase + " ON " + d + ".* TO " + a + " WITH GRANT OPTION")
	}
	return f.value(name, password)
}

func (h *harness) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	err := h.login(user, password)
	if err != nil && strings.Contains(err.Error(), "1045") {
		err = errors.Join(engine.LoginRefused, err)
	}
	return err
}

func (h *harness) Restore(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	_, err := h.db.ExecContext(ctx, "ALTER USER "+account(user, "%")+" IDENTIFIED "+h.by(password))
	if err == nil && h.name == "mysql" {
		_, err = h.db.ExecContext(ctx, "ALTER USER "+account(user, "%")+" DISCARD OLD PASSWORD")
	}
	return err
}

// Work uses and replaces objects, and creates them unless an earlier user has done so.
func (h *harness) Work(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.as(user, password, h.database).run(ctx,
		"CREATE TABLE IF NOT EXISTS work (n int)",
		"INSERT INTO work VALUES (1)",
		"CREATE PROCEDURE IF NOT EXISTS work_done() SELECT COUNT(*) FROM work",
		"CALL work_done()",
		"CREATE OR REPLACE VIEW working AS SELECT n FROM work",
		"SELECT n FROM working",
		"ALTER TABLE work COMMENT 'altered'")
}

func (h *harness) Administrators(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	user, _ := v.Text("username")
	var ways []enginetest.Act
	for _, grant := range []string{"CREATE USER ON *.*", "SUPER ON *.*", "ALL ON *.*",
		"SELECT ON *.* WITH GRANT OPTION"} {
		ways = append(ways, enginetest.Act{Name: grant, Do: func(context.Context) (func(), error) {
			privilege, option, _ := strings.Cut(grant, " WITH ")
			if option != "" {
				option = " WITH " + option
			}
			h.sql("GRANT " + privilege + " TO " + account(user, "%") + option)
			return nil, nil
		}})
	}
	return ways, nil
}

// Acts returns what a login with every right on its own database can do.
func (h *harness) Acts(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	current, _ := v.Text("username")
	other, second := strings.CutSuffix(current, "_clone")
	if !second {
		other += "_clone"
	}
	users := []string{account(current, "%")}
	if h.kind == "alternating" || h.kind == "rds" {
		users = append(users, account(other, "%"))
	}
	name, password := h.user()
	own, role := h.server.Database(h.t), testserver.Unique("role_")
	h.sql("GRANT ALL ON "+own+".* TO "+account(name, "%")+" WITH GRANT OPTION", "CREATE TABLE "+own+".t (a int, b int)")
	act := func(what string, statements ...string) enginetest.Act {
		return enginetest.Act{Name: what, Do: func(ctx context.Context) (func(), error) {
			s := h.as(name, password, own)
			return func() { s.db.Close() }, s.run(ctx, statements...)
		}}
	}
	last := users[len(users)-1]
	acts := []enginetest.Act{
		act("grants its database to both users", "GRANT SELECT ON "+own+".* TO "+strings.Join(users, ", ")),
		act("grants its database to the second user", "GRANT ALL ON "+own+".* TO "+last),
		act("lets the current user grant its database", "GRANT ALL ON "+own+".* TO "+users[0]+" WITH GRANT OPTION"),
		act("grants a table and drops it", "GRANT SELECT ON t TO "+users[0], "DROP TABLE t"),
		act("grants a column and drops it", "GRANT SELECT (a) ON t TO "+users[0], "ALTER TABLE t DROP COLUMN a"),
		act("grants a table and locks it", "GRANT SELECT ON t TO "+users[0], "LOCK TABLES t WRITE"),
		act("grants a column and locks its table", "GRANT SELECT (a) ON t TO "+users[0], "LOCK TABLES t WRITE"),
	}
	if h.name == "mariadb" {
		h.sql("CREATE ROLE " + role + " WITH ADMIN " + account(name, "%"))
		acts = append(acts, act("grants its role to the current user", "GRANT "+role+" TO "+users[0]),
			act("lets the current user grant its role", "GRANT "+role+" TO "+users[0]+" WITH ADMIN OPTION"))
	}
	return acts, nil
}

// client is a login independent of the engine.
type client struct{ db *sql.DB }

func (h *harness) as(user, password, database string) client {
	connector, err := driver.NewConnector(h.server.Config(user, password, database))
	if err != nil {
		h.t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1) // a session keeps its locks
	h.t.Cleanup(func() { db.Close() })
	return client{db}
}

func (c client) run(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := c.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}
