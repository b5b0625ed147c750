package influxdb

import (
	"context"
	"fmt"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness makes a user for each rotation of the suite.
type harness struct {
	*fixture
	mode     string // superuser or alternating
	database string
	made     enginetest.Recent
}

func TestEngineSuperuser(t *testing.T) { suite(t, "superuser") }

func TestEngineAlternatingUsers(t *testing.T) { suite(t, "alternating") }

func suite(t *testing.T, mode string) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		f := newFixture(t)
		return &harness{fixture: f, mode: mode, database: f.database()}
	})
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Overlap() bool { return false }

func (h *harness) Env() map[string]string {
	if h.mode == "superuser" {
		return map[string]string{"STRATEGY": "single"}
	}
	return map[string]string{}
}

func (h *harness) New(_ context.Context, host string, port int) (v, superuser engine.Value, err error) {
	user := h.user()
	if old := h.made.Add(user); old != "" {
		for _, name := range []string{old, old + "_clone"} {
			h.Query(h.t, h.User, h.Password, "DROP USER "+identifier(name)) // there may be no second one
		}
	}
	h.must("GRANT READ ON " + identifier(h.database) + " TO " + identifier(user))
	return value(host, port, user, "first-"+user), value(host, port, h.User, h.Password), nil
}

func (h *harness) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	switch status, body := h.Query(h.t, user, password, "SHOW DATABASES"); status {
	case 200:
		return nil
	case 401:
		return engine.LoginRefused
	default:
		return fmt.Errorf("status %d: %s", status, body)
	}
}

func (h *harness) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	h.must("SET PASSWORD FOR " + identifier(user) + " = " + literal(password))
	return nil
}

func (h *harness) Logs() (string, error) { return h.fixture.Logs() }
