package rabbitmq

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

func TestOnlyTheNewPasswordOpensAMQP(t *testing.T) {
	f := newFixture(t)
	name := f.user("")
	if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "first-"+name, "second")); err != nil {
		t.Fatal(err)
	}
	if ok, err := f.amqp(name, "second"); !ok || err != nil {
		t.Errorf("the new password: %v, %v", ok, err)
	}
	if ok, err := f.amqp(name, "first-"+name); ok || err != nil {
		t.Errorf("the old password: %v, %v", ok, err)
	}
}

// Asked to change a user that does not exist, the API creates it.
func TestMistypedUserIsNotCreated(t *testing.T) {
	f := newFixture(t)
	name := testserver.Unique("mistyped-")
	for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
		enginetest.WantCause(t, change(enginetest.Within(t), f.bySuperuser(name, "a", "b")), engine.InvalidSecret, name)
	}
	if f.exists(name) {
		t.Error("the user exists")
	}
}

func TestTagsAndLimitsStay(t *testing.T) {
	f := newFixture(t)
	name := f.user("monitoring,custom tag")
	f.must("PUT", "/api/user-limits/"+name+"/max-connections", map[string]int{"value": 7})
	f.must("PUT", "/api/permissions/%2F/"+name, permission{"a", "b", "c"})
	before := f.show(name)
	if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "first-"+name, "second")); err != nil {
		t.Fatal(err)
	}
	after := f.show(name)
	if !slices.Equal(before.Tags, after.Tags) || len(after.Tags) != 2 {
		t.Errorf("tags %q, before %q", after.Tags, before.Tags)
	}
	var limits []struct{ Value map[string]int }
	if err := f.call(t.Context(), "GET", "/api/user-limits/"+name, nil, &limits); err != nil || len(limits) != 1 ||
		limits[0].Value["max-connections"] != 7 {
		t.Errorf("limits %v, %v", limits, err)
	}
	f.must("DELETE", "/api/user-limits/"+name+"/max-connections", nil)
	f.wantPermissions(name, map[string]permission{"/": {"a", "b", "c"}})
}

// wantPermissions compares a user's permissions on the server.
func (f *fixture) wantPermissions(name string, want map[string]permission) {
	f.t.Helper()
	s, err := f.engine.open(f.value(f.User, f.Password))
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.permissions(enginetest.Within(f.t), name); err != nil || !maps.Equal(got, want) {
		f.t.Errorf("the permissions of %s are %+v, %v; want %+v", name, got, err, want)
	}
}

func TestRepeatedSetSendsTheSameHash(t *testing.T) {
	f := newFixture(t)
	name := f.user("")
	var hashes []string
	for range 2 {
		if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "first-"+name, "second")); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, f.show(name).Hash)
	}
	if hashes[0] != hashes[1] {
		t.Error("the hashes differ")
	}
	r := f.bySuperuser(name, "second", "second")
	r.Version = "another"
	if h := (&user{Name: name}).with("second", r).Hash; h == hashes[0] {
		t.Error("another rotation has the same salt")
	}
}

func TestAlgorithmIsTheStrongest(t *testing.T) {
	f := newFixture(t)
	for _, stored := range []string{algorithm, "rabbit_password_hashing_sha256", "rabbit_password_hashing_md5"} {
		name := testserver.Unique("app-")
		f.must("PUT", "/api/users/"+name,
			map[string]string{"password_hash": base64.StdEncoding.EncodeToString(make([]byte, 36)),
				"hashing_algorithm": stored, "tags": "management"})
		if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "unknown", "second")); err != nil {
			t.Fatal(err)
		}
		if got := f.show(name).Algorithm; got != algorithm {
			t.Errorf("%s became %s", stored, got)
		}
		if err := f.engine.Verify(enginetest.Within(t), f.bySuperuser(name, "", ""),
			f.value(name, "second")); err != nil {
			t.Errorf("%s: %v", stored, err)
		}
	}
}

func TestReasonDecidesALogin(t *testing.T) {
	f := newFixture(t)
	for _, tags := range []string{"", "management", "administrator", "something else"} {
		name := f.user(tags)
		r := f.bySuperuser(name, "", "")
		if err := f.engine.Verify(enginetest.Within(t), r, f.value(name, "first-"+name)); err != nil {
			t.Errorf("tags %q: %v", tags, err)
		}
		enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value(name, "wrong")), engine.LoginRefused,
			name)
	}
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), f.bySuperuser("", "", ""),
		f.value("nobody", "wrong")), engine.LoginRefused, "nobody")
}

func TestOnlyAnAdministratorCanRotateItself(t *testing.T) {
	f := newFixture(t)
	for _, tags := range []string{"", "management", "policymaker,monitoring"} {
		name := f.user(tags)
		r := f.bySuperuser(name, "first-"+name, "second")
		r.Login, r.Superuser, r.SuperuserChanges = r.Current, false, false
		enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.PrivilegeMissing, "masterarn")
		enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.PrivilegeMissing, "administrator")
		enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, r.Current), engine.PrivilegeMissing,
			"administrator")
		r.Login = f.value(name, "wrong")
		enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.LoginRefused, name)
	}
}

func TestSuperuserChangesNoAdministrator(t *testing.T) {
	f := newFixture(t)
	boss := f.user("administrator")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), f.bySuperuser(boss, "first-"+boss, "x")),
		engine.TakeoverRefused, "administrator")
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), f.bySuperuser(f.User, f.Password, "x")),
		engine.TakeoverRefused, "superuser itself")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), f.toOther(boss, boss+"_clone")),
		engine.TakeoverRefused, "administrator")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), f.toOther(f.User, f.User+"_clone")),
		engine.TakeoverRefused, "itself")
	app := f.user("")
	f.must("PUT", "/api/users/"+app+"_clone", map[string]string{"password": "x", "tags": "administrator," + mark(app)})
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), f.toOther(app, app+"_clone")), engine.TakeoverRefused,
		"is an administrator")
}

func TestStrangerWithTheOtherNameIsNotTakenOver(t *testing.T) {
	f := newFixture(t)
	app := f.user("")
	f.must("PUT", "/api/users/"+app+"_clone", map[string]string{"password": "the-stranger's", "tags": "management"})
	before := f.show(app + "_clone")
	r := f.toOther(app, app+"_clone")
	for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
		enginetest.WantCause(t, change(enginetest.Within(t), r), engine.TakeoverRefused, mark(app))
	}
	after := f.show(app + "_clone")
	if after.Hash != before.Hash || !slices.Equal(after.Tags, before.Tags) {
		t.Error("the stranger was changed")
	}
	// This also holds in the other direction, where removing the suffix gives a stranger's name.
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), f.toOther(app+"_clone", app)), engine.TakeoverRefused,
		mark(app+"_clone"))
	// With proof the user is taken over.
	r.Proofs = []engine.Value{r.Current, r.Pending}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Error(err)
	}
	if !slices.Equal(f.show(app+"_clone").Tags, []string{mark(app)}) {
		t.Error("the proved user is not marked or kept an old tag")
	}
}

func TestUsersAreEqualAfterEveryAlternation(t *testing.T) {
	f := newFixture(t)
	app := f.user("management,audited")
	clone := app + "_clone"
	host := testserver.Unique("vhost/")
	f.must("PUT", path("vhosts", host), nil)
	f.must("PUT", path("permissions", "/", app), permission{"^a", "", ".*"})
	f.must("PUT", path("permissions", host, app), permission{"", "", ""})
	want := map[string]permission{"/": {"^a", "", ".*"}, host: {}}
	if err := f.engine.DryRun(enginetest.Within(t), f.toOther(app, clone)); err != nil {
		t.Fatal(err)
	}
	if f.exists(clone) {
		t.Fatal("the dry run created the second user")
	}
	for range 2 {
		if err := f.engine.Set(enginetest.Within(t), f.toOther(app, clone)); err != nil {
			t.Fatal(err)
		}
	}
	f.wantPermissions(clone, want)
	if got := f.show(clone).Tags; !slices.Equal(got, []string{"management", "audited", mark(app)}) {
		t.Errorf("tags %q", got)
	}
	if ok, err := f.amqp(clone, "next-"+clone); !ok || err != nil {
		t.Errorf("the second user's login: %v, %v", ok, err)
	}
	// While the second user is current, rights are revoked, granted and changed.
	f.must("DELETE", path("permissions", "/", clone), nil)
	f.must("PUT", path("permissions", host, clone), permission{".*", "", ""})
	f.must("PUT", path("users", clone), map[string]any{"password": "first-" + clone, "tags": "monitoring," + mark(app)})
	want = map[string]permission{host: {".*", "", ""}}
	for range 2 {
		if err := f.engine.Set(enginetest.Within(t), f.toOther(clone, app)); err != nil {
			t.Fatal(err)
		}
	}
	f.wantPermissions(app, want)
	if got := f.show(app).Tags; !slices.Equal(got, []string{"monitoring"}) {
		t.Errorf("tags %q", got)
	}
	if ok, err := f.amqp(clone, "first-"+clone); !ok || err != nil {
		t.Errorf("the current user's login: %v, %v", ok, err)
	}
}

// A second user that a crash left without rights and password is completed.
func TestIncompleteSecondUserIsCompleted(t *testing.T) {
	f := newFixture(t)
	app := f.user("management")
	f.must("PUT", path("permissions", "/", app), permission{"a", "b", "c"})
	f.must("PUT", path("users", app+"_clone"), map[string]string{"password_hash": "", "tags": mark(app)})
	if err := f.engine.Set(enginetest.Within(t), f.toOther(app, app+"_clone")); err != nil {
		t.Fatal(err)
	}
	f.wantPermissions(app+"_clone", map[string]permission{"/": {"a", "b", "c"}})
	if err := f.engine.Verify(enginetest.Within(t), f.toOther(app, app+"_clone"),
		f.value(app+"_clone", "next-"+app+"_clone")); err != nil {
		t.Error(err)
	}
}

// Alternating users with topic permissions or limits are refused before anything changes; a single user is not.
func TestTopicPermissionsAndLimitsOfAPairAreRefused(t *testing.T) {
	f := newFixture(t)
	for name, restrict := range map[string]func(user string){
		"topic": func(user string) {
			f.must("PUT", path("topic-permissions", "/", user),
				map[string]string{"exchange": "amq.topic", "write": "^x", "read": ".*"})
		},
		"limit": func(user string) {
			f.must("PUT", path("user-limits", user, "max-channels"), map[string]int{"value": 9})
		},
	} {
		app := f.user("")
		clone := app + "_clone"
		r := f.toOther(app, clone)
		if err := f.engine.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		before := f.show(clone)
		for _, user := range []string{clone, app} {
			restrict(user)
			for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
				enginetest.WantCause(t, change(enginetest.Within(t), r), engine.TargetFailed, user)
			}
		}
		if after := f.show(clone); after.Hash != before.Hash {
			t.Errorf("%s: the second user was changed", name)
		}
		if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(app, "first-"+app, "second")); err != nil {
			t.Errorf("%s of a single user: %v", name, err)
		}
	}
}

// A password can only be changed together with the tags. A tag that is removed while the rights are equalized does
// not come back.
func TestRemovedTagStaysRemoved(t *testing.T) {
	f := newFixture(t)
	for name, request := range map[string]func(app string) *engine.Request{
		"alternating": func(app string) *engine.Request { return f.toOther(app, app+"_clone") },
		"single":      func(app string) *engine.Request { return f.bySuperuser(app, "first-"+app, "second") },
	} {
		app := f.user("management,policymaker")
		r := request(app)
		requests := 0
		e := f.front(r, func(*http.Request) bool {
			if requests++; requests == 2 {
				f.must("PUT", "/api/users/"+app, map[string]string{"password": "first-" + app, "tags": "management"})
			}
			return false
		})
		if err := e.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		user, _ := r.Pending.Text("username")
		if u := f.show(user); u.has("policymaker") || !u.has("management") {
			t.Errorf("%s: the tags are %q", name, u.Tags)
		}
	}
}

// Sent as a string, such a tag would become two, one of them administrator.
func TestTagWithACommaStaysOne(t *testing.T) {
	f := newFixture(t)
	name := testserver.Unique("app-")
	want := []string{"audited,administrator"}
	f.must("PUT", "/api/users/"+name, map[string]any{"password": "first-" + name, "tags": want})
	if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "first-"+name, "second")); err != nil {
		t.Fatal(err)
	}
	if now := f.show(name); !slices.Equal(now.Tags, want) {
		t.Errorf("the tags are %q", now.Tags)
	}
}

func TestEveryFaultOfTheFormatIsReported(t *testing.T) {
	e := New(engine.TLSPolicy{})
	for value, words := range map[string][]string{
		`{"managementPort":"x","password":""}`: {
			"host is missing", "username is missing", "password is missing", "port is not a number"},
		`{"host":"h","username":"a:b","password":"p"}`: {"colon"},
		`{"host":"h","username":"..","password":"p"}`:  {`".."`},
		`{"host":"h/x","username":"a","password":"p"}`: {"not one host"},
		`["a"]`: {"not a JSON object"},
	} {
		_, err := e.Next(enginetest.Within(t), &engine.Request{Current: engine.StringValue(value)})
		for _, w := range words {
			enginetest.WantCause(t, err, engine.InvalidSecret, w)
		}
	}
	for name, port := range map[string]int{"rabbitmq": 15671, "amazonmq": 443} {
		got, err := parse(engine.StringValue(`{"host":"h","port":5671,"username":"a","password":"p"}`).
			With("engine", name))
		if err != nil || got.Port != port {
			t.Errorf("%s: port %d, %v; the port for clients is not the API's", name, got.Port, err)
		}
	}
}

// Names may have any other character, including those with a meaning in URLs.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a/b", "a%2Fb", "ü€", "a b", `q"'\`, "?x=1#f", "a..b",
		"%2e%2e", ";&", "+", "~", "\x01"} {
		f.Add(s)
	}
	fix := newFixture(f)
	f.Fuzz(func(t *testing.T, s string) {
		name := testserver.Unique("f-") + s
		body, err := json.Marshal(name)
		if err != nil || json.Unmarshal(body, &name) != nil || strings.Contains(name, ":") || len(name) > 240 ||
			strings.Contains(s, "\x00") {
			return // a secret cannot hold it, or it is refused
		}
		// A list of definitions creates the same user without a path.
		u := (&user{Name: name}).with("first", &engine.Request{})
		definitions := map[string]any{
			"users": []any{map[string]any{"name": name, "password_hash": u.Hash, "hashing_algorithm": u.Algorithm,
				"tags": ""}}}
		if err := fix.call(context.Background(), "POST", "/api/definitions", definitions, nil); err != nil {
			return // the server does not accept the name
		}
		if err := fix.engine.Set(enginetest.Within(t), fix.bySuperuser(name, "first", "second")); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := fix.engine.Verify(enginetest.Within(t), fix.bySuperuser(name, "", ""),
			fix.value(name, "second")); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	})
}

func TestServerWithoutTLS(t *testing.T) {
	s := newServer(t, true)
	f := &fixture{s, t, New(engine.TLSPolicy{})}
	v := f.value(s.User, s.Password)
	r := &engine.Request{SuperuserChanges: true}
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, v), engine.TLSFailed, "does not speak TLS")
	if err := f.engine.Verify(enginetest.Within(t), r, v.WithJSON("ssl", []byte("false"))); err != nil {
		t.Error(err)
	}
	lenient := New(engine.TLSPolicy{AllowPlaintext: true})
	if err := lenient.Verify(enginetest.Within(t), r, v); err != nil {
		t.Error(err)
	}
	enginetest.WantCause(t, lenient.Verify(enginetest.Within(t), r, v.WithJSON("ssl", []byte("true"))),
		engine.TLSFailed, "does not speak TLS")
}

func TestForeignCertificateIsRefused(t *testing.T) {
	f := newFixture(t)
	enginetest.WantCause(t, New(engine.TLSPolicy{AllowPlaintext: true}).
		Verify(enginetest.Within(t), f.bySuperuser("", "", ""), f.value(f.User, f.Password)), engine.TLSFailed, "CA")
}

func TestHungServerIsAbandonedInTime(t *testing.T) {
	f := newFixture(t)
	v := f.value(f.User, f.Password).WithJSON("managementPort", []byte(strconv.Itoa(testserver.Blackhole(t))))
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	enginetest.WantCause(t, f.engine.Verify(ctx, f.bySuperuser("", "", ""), v), engine.Unreachable, "in time")
	if d := time.Since(begin); d > 400*time.Millisecond {
		t.Errorf("it took %s", d)
	}
}

// TestAnswersOfOthers: a server in front of a broker, or in its place, must not be mistaken for it.
func TestAnswersOfOthers(t *testing.T) {
	var status int
	var body string
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer other.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(other.URL, "https://"), ":")
	pem := new(bytes.Buffer)
	fmt.Fprintf(pem, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n",
		base64.StdEncoding.EncodeToString(other.Certificate().Raw))
	e := New(engine.TLSPolicy{ExtraCAs: pem.Bytes()})
	v := engine.StringValue(fmt.Sprintf(
		`{"engine":"rabbitmq","host":%q,"managementPort":%s,"username":"app","password":"secret-word"}`, host, port))
	for _, c := range []struct {
		status int
		body   string
		cause  engine.Cause
	}{
		{401, `{"error":"not_authorized","reason":"Login failed"}`, engine.LoginRefused},
		{401, `{"error":"not_authorized","reason":"Not_Authorized"}`, engine.LoginRefused},
		{401, `{"error":"not_authorized","reason":"User can only log in via localhost"}`, engine.PrivilegeMissing},
		{401, `a proxy's page`, engine.PrivilegeMissing},
		{403, ``, engine.PrivilegeMissing},
		{302, ``, engine.TargetFailed},
		{404, `<html>`, engine.TargetFailed},
		{500, `{"reason":"oops"}`, engine.TargetFailed},
		{503, ``, engine.TargetFailed},
	} {
		status, body = c.status, c.body
		enginetest.WantCause(t, e.Verify(enginetest.Within(t), &engine.Request{SuperuserChanges: true}, v), c.cause, "")
		r := &engine.Request{Current: v, Pending: v, Login: v}
		enginetest.WantCause(t, e.Set(enginetest.Within(t), r), c.cause, "")
	}
	status, body = 200, `<html>welcome`
	enginetest.WantCause(t, e.Set(enginetest.Within(t), &engine.Request{Current: v, Pending: v, Login: v}),
		engine.TargetFailed, "unexpected answer")
	status, body = 200, `{"name":"somebody"}`
	enginetest.WantCause(t, e.Set(enginetest.Within(t), &engine.Request{Current: v, Pending: v, Login: v}),
		engine.TargetFailed, "another")
}
