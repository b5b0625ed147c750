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
	"reflect"
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
	if status, _ := f.Call(t, "GET", "/api/users/"+name, nil); status != 404 {
		t.Errorf("the user exists: status %d", status)
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
	f.wantRights(name, rights{{permissions, "/", ""}: permission{"a", "b", "c"},
		{limits, "max-connections", ""}: limit{7}})
}

// wantRights compares a user's rights on the server.
func (f *fixture) wantRights(name string, want rights) {
	f.t.Helper()
	s, err := f.engine.open(f.value(f.User, f.Password))
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	got, err := s.rights(enginetest.Within(f.t), name)
	if err != nil {
		f.t.Fatal(err)
	}
	if d := got.differ(want); len(d) > 0 {
		f.t.Errorf("the rights of %s differ in %s", name, d)
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

func TestAlgorithmOfTheUserIsKept(t *testing.T) {
	f := newFixture(t)
	for stored, want := range map[string]string{saltedSHA512: saltedSHA512, saltedSHA256: saltedSHA256,
		"rabbit_password_hashing_md5": saltedSHA256} {
		name := testserver.Unique("app-")
		f.must("PUT", "/api/users/"+name,
			map[string]string{"password_hash": base64.StdEncoding.EncodeToString(make([]byte, 36)),
				"hashing_algorithm": stored, "tags": "management"})
		if err := f.engine.Set(enginetest.Within(t), f.bySuperuser(name, "unknown", "second")); err != nil {
			t.Fatal(err)
		}
		if got := f.show(name).Algorithm; got != want {
			t.Errorf("%s became %s", stored, got)
		}
		if err := f.engine.Verify(enginetest.Within(t), f.bySuperuser(name, "", ""),
			f.value(name, "second")); err != nil {
			t.Errorf("%s: %v", want, err)
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
	f.must("PUT", path("topic-permissions", host, app), topic{"amq.topic", "^x", ".*"})
	f.must("PUT", path("topic-permissions", host, app), topic{"", "", "^y"})
	f.must("PUT", path("user-limits", app, "max-connections"), map[string]int{"value": 0})
	f.must("PUT", path("user-limits", app, "max-channels"), map[string]int{"value": 9})
	want := rights{
		{permissions, "/", ""}: permission{"^a", "", ".*"}, {permissions, host, ""}: permission{},
		{topics, host, "amq.topic"}: topic{"amq.topic", "^x", ".*"}, {topics, host, ""}: topic{"", "", "^y"},
		{limits, "max-connections", ""}: limit{0}, {limits, "max-channels", ""}: limit{9},
	}
	if err := f.engine.DryRun(enginetest.Within(t), f.toOther(app, clone)); err != nil {
		t.Fatal(err)
	}
	if status, _ := f.Call(t, "GET", "/api/users/"+clone, nil); status != 404 {
		t.Fatal("the dry run created the second user")
	}
	for range 2 {
		if err := f.engine.Set(enginetest.Within(t), f.toOther(app, clone)); err != nil {
			t.Fatal(err)
		}
	}
	f.wantRights(clone, want)
	if got := f.show(clone).Tags; !slices.Equal(got, []string{"management", "audited", mark(app)}) {
		t.Errorf("tags %q", got)
	}
	if ok, err := f.amqp(clone, "next-"+clone); !ok || err != nil {
		t.Errorf("the second user's login: %v, %v", ok, err)
	}
	// While the second user is current, rights are revoked, granted and changed.
	f.must("DELETE", path("permissions", "/", clone), nil)
	f.must("PUT", path("permissions", host, clone), permission{".*", "", ""})
	f.must("DELETE", path("topic-permissions", host, clone), nil)
	f.must("PUT", path("topic-permissions", "/", clone), topic{"amq.topic", "", ""})
	f.must("DELETE", path("user-limits", clone, "max-connections"), nil)
	f.must("PUT", path("user-limits", clone, "max-channels"), map[string]int{"value": 3})
	f.must("PUT", path("users", clone), map[string]any{"password": "first-" + clone, "tags": "monitoring," + mark(app)})
	want = rights{
		{permissions, host, ""}:      permission{".*", "", ""},
		{topics, "/", "amq.topic"}:   topic{"amq.topic", "", ""},
		{limits, "max-channels", ""}: limit{3},
	}
	for range 2 {
		if err := f.engine.Set(enginetest.Within(t), f.toOther(clone, app)); err != nil {
			t.Fatal(err)
		}
	}
	f.wantRights(app, want)
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
	f.wantRights(app+"_clone", rights{{permissions, "/", ""}: permission{"a", "b", "c"}})
	if err := f.engine.Verify(enginetest.Within(t), f.toOther(app, app+"_clone"),
		f.value(app+"_clone", "next-"+app+"_clone")); err != nil {
		t.Error(err)
	}
}

// A user with a permission and no topic permission may write every topic. So throughout a change, the second user,
// whose password works, has for each exchange either the old or the new topic permission.
func TestTopicPermissionsAreNeverAbsent(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", "/api/exchanges/%2f/second-topic", map[string]string{"type": "topic"})
	for name, c := range map[string]struct{ before, after []topic }{
		"narrowed":      {[]topic{{"amq.topic", "^public", ".*"}}, []topic{{"amq.topic", `^public\.a`, ".*"}}},
		"for the first": {nil, []topic{{"amq.topic", "^public", ".*"}}},
		"one taken away": {[]topic{{"amq.topic", "^public", ".*"}, {"second-topic", "^x", "^x"}},
			[]topic{{"amq.topic", "^public", ".*"}}},
		"another one":    {[]topic{{"second-topic", "^x", "^x"}}, []topic{{"amq.topic", "^public", ".*"}}},
		"all taken away": {[]topic{{"amq.topic", "^public", ".*"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			app := f.user("")
			clone := app + "_clone"
			f.must("PUT", path("permissions", "/", app), permission{"", ".*", ".*"})
			give := func(topics []topic) {
				for _, topic := range topics {
					f.must("PUT", path("topic-permissions", "/", app), topic)
				}
			}
			give(c.before)
			r := f.toOther(app, clone)
			if err := f.engine.Set(enginetest.Within(t), r); err != nil {
				t.Fatal(err)
			}
			// The administrator changes the rights of the current user.
			if c.before != nil {
				f.must("DELETE", path("topic-permissions", "/", app), nil)
			}
			give(c.after)
			may := func(user string) map[string]topic {
				var list []topic
				if err := f.call(t.Context(), "GET", path("users", user, "topic-permissions"), nil, &list); err != nil {
					t.Fatal(err)
				}
				out := map[string]topic{"amq.topic": anyTopic("amq.topic"), "second-topic": anyTopic("second-topic")}
				for _, topic := range list {
					out[topic.Exchange] = topic
				}
				return out
			}
			before, after := may(clone), may(app)
			look := func() {
				for exchange, topic := range may(clone) {
					if topic != before[exchange] && topic != after[exchange] {
						t.Errorf("during the change: %v", topic)
					}
				}
			}
			e := f.front(r, func(*http.Request) bool { look(); return false })
			if err := e.Set(enginetest.Within(t), r); err != nil {
				t.Fatal(err)
			}
			if got := may(clone); !maps.Equal(got, after) {
				t.Errorf("%v, want %v", got, after)
			}
		})
	}
}

// The permission of a virtual host is granted after the topic permissions that restrict it.
func TestTopicPermissionsComeBeforeThePermission(t *testing.T) {
	f := newFixture(t)
	app := f.user("")
	clone := app + "_clone"
	r := f.toOther(app, clone)
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	f.must("PUT", path("topic-permissions", "/", app), topic{"amq.topic", "^public", ".*"})
	f.must("PUT", path("permissions", "/", app), permission{"", ".*", ".*"})
	e := f.front(r, func(r *http.Request) bool {
		return r.Method == "PUT" && strings.Contains(r.URL.Path, "/topic-permissions/") // and nothing after it
	})
	enginetest.WantCause(t, e.Set(enginetest.Within(t), r), engine.TargetFailed, "503")
	s, err := f.engine.open(f.value(f.User, f.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rights, err := s.rights(t.Context(), clone)
	if _, given := rights[right{permissions, "/", ""}]; err != nil || given {
		t.Errorf("%+v, %v", rights, err)
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

// The API would turn such a tag into two.
func TestTagThatWouldBeSplitIsRefused(t *testing.T) {
	f := newFixture(t)
	const tag = "audited,administrator"
	name := testserver.Unique("app-")
	f.must("PUT", "/api/users/"+name, map[string]any{"password": "first-" + name, "tags": []string{tag}})
	before := f.show(name)
	r := f.bySuperuser(name, "first-"+name, "second")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.InvalidSecret, tag)
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.InvalidSecret, tag)
	if now := f.show(name); !reflect.DeepEqual(now, before) {
		t.Errorf("%+v became %+v", before.Tags, now.Tags)
	}
}

func TestEveryFaultOfTheFormatIsReported(t *testing.T) {
	e := New(engine.TLSPolicy{})
	for value, words := range map[string][]string{
		`{"managementPort":"x","password":""}`: {
			"host is missing", "username is missing", "password is missing", "port is not a number"},
		`{"host":"h","username":"a:b","password":"p"}`:                              {"colon"},
		`{"host":"h","username":"..","password":"p"}`:                               {`".."`},
		`{"host":"h/x","username":"a","password":"p"}`:                              {"not one host"},
		`{"host":"h","username":"` + strings.Repeat("u", 256) + `","password":"p"}`: {"255"},
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
		u := &user{Name: name, Hash: hash(saltedSHA256, []byte("salt"), "first"), Algorithm: saltedSHA256}
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
	s := testserver.RabbitMQ(t, testserver.RabbitMQOptions{NoTLS: true})
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

// RabbitMQ 3.8 returns tags as one string.
func TestTagsOfOlderVersions(t *testing.T) {
	var u user
	if err := json.Unmarshal([]byte(`{"name":"a","tags":"management, audited"}`), &u); err != nil ||
		!slices.Equal(u.Tags, []string{"management", "audited"}) {
		t.Errorf("%q, %v", u.Tags, err)
	}
	if err := json.Unmarshal([]byte(`{"tags":7}`), &u); err == nil {
		t.Error("a number is accepted as tags")
	}
}
