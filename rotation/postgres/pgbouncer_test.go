//go:build next

package postgres_test

import (
	"context"
	"embed"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// Because of the tag, `make test` does not need what `make deps-next` downloads. Everything goes through the pooler,
// which lends a connection for one transaction at a time.
func TestEngineBehindPgBouncer(t *testing.T) {
	for name, alternating := range map[string]bool{"single": false, "alternating": true} {
		t.Run(name, func(t *testing.T) {
			server := testserver.SharedPostgres(t, testserver.PostgresOptions{})
			pooler := pgBouncer(t, pgBouncerOptions{Server: server, Mode: "transaction"})
			suite(t, func() *harness { return &harness{pg: pooler, alternating: alternating} })
		})
	}
}

// PgBouncer requires the old password of a user in its own file, regardless of the server. It refuses the new one, so
// the rotation restores the old one on the server.
func TestUserInPgBouncersFile(t *testing.T) {
	server := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	user := testserver.Unique("app_")
	pooler := pgBouncer(t, pgBouncerOptions{Server: server, Mode: "session", Users: fmt.Sprintf("%q %q", user, "first-password")})
	h := &harness{pg: pooler, admin: server.Connect(t, "postgres")}
	if err := h.sql(t.Context(), "CREATE ROLE %I LOGIN PASSWORD %L", user, "first-password"); err != nil {
		t.Fatal(err)
	}
	value := func(password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q}`, pooler.Host, pooler.Port, user, password))
	}
	r := &engine.Request{Secret: "arn", Strategy: engine.SingleUser, Current: value("first-password"), Pending: value("second-password"), Login: value("first-password")}
	e := h.Engine()
	if err := e.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	enginetest.WantCause(t, e.Verify(enginetest.Within(t), r, r.Pending), engine.LoginRefused, "SASL")
	r.Current, r.Pending = r.Pending, r.Current
	if err := e.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(enginetest.Within(t), r, r.Pending); err != nil {
		t.Error(err)
	}
}

// pgBouncerOptions configures a pooler: its server, and the pool mode ("session" or "transaction").
type pgBouncerOptions struct {
	Server *testserver.PostgresServer
	Mode   string
	// Users are the lines of the user file, such as `"app" "password"`. The administrator looks up other users at the
	// server at each login (auth_query).
	Users string
}

//go:embed testdata/pgbouncer.ini testdata/userlist.txt
var pgBouncerFiles embed.FS

// pgBouncer starts the PgBouncer of Debian 13 until the test's end. It returns the server as clients see it through the
// pooler, with the pooler's certificate. Measured on two cores: 0.2 s.
var pgBouncer = testserver.During(func(ctx context.Context, o pgBouncerOptions) (*testserver.PostgresServer, error) {
	s := *o.Server
	s.Server = testserver.NewServer("pgbouncer", false, o.Server.CA, nil)
	s.User, s.Password = o.Server.User, o.Server.Password
	return &s, s.Start(ctx, testserver.Launch{
		Program: "pgbouncer",
		Files:   pgBouncerFiles, S: &s, O: o,
		Args: func() []string { return []string{s.Path("pgbouncer.ini")} },
		Ready: func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, s.URL("postgres"))
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
	})
})
