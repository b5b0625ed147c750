package influxdb2

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// users rotates passwords of users.
type users struct {
	*fixture
	made enginetest.Recent
}

func TestEngineUsers(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &users{fixture: newFixture(t)} })
}

func (h *users) Engine() engine.Engine { return h.users }

func (h *users) Target() string { return h.Addr() }

func (h *users) Traits() enginetest.Traits { return enginetest.Traits{} }

func (h *users) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	name, id := h.user()
	h.drop(h.made.Add(id))
	// The suite reads the port to bypass its proxy.
	return at(host, port).With("username", name).With("password", first+name), superuser, nil
}

func (h *users) Open(ctx context.Context, v engine.Value) error { return h.opens(ctx, v) }

func (h *users) Restore(ctx context.Context, v engine.Value) error {
	name, _ := v.Text("username")
	password, _ := v.Text("password")
	var list struct{ Users []account }
	if err := h.do(ctx, h.Token, http.MethodGet, "users?name="+name, nil, &list); err != nil {
		return err
	}
	return h.do(ctx, h.Token, http.MethodPost, "users/"+list.Users[0].ID+"/password",
		map[string]string{"password": password}, nil)
}

func (h *users) Logs() (string, error) { return h.fixture.Logs() }

// tokens rotates tokens, with their own rights or an operator's.
type tokens struct {
	*fixture
	byOperator bool
	owner      string // the id of the tokens' user
	made       enginetest.Recent
}

func TestEngineTokensByThemselves(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &tokens{fixture: newFixture(t)} })
}

func TestEngineTokensByAnOperator(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return &tokens{fixture: newFixture(t), byOperator: true}
	})
}

func (h *tokens) Engine() engine.Engine { return h.tokens }

func (h *tokens) Target() string { return h.Addr() }

func (h *tokens) Traits() enginetest.Traits {
	return enginetest.Traits{Overlap: true, Public: []string{"tokenId"}}
}

func (h *tokens) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	_, h.owner = h.user()
	h.drop(h.made.Add(h.owner))
	if !h.byOperator {
		return at(host, port).With("token",
			h.token(h.owner, "suite", append(h.authorizer(h.owner), h.readAndWrite(h.bucket())...))), superuser, nil
	}
	timestream := engine.StringValue(`{"engine":"timestream-influxdb","type":"custom","org":"first"}`).
		With("dbIdentifier", h.instance(host, port))
	return timestream.With("token", h.token(h.owner, "suite", h.readAndWrite(h.bucket()))),
		timestream.With("username", h.User).With("password", h.Password), nil
}

func (h *tokens) Open(ctx context.Context, v engine.Value) error { return h.opens(ctx, v) }

func (h *tokens) Restore(context.Context, engine.Value) error { return errors.ErrUnsupported }

func (h *tokens) Logs() (string, error) { return h.fixture.Logs() }

func (h *tokens) Strays(_ context.Context, versions []engine.Value) (strays []string, err error) {
	var known []string
	for _, v := range versions {
		token, _ := v.Text("token")
		known = append(known, token)
	}
	for _, a := range h.authorizations() {
		if a.UserID == h.owner && !slices.Contains(known, a.Token) {
			strays = append(strays, a.ID)
		}
	}
	return strays, nil
}
