package redshift

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite, on a PostgreSQL that stores MD5 digests and has Redshift's
// views.
type harness struct {
	*testserver.PostgresServer
	database string
	strategy engine.Strategy
	bySuper  bool // the superuser makes the change
}

func TestEngineSingleUser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, engine.SingleUser, false) })
}

func TestEngineSingleUserBySuperuser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, engine.SingleUser, true) })
}

func TestEngineAlternatingUsers(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, engine.AlternatingUsers, true) })
}

func newHarness(t *testing.T, strategy engine.Strategy, bySuper bool) *harness {
	t.Helper()
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{HBA: "hostssl all all 127.0.0.1/32 md5", Config: "password_encryption = 'md5'\nlog_statement = 'all'"})
	h := &harness{pg, pg.Database(t), strategy, bySuper}
	if _, err := pg.Connect(t, h.database).Exec(context.Background(), shim); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) Engine() engine.Engine { return New(engine.TLSPolicy{ExtraCAs: h.CA.PEM}) }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Overlap() bool { return false }

func (h *harness) Env() map[string]string { return map[string]string{"STRATEGY": string(h.strategy)} }

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite_"), "First-Passw0rd-"+testserver.Unique("")
	if err := h.sql(ctx, "CREATE USER "+name(user)+" PASSWORD '"+digest(password, user)+"'"); err != nil {
		return value, superuser, err
	}
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"redshift","host":%q,"port":%d,"dbname":%q,"username":%q,"password":%q}`, host, port, h.database, user, password))
	}
	if h.bySuper {
		superuser = login(h.User, h.Password)
	}
	return login(user, password), superuser, nil
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	conn, err := pgx.Connect(ctx, h.URLFor(user, password, h.database))
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "28P01" {
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
	return h.sql(ctx, "ALTER USER "+name(user)+" PASSWORD '"+digest(password, user)+"'")
}

func (h *harness) sql(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, h.URL(h.database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
