package influxdb

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

func TestUserWithAllPrivilegesChangesItself(t *testing.T) {
	f := newFixture(t)
	name := f.user()
	r := f.bySuperuser(name, "second")
	r.Login, r.Superuser, r.SuperuserChanges = r.Current, false, false
	for _, refused := range []error{f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r),
		f.engine.Verify(enginetest.Within(t), r, r.Current)} {
		enginetest.WantCause(t, refused, engine.PrivilegeMissing, "masterarn")
	}
	f.must("GRANT ALL PRIVILEGES TO " + identifier(name))
	for range 2 { // repeated with the new password
		if err := f.engine.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		r.Login = r.Pending
	}
	if !f.opens(name, "second") || f.opens(name, "first-"+name) {
		t.Error("the password was not changed")
	}
	r.Login = r.Current
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.LoginRefused, name)
}

func TestMistypedUserIsNotCreated(t *testing.T) {
	f := newFixture(t)
	name := testserver.Unique("mistyped-")
	for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
		enginetest.WantCause(t, change(enginetest.Within(t), f.bySuperuser(name, "b")), engine.InvalidSecret, name)
	}
	for _, row := range f.must("SHOW USERS") {
		if row[0] == name {
			t.Error("the user exists")
		}
	}
}

func TestSuperuserChangesNoAdministrator(t *testing.T) {
	f := newFixture(t)
	admin := f.user()
	f.must("GRANT ALL PRIVILEGES TO " + identifier(admin))
	for _, name := range []string{admin, f.User} {
		r := f.bySuperuser(name, "b")
		r.Proofs = []engine.Value{r.Current}
		for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
			enginetest.WantCause(t, change(enginetest.Within(t), r), engine.TakeoverRefused, name)
		}
	}
	if !f.opens(admin, "first-"+admin) {
		t.Error("a password was changed")
	}
}

// A server that requires no credentials would accept any pending password.
func TestVerifyRefusesAServerWithoutAuthentication(t *testing.T) {
	f := newFixture(t)
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// InfluxDB's response with auth-enabled = false.
		_, _ = io.WriteString(w, `{"results":[{"series":[{"columns":["user","admin"],"values":[["app",true]]}]}]}`)
	}))
	defer open.Close()
	host, port, _ := net.SplitHostPort(open.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	v := value(host, n, "app", "anything").WithJSON("ssl", []byte("false"))
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), &engine.Request{}, v),
		engine.TargetFailed, "no credentials")
}

func TestFormatOfTheSecret(t *testing.T) {
	for value, want := range map[string]string{
		`{"engine":"influxdb","username":"a","password":"b"}`:              "host is missing",
		`{"engine":"influxdb","host":"h","username":"a:b","password":"b"}`: "colon",
	} {
		r := &engine.Request{Current: engine.StringValue(value), Strategy: engine.SingleUser}
		_, err := New(engine.TLSPolicy{}).Next(t.Context(), r)
		enginetest.WantCause(t, err, engine.InvalidSecret, want)
	}
}

// FuzzQuoting creates users and passwords with arbitrary characters on a real server and checks what it stored.
func FuzzQuoting(f *testing.F) {
	for _, s := range []string{`a"b`, `a'b`, `a\b`, `a\`, "a\nb", `"; DROP USER admin; --`, "ü", "a\tb", `\n`,
		"\x7f", " ", "a\\\"", "$1"} {
		f.Add(s)
	}
	shared := newFixture(f)
	f.Fuzz(func(t *testing.T, s string) {
		x := &fixture{shared.influxServer, t, shared.engine}
		if !writable(s) {
			return // a secret cannot hold it, or HTTP cannot send it
		}
		name := testserver.Unique("fuzz-") + s
		r := x.bySuperuser(name, "second"+s)
		x.must("CREATE USER " + identifier(name) + " WITH PASSWORD " + literal("first-"+name))
		defer x.must("DROP USER " + identifier(name))
		found := false
		for _, row := range x.must("SHOW USERS") {
			found = found || row[0] == name
		}
		if !found {
			t.Fatalf("there is no user %q", name)
		}
		if err := x.engine.Set(enginetest.Within(t), r); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := x.engine.Verify(enginetest.Within(t), r, r.Pending); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	})
}

// writable reports whether a text can be a user name in a secret and in an HTTP header.
func writable(s string) bool {
	raw, _ := json.Marshal(s)
	var back string
	return json.Unmarshal(raw, &back) == nil && back == s && !strings.ContainsAny(s, ":\x00\r") && len(s) < 60
}

// A server that requires no credentials accepts every password, so a login there must not permit a change.
func TestDryRunRefusesAServerWithoutAuthentication(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"results":[{}]}`
		if strings.HasPrefix(r.FormValue("q"), "SHOW USERS") {
			answer = `{"results":[{"series":[{"columns":["user","admin"],"values":[["app",true]]}]}]}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	v := value("127.0.0.1", s.Listener.Addr().(*net.TCPAddr).Port, "app", "first").WithJSON("ssl", []byte("false"))
	r := &engine.Request{Strategy: engine.SingleUser, Current: v, Login: v, Pending: v.With("password", "second")}
	enginetest.WantCause(t, New(engine.TLSPolicy{}).DryRun(enginetest.Within(t), r),
		engine.TargetFailed, "auth-enabled")
}

// Errors are logged, so they quote only a little of what a host sends.
func TestErrorsQuoteLittle(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"error":"`+strings.Repeat("x", 1<<20)+`"}`)
	}))
	defer s.Close()
	v := value("127.0.0.1", s.Listener.Addr().(*net.TCPAddr).Port, "app", "first").WithJSON("ssl", []byte("false"))
	err := New(engine.TLSPolicy{}).Verify(enginetest.Within(t), &engine.Request{}, v)
	if enginetest.WantCause(t, err, engine.TargetFailed, "xxx"); len(err.Error()) > 2000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// TestAnswerOfManyValuesIsNotRead: a few bytes of JSON can take a hundred in memory.
func TestAnswerOfManyValuesIsNotRead(t *testing.T) {
	body := `{"results":[{"series":[{"values":[` + strings.TrimSuffix(strings.Repeat(`[0],`, 1<<20), ",") + `]}]}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	v := value("127.0.0.1", s.Listener.Addr().(*net.TCPAddr).Port, "app", "password").WithJSON("ssl", []byte("false"))
	enginetest.WantCause(t, New(engine.TLSPolicy{}).Verify(enginetest.Within(t), &engine.Request{Current: v, Login: v},
		v), engine.TargetFailed, "unexpected format")
}
