package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite.
type harness struct {
	*fixture
	mode string // itself, superuser or alternating
}

func TestEngineItself(t *testing.T) { suite(t, "itself") }

func TestEngineBySuperuser(t *testing.T) { suite(t, "superuser") }

func TestEngineAlternatingUsers(t *testing.T) { suite(t, "alternating") }

func suite(t *testing.T, mode string) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &harness{newFixture(t), mode} })
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Traits() enginetest.Traits {
	t := enginetest.Traits{}
	if h.mode == "superuser" {
		t.Env = map[string]string{"STRATEGY": "single"}
	}
	return t
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
	return engine.StringValue(fmt.Sprintf(
		`{"engine":"rabbitmq","host":%q,"managementPort":%d,"username":%q,"password":%q}`, host, port, user, password))
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
	case "Login failed", "Not_Authorized": // before and since version 4
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

// Work passes a message through a queue that either user declared.
func (h *harness) Work(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	c, err := h.open(user, password)
	if err != nil {
		return err
	}
	defer c.Close()
	queue := "app-of-" + strings.TrimSuffix(user, "_clone")
	_ = c.declare(queue, false)
	return c.pass(queue)
}

func (h *harness) Administrators(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	return []enginetest.Act{{Name: "the tag administrator", Do: func(ctx context.Context) (func(), error) {
		name, _ := v.Text("username")
		u := h.show(name)
		u.Name, u.Tags = "", append(u.Tags, administrator)
		return nil, h.call(ctx, "PUT", path("users", name), &u, nil)
	}}}, nil
}

// Acts returns what a login with every right on the virtual host, and every tag but administrator, can do.
func (h *harness) Acts(ctx context.Context, v engine.Value) ([]enginetest.Act, error) {
	current, _ := v.Text("username")
	name := h.user("monitoring,policymaker")
	password := "first-" + name
	may := func(method, path, body string) error {
		status, answer, err := h.request(ctx, name, password, method, path, []byte(body))
		if err == nil && status >= 300 {
			err = fmt.Errorf("%s %s: status %d: %s", method, path, status, answer)
		}
		return err
	}
	forbidden := func(context.Context) error {
		if may("GET", path("users", current), "") == nil || may("GET", path("definitions"), "") == nil {
			return errors.New("a login without the tag administrator reads users")
		}
		return nil
	}
	return []enginetest.Act{
		{
			Name: "sets policies on the users' queues", Observed: forbidden,
			Do: func(context.Context) (func(), error) {
				p := path("policies", "/", name)
				return func() { h.must("DELETE", p, nil) },
					may("PUT", p, `{"pattern":"^app-of-`+current+
						`","definition":{"expires":1,"max-length":0},"apply-to":"queues"}`)
			},
		},
		{
			Name: "holds an exclusive queue", Observed: forbidden,
			Do: func(context.Context) (func(), error) {
				c, err := h.open(name, password)
				if err != nil {
					return nil, err
				}
				return func() { c.Close() }, c.declare("app-of-"+current, true)
			},
		},
	}, h.call(ctx, "PUT", path("permissions", "/", name), permission{".*", ".*", ".*"}, nil)
}
