package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*testserver.RedisServer
	t      testing.TB
	admin  *redis.Client
	engine *Engine
}

func newFixture(t testing.TB, start start, o testserver.RedisOptions) *fixture {
	t.Helper()
	s := start(t, o)
	return &fixture{s, t, s.Connect(t), New(engine.TLSPolicy{ExtraCAs: s.CA.PEM}, nodesAt(t, "127.0.0.0/8"))}
}

// user creates a user whose password is "first-" and its name.
func (f *fixture) user(rights ...string) string {
	f.t.Helper()
	user := testserver.Unique("app-")
	command := []any{"ACL", "SETUSER", user, "on", ">first-" + user}
	for _, r := range rights {
		command = append(command, r)
	}
	f.do(command...)
	return user
}

func (f *fixture) do(command ...any) any {
	f.t.Helper()
	reply, err := f.admin.Do(context.Background(), command...).Result()
	if err != nil {
		f.t.Fatalf("%v: %v", command[:2], err)
	}
	return reply
}

func (f *fixture) restart() {
	f.t.Helper()
	if err := errors.Join(f.Halt(), f.Resume(enginetest.Within(f.t))); err != nil {
		f.t.Fatal(err)
	}
	f.admin = f.Connect(f.t)
}

// hashes returns the server's hashes of the user's passwords.
func (f *fixture) hashes(user string) (hashes []string) {
	f.t.Helper()
	account, _ := f.do("ACL", "GETUSER", user).(map[any]any)
	for _, p := range account["passwords"].([]any) {
		hashes = append(hashes, p.(string))
	}
	return hashes
}

func (f *fixture) wantPasswords(user string, passwords ...string) {
	f.t.Helper()
	var want []string
	for _, p := range passwords {
		want = append(want, hash(p))
	}
	got := f.hashes(user)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Errorf("the user has %d passwords, not exactly the %d wanted ones", len(got), len(want))
	}
}

func (f *fixture) value(user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"redis","host":%q,"port":%d}`, f.Host, f.Port)).
		With("username", user).With("password", password)
}

// request returns a request for the superuser to rotate between two passwords.
func (f *fixture) request(user, current, pending string) *engine.Request {
	return &engine.Request{Strategy: engine.SingleUser, Current: f.value(user, current),
		Pending: f.value(user, pending), Proofs: []engine.Value{f.value(user, current)},
		Login: f.value(f.User, f.Password), Superuser: true, SuperuserChanges: true}
}

// self returns a request for the user itself to rotate.
func (f *fixture) self(user, current, pending string) *engine.Request {
	r := f.request(user, current, pending)
	r.Login, r.Superuser, r.SuperuserChanges = r.Current, false, false
	return r
}

func TestSetLeavesThePendingAndTheCurrentPassword(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user := f.user("+ping")
	current := "first-" + user
	for _, pending := range []string{"second", "third", "fourth"} {
		for range 2 { // the second time changes nothing
			if err := f.engine.Set(enginetest.Within(t), f.request(user, current, pending)); err != nil {
				t.Fatal(err)
			}
			f.wantPasswords(user, current, pending)
		}
		current = pending
	}
}

// reports collects the engine's entries in the function's log.
func reports(r *engine.Request) *strings.Builder {
	var b strings.Builder
	r.Report = func(level slog.Level, text string) { fmt.Fprintln(&b, level, text) }
	return &b
}

// Removing passwords that others gave the user is reported, without quoting them.
func TestPasswordsOfOthersAreReported(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user := f.user("+ping", ">another-programs", ">and-a-third")
	r := f.request(user, "first-"+user, "second")
	log := reports(r)
	if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"INFO changed at the target: " + f.Addr(),
		"neither pending nor current are removed: 2"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	for _, p := range []string{"first-" + user, "second", "another-programs", "and-a-third"} {
		if strings.Contains(log.String(), hash(p)) || p != "second" && strings.Contains(log.String(), p) {
			t.Errorf("a password is in\n%s", log)
		}
	}
}

// Unsaved changes that others made on the server are saved with the change, and the log says so. With an ACL file,
// settings are not saved.
func TestWhatIsSavedWithTheChangeIsReported(t *testing.T) {
	for want, o := range map[string]testserver.RedisOptions{"ACL SAVE saves": {},
		"CONFIG REWRITE saves": {NoACLFile: true}} {
		f := newFixture(t, testserver.Redis, o)
		user := f.user("+ping")
		f.do("CONFIG", "SET", "maxmemory", "123mb")
		r := f.request(user, "first-"+user, "second")
		log := reports(r)
		if err := f.engine.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log)
		}
		conf, err := os.ReadFile(f.ConfigFile)
		if err != nil || strings.Contains(string(conf), "maxmemory ") != o.NoACLFile {
			t.Errorf("%s: the configuration has the temporary setting: %v, %v", want, !o.NoACLFile, err)
		}
	}
}

// Detecting a Sentinel requires one more right, but only for users that can serve one.
func TestRightToDetectASentinelIsNeededOnlyWhereOneCanBe(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	rights := []string{"+info", "+acl|getuser", "+acl|setuser", "+config|get", "+acl|save"}
	without, with := f.user(rights...), f.user(append(rights, "+client|list")...)
	for user, needed := range map[string]bool{f.user("+slaveof"): true, f.user("+@all", "-@dangerous"): false} {
		r := f.request(user, "first-"+user, "second")
		for admin, want := range map[string]bool{without: !needed, with: true} {
			r.Login = f.value(admin, "first-"+admin)
			if err := f.engine.DryRun(enginetest.Within(t), r); (err == nil) != want ||
				!want && !errors.Is(err, engine.PrivilegeMissing) {
				t.Errorf("needed %v, passes %v: %v", needed, want, err)
			}
		}
	}
}

// A Sentinel keeps its password, so a user that it logs in as cannot be rotated. Only such a user is refused, and no
// login without administrative rights can pose as a Sentinel.
func TestUserOfASentinelIsRefused(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{NoTLS: true})
	watched := f.user("+@all", "~*", "&*")
	plain := f.user("+@all", "-@dangerous", "~*", "&*")
	listed := func(name, user string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			for client := range strings.Lines(f.do("CLIENT", "LIST", "TYPE", "pubsub").(string)) {
				if strings.Contains(client, " name="+name) && strings.Contains(client, " user="+user+" ") {
					return
				}
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not listen", name)
			}
		}
	}
	rehearse := func(user string) error {
		v := func(password string) engine.Value { return f.value(user, password).WithJSON("ssl", []byte("false")) }
		login := f.value(f.User, f.Password).WithJSON("ssl", []byte("false"))
		return f.engine.DryRun(enginetest.Within(t), &engine.Request{Current: v("first-" + user), Pending: v("second"),
			Proofs: []engine.Value{v("first-" + user)}, Login: login, Superuser: true, SuperuserChanges: true})
	}
	if err := rehearse(watched); err != nil {
		t.Errorf("before there is a Sentinel: %v", err)
	}
	poser := f.Options(plain, "first-"+plain)
	poser.ClientName = "sentinel-01234567-pubsub"
	client := redis.NewClient(poser)
	defer client.Close()
	hello := client.Subscribe(t.Context(), "__sentinel__:hello")
	defer hello.Close()
	listed(poser.ClientName, plain)
	if err := rehearse(plain); err != nil {
		t.Errorf("a user that poses as a Sentinel: %v", err)
	}
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor it 127.0.0.1 %d 1\nsentinel auth-user it "+
		"%s\nsentinel auth-pass it first-%[4]s\n", port, filepath.Dir(conf), f.Port, watched)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := exec.Command("redis-server", conf, "--sentinel")
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sentinel.Process.Kill()
		_ = sentinel.Wait()
	}()
	listed("sentinel-", watched)
	enginetest.WantCause(t, rehearse(watched), engine.TargetFailed, "a Sentinel logs in as the user")
	if err := rehearse(plain); err != nil {
		t.Errorf("another user than the Sentinel's: %v", err)
	}
}

func TestSetKeepsAllButThePasswords(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user := f.user("+@read", "-hget", "+config|get", "~app:*", "%R~other:*", "&news.*", "(+set ~tmp:*)")
	rights := func() string {
		for _, line := range f.do("ACL", "LIST").([]any) {
			if fields := strings.Fields(line.(string)); fields[1] == user {
				return strings.Join(slices.DeleteFunc(fields, func(s string) bool { return strings.HasPrefix(s, "#") }),
					" ")
			}
		}
		return ""
	}
	before := rights()
	if err := f.engine.Set(enginetest.Within(t), f.request(user, "first-"+user, "second")); err != nil {
		t.Fatal(err)
	}
	if after := rights(); after != before || before == "" {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
}

// A leaked password that an operator removed must not come back.
func TestSetDoesNotRestoreARevokedPassword(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user := f.user("+ping")
	if err := f.engine.Set(enginetest.Within(t), f.request(user, "leaked", "second")); err != nil {
		t.Fatal(err)
	}
	f.wantPasswords(user, "second")
}

func TestConcurrentSets(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user := f.user("+ping")
	errs := make(chan error)
	for range 8 {
		go func() { errs <- f.engine.Set(enginetest.Within(t), f.request(user, "first-"+user, "second")) }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	f.wantPasswords(user, "first-"+user, "second")
}

// The rights on the engine's page suffice, each is needed, and a missing one is reported before anything changes.
func TestRightsOfAUserThatChangesItself(t *testing.T) {
	for _, c := range []struct {
		file testserver.RedisOptions
		save string
	}{{testserver.RedisOptions{}, "+acl|save"}, {testserver.RedisOptions{NoACLFile: true}, "+config|rewrite"}} {
		f := newFixture(t, testserver.Redis, c.file)
		all := []string{"+info", "+acl|getuser", "+acl|setuser", "+config|get", "+acl|dryrun", c.save}
		user := f.user(all...)
		r := f.self(user, "first-"+user, "second")
		if err := errors.Join(f.engine.Verify(enginetest.Within(t), r, r.Login),
			f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r),
			f.engine.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Fatal(err)
		}
		f.wantPasswords(user, "first-"+user, "second")
		for i, missing := range all {
			if missing == "+acl|dryrun" {
				continue // without it, a missing right to save is not detected
			}
			user := f.user(slices.Delete(slices.Clone(all), i, i+1)...)
			r := f.self(user, "first-"+user, "second")
			for step, err := range map[string]error{"DryRun": f.engine.DryRun(enginetest.Within(t), r),
				"Verify": f.engine.Verify(enginetest.Within(t), r, r.Login)} {
				if !errors.Is(err, engine.PrivilegeMissing) {
					t.Errorf("%s without %s: %v", step, missing, err)
				}
			}
			f.wantPasswords(user, "first-"+user)
		}
	}
}

func TestRefusedBeforeAnythingIsChanged(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	off, open := f.user("off"), f.user("nopass")
	typo := testserver.Unique("typo-")
	before := f.do("ACL", "LIST")
	for _, c := range []struct {
		user, want string
	}{{typo, "does not exist"}, {off, "is disabled"}, {open, "any password"}} {
		r := f.request(c.user, "first-"+c.user, "second")
		for step, err := range map[string]error{"DryRun": f.engine.DryRun(enginetest.Within(t), r),
			"Set": f.engine.Set(enginetest.Within(t), r)} {
			if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", step, err, c.want)
			}
		}
	}
	if after := f.do("ACL", "LIST"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the users were changed")
	}
}

// A wrong password, an unknown user and a disabled one look the same.
func TestLoginRefused(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	user, off := f.user("+ping"), f.user("off")
	r := f.request(user, "first-"+user, "second")
	for name, v := range map[string]engine.Value{"a wrong password": f.value(user, "wrong"),
		"no such user": f.value("nobody", "wrong"), "off": f.value(off, "first-"+off)} {
		if err := f.engine.Verify(enginetest.Within(t), r, v); !errors.Is(err, engine.LoginRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.engine.Verify(enginetest.Within(t), r, r.Current); err != nil {
		t.Error(err)
	}
	r.Login = f.value(f.User, "wrong")
	if err := f.engine.Set(enginetest.Within(t), r); !errors.Is(err, engine.LoginRefused) {
		t.Errorf("a superuser's wrong password: %v", err)
	}
	mute := f.user("+get")
	if err := f.engine.Verify(enginetest.Within(t), r, f.value(mute, "first-"+mute)); err != nil {
		t.Errorf("a user that may not PING: %v", err)
	}
}

func TestForm(t *testing.T) {
	e := New(engine.TLSPolicy{}, Nodes{})
	for _, c := range []struct{ value, want string }{
		{`{"engine":"redis","host":"a b","port":"x","username":"u"}`,
			"host is not one host name or address, password is missing, port is not a number"},
		{`{"engine":"redis","password":"p"}`, "host is missing"},
		{`{"engine":"redis","host":"h","username":{},"password":"p"}`, "username is not text"},
		{`text`, "not a JSON object"},
	} {
		_, err := e.Next(context.Background(), &engine.Request{Current: engine.StringValue(c.value)})
		if !errors.Is(err, engine.InvalidSecret) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.value, err)
		}
	}
	for _, name := range []string{``, `"username":null,`, `"username":"",`} {
		if l, err := parse(engine.StringValue(`{` + name + `"host":"h","password":"p"}`)); err != nil ||
			l.User != "default" || l.Port != 6379 {
			t.Errorf("%s: %v %v", name, l, err)
		}
	}
}

// files are the places where a server may store its users.
var files = map[string]testserver.RedisOptions{
	"a file of users":                   {},
	"the configuration":                 {NoACLFile: true},
	"a file of users, with requirepass": {Users: "user default on >first +@all ~* &*", Config: "requirepass first"},
	"the configuration, and requirepass": {NoACLFile: true, Users: "user default on >first +@all ~* &*",
		Config: "requirepass first"},
}

func TestRestartKeepsTheChange(t *testing.T) { restart(t, testserver.Redis) }

func restart(t *testing.T, start start) {
	for name, o := range files {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, start, o)
			user := f.user("+ping")
			first := "first-" + user
			if o.Config != "" {
				user, first = "default", "first"
			}
			for _, r := range []*engine.Request{f.request(user, first, "second"), f.request(user, "second", "third")} {
				if err := f.engine.Set(enginetest.Within(t), r); err != nil {
					t.Fatal(err)
				}
			}
			f.restart()
			f.wantPasswords(user, "second", "third")
			for password, works := range map[string]bool{first: false, "second": true, "third": true} {
				err := open(enginetest.Within(t), f.RedisServer, user, password)
				if (err == nil) != works || !works && !errors.Is(err, engine.LoginRefused) {
					t.Errorf("after a restart %s: %v", password, err)
				}
			}
		})
	}
}

// The user "default" rotates itself, with requirepass as its first password and no name in the secret.
func TestRequirepassRotatesItself(t *testing.T) {
	f := newFixture(t, testserver.Redis, testserver.RedisOptions{
		NoACLFile: true, Users: "user default on >first +@all ~* &*", Config: "requirepass first"})
	v := engine.StringValue(fmt.Sprintf(`{"engine":"redis","host":%q,"port":%d,"password":"first"}`, f.Host, f.Port))
	r := &engine.Request{Strategy: engine.SingleUser, Current: v, Pending: v.With("password", "second"), Login: v}
	if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r),
		f.engine.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
		t.Fatal(err)
	}
	f.wantPasswords("default", "first", "second")
	// Log in like a client that knows no users: AUTH with one argument.
	client := redis.NewClient(f.Options("", "second"))
	defer client.Close()
	if err := client.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}

func TestFailedSaveIsReportedAndRepaired(t *testing.T) {
	for name, o := range map[string]testserver.RedisOptions{"ACL SAVE": {}, "CONFIG REWRITE": {NoACLFile: true}} {
		f := newFixture(t, testserver.Redis, o)
		user := f.user("+ping")
		r := f.request(user, "first-"+user, "second")
		if err := os.Chmod(f.Dir, 0o500); err != nil {
			t.Fatal(err)
		}
		err := f.engine.Set(enginetest.Within(t), r)
		if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		f.wantPasswords(user, "first-"+user, "second")
		if err := os.Chmod(f.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := f.engine.Set(enginetest.Within(t), r); err != nil {
			t.Error(err)
		}
		f.restart()
		f.wantPasswords(user, "first-"+user, "second")
	}
}

// Neither the password nor its hash is in a log, in what MONITOR shows others, in the slow log or in an error.
func TestNothingLeaks(t *testing.T) { leaks(t, testserver.Redis) }

func leaks(t *testing.T, start start) {
	f := newFixture(t, start, testserver.RedisOptions{
		Config: "loglevel debug\nslowlog-log-slower-than 0\nslowlog-max-len 10000"})
	user := f.user("+ping")
	watcher, err := tls.Dial("tcp", f.Addr(), f.CA.ClientTLS(f.Host))
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	fmt.Fprintf(watcher, "AUTH %s %s\r\nMONITOR\r\n", f.User, f.Password)
	lines := bufio.NewScanner(watcher)
	// Once a mark is shown, everything before it has been shown.
	wait := func(mark string) (text string) {
		f.do("ECHO", mark)
		for !strings.Contains(text, mark) {
			if !lines.Scan() {
				t.Fatalf("MONITOR ends: %v", lines.Err())
			}
			text += lines.Text() + "\n"
		}
		return text
	}
	for range 2 { // the answers to AUTH and MONITOR
		if !lines.Scan() || lines.Text() != "+OK" {
			t.Fatal("MONITOR does not begin")
		}
	}
	wait("begin-of-test")
	const password = "the-Secret-Passw0rd"
	r := f.request(user, "first-"+user, password)
	if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r),
		f.engine.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
		t.Fatal(err)
	}
	text := wait("end-of-test")
	log, err := f.Logs()
	if err != nil {
		t.Fatal(err)
	}
	slow := fmt.Sprint(f.do("SLOWLOG", "GET", "10000"))
	if !strings.Contains(slow, "SETUSER") || log == "" {
		t.Fatal("the logs do not show what they should")
	}
	refused := f.engine.Set(enginetest.Within(t), f.self(user, password, "the-Secret-Passw0rd-2"))
	text += log + slow + fmt.Sprint(refused)
	for _, secret := range []string{password, hash(password), hash("the-Secret-Passw0rd-2"),
		"first-" + user, hash("first-" + user)} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("shown: %.80s", text[max(i-60, 0):i])
		}
	}
}

func TestTLS(t *testing.T) {
	secure := newFixture(t, testserver.Redis, testserver.RedisOptions{})
	plain := newFixture(t, testserver.Redis, testserver.RedisOptions{NoTLS: true})
	other, err := secure.CA.Issue("elsewhere.example")
	if err != nil {
		t.Fatal(err)
	}
	wrong := testserver.Redis(t, testserver.RedisOptions{CA: secure.CA, Cert: other, Password: secure.Password})
	for _, c := range []struct {
		name     string
		server   *testserver.RedisServer
		ssl      string
		trusted  bool
		fallback bool
		want     engine.Cause // "" for success
	}{
		{"verified", secure.RedisServer, "", true, false, ""},
		{"verified, asked for", secure.RedisServer, "true", true, false, ""},
		{"verified, fallback allowed", secure.RedisServer, "", true, true, ""},
		{"unknown CA", secure.RedisServer, "", false, false, engine.TLSFailed},
		{"unknown CA, fallback allowed", secure.RedisServer, "", false, true, engine.TLSFailed},
		{"another's certificate", wrong, "", true, true, engine.TLSFailed},
		{"plain text by name, server with TLS", secure.RedisServer, "false", true, false, engine.Unreachable},
		{"server without TLS", plain.RedisServer, "", true, false, engine.TLSFailed},
		{"server without TLS, fallback allowed", plain.RedisServer, "", true, true, ""},
		{"server without TLS, asked for", plain.RedisServer, "true", true, true, engine.TLSFailed},
		{"server without TLS, plain text by name", plain.RedisServer, "false", true, false, ""},
	} {
		policy := engine.TLSPolicy{AllowPlaintext: c.fallback}
		if c.trusted {
			policy.ExtraCAs = secure.CA.PEM
		}
		v := engine.StringValue(fmt.Sprintf(`{"host":%q,"port":%d,"username":%q,"password":%q,"ssl":%q}`, c.server.Host,
			c.server.Port, c.server.User, c.server.Password, c.ssl))
		err := New(policy, Nodes{}).Verify(enginetest.Within(t), &engine.Request{}, v)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if c.server == plain.RedisServer && c.want != "" && !strings.Contains(err.Error(), `set "ssl": false`) {
			t.Errorf("%s: %v does not say how to do without TLS", c.name, err)
		}
	}
}

func TestHungServerDoesNotBlock(t *testing.T) {
	port := testserver.Blackhole(t)
	for _, ssl := range []string{"true", "false"} {
		v := engine.StringValue(fmt.Sprintf(`{"host":"localhost","port":%d,"username":"u","password":"p","ssl":%q}`,
			port, ssl))
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		begin := time.Now()
		err := New(engine.TLSPolicy{}, Nodes{}).Verify(ctx, &engine.Request{}, v)
		cancel()
		if took := time.Since(begin); took > 3*time.Second || !errors.Is(err, engine.Unreachable) {
			t.Errorf("ssl %s: %v after %s", ssl, err, took)
		}
	}
}

// Arguments with any characters reach the server unchanged.
func FuzzPasswordArrivesUnchanged(f *testing.F) {
	server := newFixture(f, testserver.Redis, testserver.RedisOptions{})
	for _, p := range []string{"pass word", "a\r\n$3\r\nb", `">#!<'`, "ümläut€", "\x01\x7f", "resetpass", "nopass",
		strings.Repeat("x", 4096)} {
		f.Add(p)
	}
	user := server.user("+ping")
	f.Fuzz(func(t *testing.T, password string) {
		server := *server
		server.t = t
		// A server accepts no argument of more than 16 kB before the login.
		if password == "" || len(password) > 16<<10 || strings.ContainsRune(password, 0) ||
			strings.ToValidUTF8(password, "") != password {
			return // JSON cannot hold it, or the format forbids it
		}
		server.do("ACL", "SETUSER", user, "resetpass")
		r := server.request(user, "other", password)
		if err := server.engine.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		if err := open(enginetest.Within(t), server.RedisServer, user, password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
		if err := server.engine.Verify(enginetest.Within(t), r, r.Pending); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	})
}
