package influxdb

import (
	"encoding/json"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*influxServer
	t      testing.TB
	engine *Engine
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s := sharedServer(t, struct{}{})
	return &fixture{s, t, New(engine.TLSPolicy{ExtraCAs: s.CA.PEM})}
}

// must runs a statement as the administrator and returns its rows.
func (f *fixture) must(statement string) [][]any {
	f.t.Helper()
	status, body := f.Query(f.t, f.User, f.Password, statement)
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || a.fault() != "" {
		f.t.Fatalf("%s: status %d: %s", statement, status, body)
	}
	var rows [][]any
	for _, s := range a.Results[0].Series {
		rows = append(rows, s.Values...)
	}
	return rows
}

// user creates a user whose password is "first-" and its name.
func (f *fixture) user() string {
	f.t.Helper()
	name := testserver.Unique("app-")
	f.must("CREATE USER " + identifier(name) + " WITH PASSWORD " + literal("first-"+name))
	return name
}

func (f *fixture) database() string {
	f.t.Helper()
	name := testserver.Unique("db ")
	f.must("CREATE DATABASE " + identifier(name))
	return name
}

// opens reports whether the server accepts a password.
func (f *fixture) opens(user, password string) bool {
	f.t.Helper()
	status, body := f.Query(f.t, user, password, "SHOW DATABASES")
	if status != 200 && status != 401 {
		f.t.Fatalf("status %d: %s", status, body)
	}
	return status == 200
}

func value(host string, port int, user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"influxdb","host":%q,"port":%d}`, host, port)).
		With("username", user).With("password", password)
}

func (f *fixture) value(user, password string) engine.Value {
	return value(f.Host, f.Port, user, password)
}

// bySuperuser returns a request to rotate one user with the superuser.
func (f *fixture) bySuperuser(user, pending string) *engine.Request {
	return &engine.Request{Secret: "arn", Version: "v", Strategy: engine.SingleUser,
		Current: f.value(user, "first-"+user), Pending: f.value(user, pending),
		Login: f.value(f.User, f.Password), Superuser: true, SuperuserChanges: true}
}
