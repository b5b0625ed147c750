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
	*cluster
	admin    *pgx.Conn
	strategy engine.Strategy
	logged   int // how much of the server's log an earlier call has returned
}

func TestEngineSingleUser(t *testing.T) { suite(t, engine.SingleUser) }

func TestEngineAlternatingUsers(t *testing.T) { suite(t, engine.AlternatingUsers) }

func suite(t *testing.T, strategy engine.Strategy) {
	c := newCluster(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, c, strategy) })
}

func newHarness(t *testing.T, c *cluster, strategy engine.Strategy) *harness {
	return &harness{cluster: c, admin: c.Connect(t, c.database), strategy: strategy}
}

// Logs returns what the server has logged since the last call, as it logs every statement of all tests.
func (h *harness) Logs() (string, error) {
	all, err := h.PostgresServer.Logs()
	from := h.logged
	h.logged = len(all)
	return all[from:], err
}

func (h *harness) Engine() engine.Engine { return New(engine.TLSPolicy{ExtraCAs: h.CA.PEM}) }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Traits() enginetest.Traits {
	return enginetest.Traits{Env: map[string]string{"STRATEGY": string(h.strategy)}}
}

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite_"), "First-Passw0rd-"+testserver.Unique("")
	if err := h.sql(ctx, "CREATE USER "+name(user)+" PASSWORD '"+digest(password, user)+"'"); err != nil {
		return value, superuser, err
	}
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"redshift","host":%q,"port":%d,"dbname":%q,"username":%q,"password":%q}`, host, port, h.database, user, password))
	}
	if h.strategy == engine.AlternatingUsers {
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
	_, err := h.admin.Exec(ctx, statement)
	return err
}
