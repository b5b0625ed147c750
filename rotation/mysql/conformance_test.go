package mysql_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
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
	secret   string // the ARN of the last one
}

func (h *harness) Bind(_ context.Context, secret string, _ engine.Value) error {
	h.secret = secret
	return nil
}

// lockOf is the name of the lock that the engine takes for a secret.
func lockOf(secret string) string {
	sum := sha256.Sum256([]byte("rotator lock\x00" + secret))
	return "rotator_" + hex.EncodeToString(sum[:16])
}

// The suite runs for users that cannot overlap, for users that can, and for
// alternating ones.
func TestEngine(t *testing.T) {
	for _, system := range slices.Sorted(maps.Keys(systems)) {
		for _, kind := range []string{"single", "overlap", "alternating"} {
			t.Run(system+"/"+kind, func(t *testing.T) {
				t.Parallel()
				enginetest.Run(t, func(t *testing.T) enginetest.Harness {
					server := systems[system](t, testserver.MySQLOptions{AllowPlaintext: true})
					return &harness{newFixture(t, system, server), kind, server.Database(t), ""}
				})
			})
		}
	}
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.server.Addr() }

func (h *harness) Overlap() bool { return h.kind != "single" }

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
	h.sql("GRANT ALL ON " + h.database + ".* TO " + account(user, "%"))
	return at(value), superuser, nil
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

// Work creates objects where an earlier user has not, and uses and replaces them.
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
	for _, grant := range []string{"CREATE USER ON *.*", "SUPER ON *.*", "ALL ON *.*", "SELECT ON *.* WITH GRANT OPTION"} {
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

// Acts are those of a login with every right on its own database.
func (h *harness) Acts(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	current, _ := v.Text("username")
	other, second := strings.CutSuffix(current, "_clone")
	if !second {
		other += "_clone"
	}
	users := []string{account(current, "%")}
	if h.kind == "alternating" {
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
		// An application knows the ARN of its secret.
		act("takes the lock of the secret", "DO GET_LOCK('"+lockOf(h.secret)+"', 0)"),
	}
	if h.name == "mariadb" {
		h.sql("CREATE ROLE " + role + " WITH ADMIN " + account(name, "%"))
		acts = append(acts, act("grants its role to the current user", "GRANT "+role+" TO "+users[0]),
			act("lets the current user grant its role", "GRANT "+role+" TO "+users[0]+" WITH ADMIN OPTION"))
	}
	return acts, nil
}

// client is a login next to the engine's.
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
