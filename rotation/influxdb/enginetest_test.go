package influxdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite.
type harness struct {
	*fixture
	database string
	made     enginetest.Recent
}

func TestEngineSuperuser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		f := newFixture(t)
		return &harness{fixture: f, database: f.database()}
	})
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{} }

func (h *harness) New(_ context.Context, host string, port int) (v, superuser engine.Value, err error) {
	user := h.user()
	if old := h.made.Add(user); old != "" {
		h.must("DROP USER " + identifier(old))
	}
	h.must("GRANT ALL ON " + identifier(h.database) + " TO " + identifier(user))
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

// Work reads from the database and writes to it.
func (h *harness) Work(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	for _, statement := range []string{"SHOW MEASUREMENTS ON %s", "SELECT n INTO %[1]s..copy FROM %[1]s..work"} {
		statement = fmt.Sprintf(statement, identifier(h.database))
		if status, body := h.Query(h.t, user, password, statement); status != 200 || strings.Contains(body, "error") {
			return fmt.Errorf("%s: status %d: %s", statement, status, body)
		}
	}
	return nil
}

func (h *harness) Administrators(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	user, _ := v.Text("username")
	return []enginetest.Act{{Name: "ALL PRIVILEGES", Do: func(context.Context) (func(), error) {
		h.must("GRANT ALL PRIVILEGES TO " + identifier(user))
		return nil, nil
	}}}, nil
}

// Acts returns what a login with every right on a database can do: see running queries.
func (h *harness) Acts(context.Context, engine.Value) ([]enginetest.Act, error) {
	name := h.user()
	h.must("GRANT ALL ON " + identifier(h.database) + " TO " + identifier(name))
	shown := make(chan error, 1)
	return []enginetest.Act{{
		Name: "watches the queries",
		Do: func(ctx context.Context) (func(), error) {
			ctx, stop := context.WithCancel(ctx)
			begun := make(chan error, 1)
			go h.watch(ctx, name, begun, shown)
			return stop, <-begun
		},
		Observed: func(context.Context) error {
			select {
			case err := <-shown:
				return err
			default:
				return nil
			}
		},
	}}, nil
}

// watch looks for a password in the running queries until ctx ends.
func (h *harness) watch(ctx context.Context, user string, begun, shown chan<- error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: h.CA.ClientTLS(h.Host)}}
	defer client.CloseIdleConnections()
	form := url.Values{"q": {"SHOW QUERIES"}, "db": {h.database}}.Encode()
	for first := true; ctx.Err() == nil; first = false {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL()+"/query", strings.NewReader(form))
		var body []byte
		if err == nil {
			req.SetBasicAuth(user, "first-"+user)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				body, err = io.ReadAll(resp.Body)
				err = errors.Join(err, resp.Body.Close())
			}
		}
		if err == nil && !strings.Contains(string(body), "SHOW QUERIES") {
			err = fmt.Errorf("the running queries: %s", body)
		}
		if first {
			begun <- err
		}
		if text := string(body); strings.Count(text, "PASSWORD") > strings.Count(text, "[REDACTED]") {
			shown <- errors.New("a running query shows a password")
			return
		}
	}
}
