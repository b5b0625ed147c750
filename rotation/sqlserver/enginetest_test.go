package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a login for each rotation of the suite.
type harness struct {
	target   string
	engine   *Engine
	query    url.Values    // of the independent client's connection string
	fields   string        // more fields of the secret
	admin    *url.Userinfo // the superuser, or nil for a single user
	make     func(user, password string) error
	password func(user, password string) error
	env      map[string]string
}

// modeled is a harness whose model has rights.
type modeled struct {
	*harness
	grant func(user string, right []string)
}

// TestEngineSingleLogin runs the suite against tdsServer, which stores the passwords; TestRealEngine needs a real
// server.
func TestEngineSingleLogin(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, false) })
}

// TestEngineAlternatingLogins adds a model of logins and rights.
func TestEngineAlternatingLogins(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, true) })
}

// TestEngineSingleLoginBySuperuser: the superuser changes a login that may not change itself.
func TestEngineSingleLoginBySuperuser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		h := newHarness(t, true)
		h.env = map[string]string{"STRATEGY": "single"}
		return h
	})
}

func newHarness(t *testing.T, superuser bool) modeled {
	t.Helper()
	s, m := newTDS(t, true), newModel()
	s.history = superuser
	s.answer = func(query string) ([][]string, error) {
		if superuser && strings.Contains(query, "OLD_PASSWORD") {
			return nil, tdsErr{15151, "Cannot alter the login, because it does not exist or you do not have " +
				"permission."}
		}
		return m.answer(query)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificates(t).PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	s.logins["admin"] = "Admin-password1"
	h := &harness{target: fmt.Sprintf("localhost:%d", s.port()), engine: newEngine(t),
		query: url.Values{"encrypt": {"true"}, "certificate": {ca}}}
	if superuser {
		h.admin = url.UserPassword("admin", "Admin-password1")
	}
	h.password = func(user, password string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.logins[user] = password
		return nil
	}
	grant := func(user string, right []string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.server[user] = append(m.server[user], right)
	}
	h.make = func(user, password string) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.logins[user] = loginRow(user)
		m.server[user] = append([][]string(nil), m.server["app"]...)
		m.users["shop/"+user] = []string{user, "dbo"}
		m.databases["shop"][user] = append([][]string(nil), m.databases["shop"]["app"]...)
		return h.password(user, password)
	}
	return modeled{h, grant}
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.target }

// Administrators are members of roles, and holders of permissions, with which a login can become any other. RDS's
// master user has the last two roles and ALTER ANY LOGIN, but is not a member of sysadmin.
func (h modeled) Administrators(_ context.Context, v engine.Value) (ways []enginetest.Act, err error) {
	name := user(v)
	for _, right := range [][]string{{"sysadmin", "", ""}, {"securityadmin", "", ""}, {"", "G", "CONTROL SERVER"},
		{"", "W", "ALTER ANY LOGIN"}, {"processadmin", "", ""}, {"setupadmin", "", ""}} {
		ways = append(ways, enginetest.Act{Name: right[0] + right[2], Do: func(context.Context) (func(), error) {
			h.grant(name, right)
			return nil, nil
		}})
	}
	return ways, nil
}

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{Env: h.env} }

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("suite_"), "First-Passw0rd-"+testserver.Unique("")
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(
			`{"engine":"sqlserver","host":%q,"port":%d,"username":%q,"password":%q%s}`, host,
			port, user, password, h.fields))
	}
	if h.admin != nil {
		secret, _ := h.admin.Password()
		superuser = login(h.admin.Username(), secret)
	}
	return login(user, password), superuser, h.make(user, password)
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	db, err := sql.Open("sqlserver",
		(&url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: h.target,
			RawQuery: h.query.Encode()}).String())
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.PingContext(ctx)
	if e, ok := errors.AsType[mssql.Error](err); ok && e.Number == 18456 {
		return fmt.Errorf("%w: %w", engine.LoginRefused, err)
	}
	return err
}

func (h *harness) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.password(user, password)
}
