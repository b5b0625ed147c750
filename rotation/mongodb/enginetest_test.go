package mongodb

import (
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite, in another database than the superuser's.
type harness struct {
	*fixture
	mode string // itself, superuser or alternating
	made enginetest.Recent
}

func TestEngineItself(t *testing.T) { suite(t, "itself") }

func TestEngineBySuperuser(t *testing.T) { suite(t, "superuser") }

func TestEngineAlternatingUsers(t *testing.T) { suite(t, "alternating") }

func suite(t *testing.T, mode string) {
	f := newFixture(t, ferretDBOptions{})
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &harness{fixture: f, mode: mode} })
}

const suiteDatabase = "suite"

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Logs() (string, error) { return h.fixture.Logs() }

func (h *harness) Traits() enginetest.Traits {
	t := enginetest.Traits{}
	if h.mode == "superuser" {
		t.Env = map[string]string{"STRATEGY": "single"}
	}
	return t
}

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite-"), testserver.Unique("First-Passw0rd-")
	if old := h.made.Add(user); old != "" {
		for _, name := range []string{old, old + "_clone"} {
			_ = h.command(ctx, suiteDatabase, bson.D{{Key: "dropUser", Value: name}}) // the second one may not exist
		}
	}
	login := func(database, user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(
			`{"engine":"mongo","host":%q,"port":%d,"dbname":%q,"username":%q,"password":%q}`, host,
			port, database, user, password))
	}
	if h.mode != "itself" {
		superuser = login("admin", h.User, h.Password)
	}
	return login(suiteDatabase, user, password), superuser,
		h.command(ctx, suiteDatabase, bson.D{{Key: "createUser", Value: user}, {Key: "pwd", Value: password},
			{Key: "roles", Value: bson.A{}}})
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	ok, err := h.open(ctx, suiteDatabase, user, password)
	if err == nil && !ok {
		return engine.LoginRefused
	}
	return err
}

func (h *harness) Restore(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.command(ctx, suiteDatabase, bson.D{{Key: "updateUser", Value: user}, {Key: "pwd", Value: password}})
}
