package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness makes a user for each rotation of the suite.
type harness struct {
	*fixture
	mode string // itself, superuser or alternating
}

func TestEngineItself(t *testing.T) { suite(t, "itself") }

func TestEngineSuperuser(t *testing.T) { suite(t, "superuser") }

func TestEngineAlternatingUsers(t *testing.T) { suite(t, "alternating") }

func suite(t *testing.T, mode string) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &harness{newFixture(t), mode} })
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

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite-"), testserver.Unique("First-Passw0rd-")
	tags := ""
	if h.mode == "itself" {
		tags = administrator
	} else {
		superuser = login(host, port, h.User, h.Password)
	}
	err = h.call(ctx, "PUT", "/api/users/"+user, map[string]string{"password": password, "tags": tags}, nil)
	if err == nil {
		err = h.call(ctx, "PUT", "/api/permissions/%2F/"+user, permission{"^app", ".*", ".*"}, nil)
	}
	return login(host, port, user, password), superuser, err
}

func login(host string, port int, user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"rabbitmq","host":%q,"managementPort":%d,"username":%q,"password":%q}`, host, port, user, password))
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	status, answer, err := h.request(ctx, user, password, "GET", "/api/whoami", nil)
	if err != nil || status == 200 {
		return err
	}
	var why struct{ Reason string }
	_ = json.Unmarshal(answer, &why)
	switch why.Reason {
	case "Not management user":
		return nil
	case "Login failed":
		return engine.LoginRefused
	}
	return fmt.Errorf("status %d: %s", status, answer)
}

func (h *harness) Restore(ctx context.Context, v engine.Value) error {
	name, _ := v.Text("username")
	password, _ := v.Text("password")
	var u user
	if err := h.call(ctx, "GET", path("users", name), nil, &u); err != nil {
		return err
	}
	return h.call(ctx, "PUT", path("users", name), map[string]any{"password": password, "tags": u.Tags}, nil)
}

func (h *harness) Logs() (string, error) { return h.fixture.Logs() }
