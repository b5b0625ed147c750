package gate_test

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"example.com/gate"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// controller is the gate's controller, made up for the example: it has users with
// one password each, and a user changes its own.
type controller struct {
	*httptest.Server
	mu        sync.Mutex
	passwords map[string]string
}

func newController() *controller {
	c := &controller{passwords: map[string]string{}}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path != "/password" || err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case c.passwords[user] == "" || c.passwords[user] != password:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPut:
			c.passwords[user] = string(body)
		}
	}))
	c.Config.ErrorLog = log.New(io.Discard, "", 0) // connections are cut on purpose
	c.StartTLS()
	return c
}

// harness connects the example's engine to the suite that runs for every engine.
type harness struct{ *controller }

func TestEngine(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		c := newController()
		t.Cleanup(c.Close)
		return harness{controller: c}
	})
}

func (h harness) Engine() engine.Engine {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	return gate.New(engine.TLSPolicy{ExtraCAs: ca})
}

func (h harness) Target() string { return h.Listener.Addr().String() }

func (h harness) Traits() enginetest.Traits { return enginetest.Traits{} }

func (h harness) New(_ context.Context, _ string, port int) (value, superuser engine.Value, err error) {
	user := rand.Text()
	h.mu.Lock()
	h.passwords[user] = "first-password-of-" + user
	h.mu.Unlock()
	return engine.StringValue(fmt.Sprintf(`{"engine":"gate","host":"127.0.0.1","port":%d,"username":%q,"password":%q}`,
		port, user, "first-password-of-"+user)), superuser, nil
}

func (h harness) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	h.mu.Lock()
	defer h.mu.Unlock()
	if password == "" || h.passwords[user] != password {
		return engine.LoginRefused
	}
	return nil
}

func (h harness) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.passwords[user], _ = v.Text("password")
	return nil
}
