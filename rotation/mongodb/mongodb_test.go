package mongodb

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/pair"
)

// The server also answers clients before login, so a connection proves nothing.
func TestServerMustConfirmTheLogin(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	name := f.user("shop")
	r := f.bySuperuser("shop", name, "", "")
	if err := f.engine.Verify(enginetest.Within(t), r, f.value("shop", name, "first-"+name)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value("shop", name, "wrong")),
		engine.LoginRefused, name)
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value("shop", "nobody", "wrong")),
		engine.LoginRefused, "nobody")
	// dbname is where the user is defined.
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value("admin", name, "first-"+name)),
		engine.LoginRefused, `"admin"`)
	if d := time.Since(begin); d > 6*time.Second {
		t.Errorf("three refusals took %s", d)
	}
	if err := f.engine.Verify(enginetest.Within(t), r, f.value("admin", f.User, f.Password).
		WithJSON("dbname", []byte("null"))); err != nil {
		t.Errorf("without a dbname: %v", err)
	}
}

func TestMissingUserIsNotCreated(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
		enginetest.WantCause(t, change(enginetest.Within(t), f.bySuperuser("shop", "mistyped", "a", "b")),
			engine.InvalidSecret, "mistyped")
		enginetest.WantCause(t, change(enginetest.Within(t), f.toOther("shop", "mistyped", "mistyped_clone")),
			engine.InvalidSecret, "mistyped")
	}
	f.wantOpen("shop", "mistyped", "b", false)
}

func TestStrangerWithTheOtherNameIsNotTakenOver(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	name := f.user("shop")
	f.create("shop", name+"_clone", "the-stranger's")
	for _, r := range []*engine.Request{f.toOther("shop", name, name+"_clone"),
		f.toOther("shop", name+"_clone", name)} {
		for _, change := range []func(context.Context, *engine.Request) error{f.engine.DryRun, f.engine.Set} {
			err := change(enginetest.Within(t), r)
			enginetest.WantCause(t, err, engine.TakeoverRefused, "cannot be shown to belong")
		}
	}
	f.wantOpen("shop", name+"_clone", "the-stranger's", true)
	f.wantOpen("shop", name, "first-"+name, true)
	r := f.toOther("shop", name, name+"_clone")
	r.Proofs = []engine.Value{r.Current, r.Pending}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	f.wantOpen("shop", name+"_clone", "next-"+name+"_clone", true)
	f.wantOpen("shop", name, "first-"+name, true)
	// A user with the same name in another database is another user.
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), f.bySuperuser("admin", f.User, f.Password, "x")),
		engine.TakeoverRefused, "superuser itself")
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), f.toOther("admin", f.User, f.User+"_clone")),
		engine.TakeoverRefused, "itself")
}

func TestDryRunChangesNothing(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	name := f.user("shop")
	for _, r := range []*engine.Request{f.bySuperuser("shop", name, "first-"+name, "second"),
		f.toOther("shop", name, name+"_clone")} {
		if err := f.engine.DryRun(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
	}
	f.wantOpen("shop", name, "first-"+name, true)
	f.wantOpen("shop", name, "second", false)
	f.wantOpen("shop", name+"_clone", "next-"+name+"_clone", false)
}

// TestCommandOfAPair: the other user gets exactly the current one's roles, and the second one the mark. FerretDB stores
// neither, so the test checks only the command.
func TestCommandOfAPair(t *testing.T) {
	rich := &user{Name: "app", Roles: []role{{"readWrite", "shop"}, {"audit", "admin"}},
		Data: bson.D{{Key: "team", Value: "a"}}, Mechanisms: []string{"SCRAM-SHA-256"}}
	poor := &user{Name: "app"}
	marked := func(d bson.D) bson.D { return append(d, bson.E{Key: markField, Value: `second user of "app"`}) }
	roles := bson.A{bson.D{{Key: "role", Value: "readWrite"}, {Key: "db", Value: "shop"}},
		bson.D{{Key: "role", Value: "audit"}, {Key: "db", Value: "admin"}}}
	clone := *rich
	clone.Name, clone.Data = "app_clone", marked(bson.D{{Key: "team", Value: "b"}})
	old := &user{Name: "app_clone", Data: bson.D{{Key: markField, Value: "x"}, {Key: "team", Value: "b"}}}
	for name, c := range map[string]struct {
		verb           string
		current, other *user
		want           bson.D
		changes        []string
	}{
		"the second is created": {"createUser", rich, &user{Name: "app_clone"},
			bson.D{{Key: "createUser", Value: "app_clone"}, {Key: "mechanisms", Value: []string{"SCRAM-SHA-256"}},
				{Key: "pwd", Value: "p"}, {Key: "roles", Value: roles}, {Key: "customData", Value: marked(nil)}},
			[]string{`role "readWrite" on "shop" is granted to "app_clone"`,
				`role "audit" on "admin" is granted to "app_clone"`}},
		"the second is created from a plain user": {"createUser", poor, &user{Name: "app_clone"},
			bson.D{{Key: "createUser", Value: "app_clone"}, {Key: "pwd", Value: "p"},
				{Key: "roles", Value: bson.A{}}, {Key: "customData", Value: marked(nil)}}, nil},
		"the second loses what was taken from the first": {"updateUser", poor, &clone,
			bson.D{{Key: "updateUser", Value: "app_clone"}, {Key: "pwd", Value: "p"}, {Key: "roles", Value: bson.A{}}},
			[]string{`role "readWrite" on "shop" is revoked from "app_clone"`,
				`role "audit" on "admin" is revoked from "app_clone"`}},
		"an unmarked second user keeps its data": {"updateUser", poor, old,
			bson.D{{Key: "updateUser", Value: "app_clone"}, {Key: "pwd", Value: "p"}, {Key: "roles", Value: bson.A{}},
				{Key: "customData", Value: marked(bson.D{{Key: "team", Value: "b"}})}}, nil},
		"the first gets what the second has, without the mark": {"updateUser", &clone, poor,
			bson.D{{Key: "updateUser", Value: "app"}, {Key: "pwd", Value: "p"}, {Key: "roles", Value: roles}},
			[]string{`role "readWrite" on "shop" is granted to "app"`, `role "audit" on "admin" is granted to "app"`}},
		"the first loses everything": {"updateUser", &user{Name: "app_clone", Data: marked(nil)}, rich,
			bson.D{{Key: "updateUser", Value: "app"}, {Key: "pwd", Value: "p"}, {Key: "roles", Value: bson.A{}}},
			[]string{`role "readWrite" on "shop" is revoked from "app"`,
				`role "audit" on "admin" is revoked from "app"`}},
	} {
		got, _ := bson.MarshalExtJSON(command(c.verb, c.current, c.other, "p"), false, false)
		if want, _ := bson.MarshalExtJSON(c.want, false, false); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		if got := changes(c.current, c.other); !slices.Equal(got, c.changes) {
			t.Errorf("%s: reported %q, want %q", name, got, c.changes)
		}
	}
	// A mark counts only for the user that has it, and only for that first user's name.
	if !clone.marked("app") || clone.marked("boss") || rich.marked("app_clone") {
		t.Error("marks are not read as they are set")
	}
}

// TestPowers: powers are found in roles of roles and in custom roles. The answers have the format of usersInfo in
// MongoDB's manual.
func TestPowers(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"none": {`{"roles":[{"role":"readWrite","db":"shop"}],"inheritedRoles":[{"role":"readWrite","db":"shop"}],
			"inheritedPrivileges":[{"resource":{"db":"shop","collection":""},
				"actions":["find","insert","changeOwnPassword"]}]}`, ""},
		"a role": {`{"roles":[{"role":"dbOwner","db":"shop"}]}`, `dbOwner on "shop"`},
		"a role of a role": {`{"roles":[{"role":"team","db":"admin"}],
			"inheritedRoles":[{"role":"team","db":"admin"},{"role":"root","db":"admin"}]}`, `root on "admin"`},
		"an action of a custom role": {`{"roles":[{"role":"keepers","db":"admin"}],"inheritedPrivileges":[
			{"resource":{"db":"","collection":""},"actions":["viewUser","grantRole"]}]}`, `grantRole on ""`},
		"an action on everything": {`{"roles":[{"role":"all","db":"admin"}],"inheritedPrivileges":[
			{"resource":{"anyResource":true},"actions":["anyAction"]}]}`, "anyAction on everything"},
	} {
		var u user
		if err := bson.UnmarshalExtJSON([]byte(c.answer), false, &u); err != nil {
			t.Fatal(err)
		}
		got := u.powers()
		if c.want == "" && len(got) != 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
}

// known replaces what the server returns about users: FerretDB has no roles.
type known struct {
	target
	users map[string]*user
}

func (k known) Find(_ context.Context, name string) (*user, error) { return k.users[name], nil }

// A superuser changes no user with power over all databases and, without proof, no user with any power.
func TestAdministratorIsRefused(t *testing.T) {
	e := New(engine.TLSPolicy{})
	app, clone := []role{{"dbOwner", "shop"}}, []role{{"dbOwner", "shop"}}
	root := []role{{"root", "admin"}}
	for name, c := range map[string]struct {
		strategy    engine.Strategy
		proved      bool
		current     []role
		other       []role
		wantRefusal string
	}{
		"a single user":               {engine.SingleUser, true, app, nil, ""},
		"a single user without power": {engine.SingleUser, false, nil, nil, ""},
		"a single user without proof": {engine.SingleUser, false, app, nil,
			`"app" is an administrator: it has dbOwner on "shop"`},
		"a single administrator": {engine.SingleUser, true, root, nil,
			`"app" is an administrator: it has root on "admin"`},
		"a single administrator without proof": {engine.SingleUser, false, root, nil, `"app" is an administrator`},
		"a pair":                               {engine.AlternatingUsers, false, app, clone, ""},
		"a pair with an administrator": {engine.AlternatingUsers, true, root, clone,
			`"app" is an administrator`},
		"a second user who is an administrator": {engine.AlternatingUsers, true, app, root,
			`"app_clone", which would be the second user of "app", is an administrator`},
		"a second user with more power": {engine.AlternatingUsers, true, nil, clone,
			`is more powerful: it has dbOwner on "shop"`},
		"an owner of the database of all users": {engine.AlternatingUsers, true, []role{{"dbOwner", "admin"}}, nil,
			`"app" is an administrator`},
	} {
		v := engine.StringValue(`{"host":"h","username":"app","password":"p"}`)
		r := &engine.Request{Strategy: c.strategy, Current: v, Pending: v, Superuser: true}
		change := pair.Change{Kind: e.Kind(), Request: r, Superuser: "admin", Current: "app",
			Pending: "app", Rehearsal: true}
		if c.strategy == engine.AlternatingUsers {
			change.Pending = "app_clone"
			r.Pending = v.With("username", change.Pending)
		}
		if c.proved {
			r.Proofs = []engine.Value{r.Current, r.Pending}
		}
		users := map[string]*user{"app": {Name: "app", Roles: c.current},
			"app_clone": {Name: "app_clone", Roles: c.other, Data: bson.D{{Key: markField, Value: mark("app")}}}}
		err := pair.Apply(t.Context(), known{target{&session{}, change, engine.Target{}}, users}, change)
		if c.wantRefusal != "" {
			enginetest.WantCause(t, err, engine.TakeoverRefused, c.wantRefusal)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChangesAreReported(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	name := f.user("shop")
	var log []string
	r := f.toOther("shop", name, name+"_clone")
	r.Report = func(_ slog.Level, text string) { log = append(log, text) }
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	pending, _ := f.engine.Parse(r.Pending)
	c := pair.Change{Kind: f.engine.Kind(), Request: r, Current: name, Pending: pending.User}
	r.Proofs = []engine.Value{r.Current, r.Pending}
	users := map[string]*user{name: {Name: name}, pending.User: {Name: pending.User, Roles: []role{{"read", "shop"}}}}
	if err := f.engine.With(enginetest.Within(t), r.Login, func(s *session) error {
		return pair.Apply(enginetest.Within(t), known{target{s, c, pending}, users}, c)
	}); err != nil {
		t.Fatal(err)
	}
	wanted := []string{"changed at the target: the user " + pending.User + " is created, as the second user of " + name,
		fmt.Sprintf("changed at the target: role %q on %q is revoked from %q", "read", "shop", pending.User)}
	if !slices.Equal(log, wanted) {
		t.Errorf("reported %q, want %q", log, wanted)
	}
}

// TestPrivileges: the answers have the format of connectionStatus in MongoDB's manual.
func TestPrivileges(t *testing.T) {
	for name, c := range map[string]struct {
		rights string
		may    bool
	}{
		"nothing is revealed": {`[]`, true},
		"read only":           {`[{"resource":{"db":"shop","collection":""},"actions":["find"]}]`, false},
		"the action": {
			`[{"resource":{"db":"shop","collection":""},"actions":["find","changeOwnPassword"]}]`, true},
		"userAdmin": {`[{"resource":{"db":"shop","collection":""},"actions":["changePassword"]}]`,
			true},
		"userAdminAnyDatabase": {`[{"resource":{"db":"","collection":""},"actions":["changePassword"]}]`, true},
		"of another database": {`[{"resource":{"db":"other","collection":""},"actions":["changeOwnPassword"]}]`,
			false},
		"of a collection": {`[{"resource":{"db":"shop","collection":"c"},"actions":["changeOwnPassword"]}]`,
			false},
		"of the cluster":            {`[{"resource":{"cluster":true},"actions":["changeOwnPassword"]}]`, false},
		"anyAction on anything":     {`[{"resource":{"anyResource":true},"actions":["anyAction"]}]`, true},
		"the action by anyResource": {`[{"resource":{"anyResource":true},"actions":["changeOwnPassword"]}]`, true},
	} {
		var doc struct {
			Rights []privilege `bson:"rights"`
		}
		if err := bson.UnmarshalExtJSON([]byte(`{"rights":`+c.rights+`}`), false, &doc); err != nil {
			t.Fatal(err)
		}
		s := &session{target: engine.Target{User: "app", Database: "shop"}, rights: doc.Rights}
		err := s.itself()
		if c.may && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.may {
			enginetest.WantCause(t, err, engine.PrivilegeMissing, "may not change its own password")
		}
	}
}

func TestEveryFaultOfTheFormatIsReported(t *testing.T) {
	e := New(engine.TLSPolicy{})
	for value, words := range map[string][]string{
		`{"port":"x","username":"","password":""}`: {
			"host is missing", "username is missing", "password is missing", "port is not a number"},
		`{"host":"a,b","username":"u","password":"p"}`:                    {"not one host"},
		`{"host":"mongodb://h","username":"u","password":"p"}`:            {"not one host"},
		`{"host":"h","username":"u","password":"p","dbname":"$external"}`: {"$external"},
	} {
		_, err := e.Next(enginetest.Within(t), &engine.Request{Current: engine.StringValue(value)})
		for _, w := range words {
			enginetest.WantCause(t, err, engine.InvalidSecret, w)
		}
	}
}

func TestServerWithoutTLS(t *testing.T) {
	f := newFixture(t, ferretDBOptions{NoTLS: true})
	r := f.bySuperuser("admin", "", "", "")
	v := f.value("admin", f.User, f.Password)
	begin := time.Now()
	if err := f.engine.Verify(enginetest.Within(t), r, v); err == nil {
		t.Error("a server without TLS is accepted")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the failure took %s", d)
	}
	if err := f.engine.Verify(enginetest.Within(t), r, v.WithJSON("ssl", []byte("false"))); err != nil {
		t.Error(err)
	}
	lenient := New(engine.TLSPolicy{AllowPlaintext: true})
	if err := lenient.Verify(enginetest.Within(t), r, v); err != nil {
		t.Error(err)
	}
	if err := lenient.Verify(enginetest.Within(t), r, v.WithJSON("ssl", []byte("true"))); err == nil {
		t.Error(`"ssl": true permits plain text`)
	}
}

// A connection that breaks during the TLS handshake is not an answer from the server. A server that needs TLS gets no
// user name in plain text.
func TestBrokenConnectionIsNotAnAnswer(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	user := f.user("admin")
	p := testserver.Proxy(t, f.Addr())
	r := f.bySuperuser("admin", user, "first-"+user, "next-"+user)
	for _, v := range []*engine.Value{&r.Current, &r.Pending, &r.Login} {
		*v = v.WithJSON("port", fmt.Append(nil, p.Port))
	}
	var broken atomic.Int32
	p.Filter(func(c testserver.Chunk) bool {
		const handshake, question = 0x16, 52 // the length of a hello that names no user
		if !c.FromServer && c.Bytes[0] == handshake {
			broken.Add(1)
			return false
		}
		if !c.FromServer && (len(c.Bytes) > question || !bytes.Contains(c.Bytes, []byte("hello"))) {
			t.Errorf("%q is sent in plain text", c.Bytes)
		}
		return true
	})
	e := New(engine.TLSPolicy{AllowPlaintext: true, ExtraCAs: f.CA.PEM})
	enginetest.WantCause(t, e.Set(enginetest.Within(t), r), engine.Unreachable, "")
	if broken.Load() == 0 {
		t.Error("no connection was broken")
	}
}

func TestFailuresAreReportedPromptly(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	r := f.bySuperuser("admin", "", "", "")
	v := f.value("admin", f.User, f.Password)
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		engine *Engine
		v      engine.Value
		cause  engine.Cause
	}{
		"unknown CA":   {New(engine.TLSPolicy{AllowPlaintext: true}), v, engine.TLSFailed},
		"nobody":       {f.engine, v.WithJSON("port", []byte(strconv.Itoa(port))), engine.Unreachable},
		"no such name": {f.engine, v.With("host", "no-such-name.invalid"), engine.NameNotResolved},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			enginetest.WantCause(t, c.engine.Verify(enginetest.Within(t), r, c.v), c.cause, "")
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
	cert, err := f.CA.Issue("another.example")
	if err != nil {
		t.Fatal(err)
	}
	g := ferretDB(t, ferretDBOptions{CA: f.CA, Cert: cert})
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value("admin", g.User, g.Password).
		WithJSON("port", []byte(strconv.Itoa(g.Port)))), engine.TLSFailed, "not localhost")
}

// A server with preferTLS answers with and without TLS on one port, so a slow handshake is no reason for plain text.
func TestSlowHandshakeIsWaitedFor(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	var questions atomic.Int32
	port := testserver.Hostile(t, nil, func(c net.Conn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		if first[0] != 0x16 { // not a handshake
			questions.Add(1)
			_, _ = io.WriteString(c, "\x10\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\xdd\x07\x00\x00")
			return
		}
		time.Sleep(time.Second)
		behind, err := net.Dial("tcp", f.Addr())
		if err != nil {
			return
		}
		defer behind.Close()
		go func() { _, _ = io.Copy(c, behind) }()
		_, _ = io.Copy(behind, io.MultiReader(bytes.NewReader(first), c))
	})
	v := f.value("admin", f.User, f.Password).WithJSON("port", []byte(strconv.Itoa(port)))
	e := New(engine.TLSPolicy{AllowPlaintext: true, ExtraCAs: f.CA.PEM})
	if err := e.Verify(enginetest.Within(t), f.bySuperuser("admin", "", "", ""), v); err != nil {
		t.Error(err)
	}
	if n := questions.Load(); n > 0 {
		t.Errorf("%d connections without TLS", n)
	}
}

func TestHungServerIsAbandonedInTime(t *testing.T) {
	f := newFixture(t, ferretDBOptions{})
	proxy := testserver.Proxy(t, f.Addr())
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	stall := func(c testserver.Chunk) bool {
		if c.FromServer {
			<-end
		}
		return true
	}
	for name, port := range map[string]int{"hung": testserver.Blackhole(t), "stalled": proxy.Port} {
		proxy.Filter(stall)
		v := f.value("admin", f.User, f.Password).WithJSON("port", []byte(strconv.Itoa(port)))
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		begin := time.Now()
		err := f.engine.Verify(ctx, f.bySuperuser("admin", "", "", ""), v)
		cancel()
		enginetest.WantCause(t, err, engine.Unreachable, "in time")
		if d := time.Since(begin); d > 650*time.Millisecond {
			t.Errorf("%s: it took %s", name, d)
		}
	}
}

// The driver's Disconnect waits for a connection that it is opening and whose end it does not always request.
func TestConnectionEndsWithItsSession(t *testing.T) {
	silent := net.JoinHostPort("localhost", strconv.Itoa(testserver.Blackhole(t)))
	for name, config := range map[string]*tls.Config{"during the TLS handshake": {}, "while it is read": nil} {
		t.Run(name, func(t *testing.T) {
			ctx, end := context.WithCancelCause(t.Context())
			time.AfterFunc(100*time.Millisecond, func() { end(errors.New("over")) })
			begin := time.Now()
			conn, err := (&dialer{ctx, []*tls.Config{config}, end}).DialContext(context.Background(), "tcp", silent)
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if d := time.Since(begin); err == nil || d > 5*time.Second {
				t.Errorf("it ended after %s with %v", d, err)
			}
		})
	}
}

// Names and passwords are values in the protocol, never part of a command's text.
func FuzzNamesAndPasswords(f *testing.F) {
	for _, s := range []string{"a'b", `a"b\c`, "$where", "a.b", "ü€", "{}", "a b", "=,", "%41"} {
		f.Add(s)
	}
	fix := newFixture(f, ferretDBOptions{})
	f.Fuzz(func(t *testing.T, s string) {
		name := testserver.Unique("f-") + s
		if strings.ContainsRune(s, 0) || len(s) > 60 || strings.ToValidUTF8(s, "") != s {
			return // a secret cannot hold it
		}
		created := fix.command(enginetest.Within(t), "fuzz",
			bson.D{{Key: "createUser", Value: name}, {Key: "pwd", Value: "first"}, {Key: "roles", Value: bson.A{}}})
		if ok, err := fix.open(enginetest.Within(t), "fuzz", name, "first"); created != nil || err != nil || !ok {
			return // the server or the client does not accept the name
		}
		password := "second" + strings.Map(func(c rune) rune {
			if c > 126 || c < 32 {
				return -1 // SASLprep changes these
			}
			return c
		}, s)
		if err := fix.engine.Set(enginetest.Within(t), fix.bySuperuser("fuzz", name, "first", password)); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if ok, err := fix.open(enginetest.Within(t), "fuzz", name, password); err != nil || !ok {
			t.Fatalf("%q: the new password is accepted: %v, %v", name, ok, err)
		}
	})
}
