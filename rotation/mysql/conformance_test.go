package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness connects the suite to a server, for one kind of rotation.
type harness struct {
	*fixture
	kind string
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
					return &harness{newFixture(t, system, server), kind}
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
