//go:build next

package postgres_test

import (
	"fmt"
	"testing"

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
			pooler := testserver.PgBouncer(t, testserver.PgBouncerOptions{Server: server, Mode: "transaction"})
			suite(t, func() *harness { return &harness{pg: pooler, alternating: alternating} })
		})
	}
}

// PgBouncer requires the old password of a user in its own file, regardless of the server. It refuses the new one, so
// the rotation restores the old one on the server.
func TestUserInPgBouncersFile(t *testing.T) {
	server := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	user := testserver.Unique("app_")
	pooler := testserver.PgBouncer(t, testserver.PgBouncerOptions{Server: server, Mode: "session", Users: fmt.Sprintf("%q %q", user, "first-password")})
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
