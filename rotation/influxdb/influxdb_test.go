package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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
	admin, app := f.user(), f.user()
	f.must("GRANT ALL PRIVILEGES TO " + identifier(admin))
	for _, c := range []struct {
		request *engine.Request
		text    string
	}{
		{f.bySuperuser(admin, "b"), admin}, {f.bySuperuser(f.User, "b"), "the superuser itself"},
		{f.toOther(f.User, app), "the superuser itself"},
		{f.toOther(app, f.User), "the superuser itself"}, {f.toOther(app, admin), admin},
		{f.toOther(admin, app), admin},
	} {
		c.request.Proofs = []engine.Value{c.request.Current, c.request.Pending}
		for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
			enginetest.WantCause(t, change(enginetest.Within(t), c.request), engine.TakeoverRefused, c.text)
		}
	}
	if !f.opens(admin, "first-"+admin) || !f.opens(app, "first-"+app) {
		t.Error("a password was changed")
	}
}

// The name alone proves nothing; a credential in the secret does.
func TestSecondUserOfUnknownOriginIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	app := f.user()
	other := app + "_clone"
	f.must("CREATE USER " + identifier(other) + " WITH PASSWORD 'of a stranger'")
	r := f.toOther(app, other)
	for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
		enginetest.WantCause(t, change(enginetest.Within(t), r), engine.TakeoverRefused, "drop "+other)
	}
	r.Proofs = []engine.Value{r.Current, r.Pending}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil || !f.opens(other, "next-"+other) {
		t.Errorf("a proved user: %v", err)
	}
}

func TestGrantsAreEqualizedBothWays(t *testing.T) {
	f := newFixture(t)
	app := f.user()
	other := app + "_clone"
	kept, taken, changed, dropped := f.database(), f.database(), f.database(), f.database()
	grant := func(what, database, user string) {
		f.must(fmt.Sprintf("GRANT %s ON %s TO %s", what, identifier(database), identifier(user)))
	}
	grant("ALL", kept, app)
	grant("READ", changed, app)
	grant("READ", dropped, app)
	f.must("DROP DATABASE " + identifier(dropped)) // some versions keep the grant
	var log []string
	r := f.toOther(app, other)
	r.Report = func(_ slog.Level, text string) {
		log = append(log, strings.TrimPrefix(text, "changed at the target: "))
	}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	give := func(what, database string) string {
		return fmt.Sprintf("GRANT %s ON %s TO %s", what, identifier(database), identifier(other))
	}
	wanted := []string{"the user " + other + " is created, as the second user of " + app,
		give("READ", changed), give("ALL PRIVILEGES", kept)}
	slices.Sort(log)
	if slices.Sort(wanted); !slices.Equal(log, wanted) {
		t.Errorf("reported %q, want %q", log, wanted)
	}
	grant("READ", taken, other)
	grant("WRITE", changed, other)
	log, r.Proofs = nil, []engine.Value{r.Current, r.Pending}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	wanted = []string{fmt.Sprintf("REVOKE ALL PRIVILEGES ON %s FROM %s", identifier(taken), identifier(other)),
		give("READ", changed)}
	if !slices.Equal(log, wanted) {
		t.Errorf("reported %q, want %q", log, wanted)
	}
	s, err := f.engine.open(f.value(f.User, f.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want, err := s.grants(enginetest.Within(t), app)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.grants(enginetest.Within(t), other)
	if err != nil || !maps.Equal(got, want) || got[kept] != "ALL PRIVILEGES" || got[changed] != "READ" ||
		got[taken] != "" {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// A server that requires no credentials would accept any pending password.
func TestVerifyRefusesAServerWithoutAuthentication(t *testing.T) {
	f := newFixture(t)
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// InfluxDB's response with auth-enabled = false.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"results": []any{map[string]any{
				"series": []series{{Columns: []string{"user", "admin"}, Values: [][]any{{"app", true}}}}}}})
	}))
	defer open.Close()
	host, port, _ := net.SplitHostPort(open.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	v := value(host, n, "app", "anything").WithJSON("ssl", []byte("false"))
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), &engine.Request{}, v),
		engine.TargetFailed, "no credentials")
}

func TestFormatOfTheSecret(t *testing.T) {
	long := strings.Repeat("x", 256)
	for value, want := range map[string]string{
		`{"engine":"influxdb","username":"a","password":"b"}`:                       "host is missing",
		`{"engine":"influxdb","host":"h","username":"a:b","password":"b"}`:          "colon",
		`{"engine":"influxdb","host":"h","username":"` + long + `","password":"b"}`: "255",
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
		x := &fixture{shared.InfluxDBServer, t, shared.engine}
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
