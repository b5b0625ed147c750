package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/postgres"
)

// harness makes a role for each rotation of the suite.
type harness struct {
	pg          *testserver.PostgresServer
	alternating bool
}

func TestEngineSingleUser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return &harness{pg: testserver.SharedPostgres(t, testserver.PostgresOptions{})}
	})
}

func TestEngineAlternatingUsers(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return &harness{pg: testserver.SharedPostgres(t, testserver.PostgresOptions{}), alternating: true}
	})
}

func (h *harness) Engine() engine.Engine {
	return postgres.New(engine.TLSPolicy{ExtraCAs: h.pg.CA.PEM})
}

func (h *harness) Target() string { return h.pg.Addr() }

func (h *harness) Overlap() bool { return false }

func (h *harness) Logs() (string, error) { return h.pg.Logs() }

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite_"), "first-Passw0rd-"+testserver.Unique("")
	if err := h.sql(ctx, "CREATE ROLE %I LOGIN PASSWORD %L", user, password); err != nil {
		return value, superuser, err
	}
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q}`, host, port, user, password))
	}
	if h.alternating {
		superuser = login(h.pg.User, h.pg.Password)
	}
	return login(user, password), superuser, nil
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
	conn, err := pgx.Connect(ctx, h.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var statement string
	if err := conn.QueryRow(ctx, "SELECT format($1, VARIADIC $2::text[])", format, args).Scan(&statement); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return err
}
