package enginetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/rotation/pair"
)

// toyServer is a TCP server with users, passwords and one right. It answers OK, NO to a refused login, or ERR. It
// imitates no product: it exists to test the suite with engines that are wrong on purpose.
type toyServer struct {
	mu     sync.Mutex
	users  map[string]*toyUser
	log    strings.Builder
	listen net.Listener
	// lag is how many logins with a new password the server refuses, like a replica.
	lag int
	// remembers means that users may not reuse a password.
	remembers bool
}

type toyUser struct {
	passwords []string // newest first
	right     bool
	table     bool // may use what the application created
	old       []string

	administrator, claimed, locked bool // claimed and locked by strangers
}

func newToyServer(t testing.TB) *toyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &toyServer{
		users: map[string]*toyUser{"admin": {passwords: []string{"admin-password"}, right: true}}, listen: l,
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *toyServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	who := ""
	for in.Scan() {
		words := append(strings.Fields(in.Text()), "", "", "")
		s.mu.Lock()
		answer := s.command(who, words)
		s.mu.Unlock()
		if words[0] == "LOGIN" {
			who = words[1]
		}
		fmt.Fprintln(conn, answer)
	}
}

func (s *toyServer) command(who string, w []string) string {
	u := s.users[w[1]]
	switch w[0] {
	case "LOGIN": // user password
		if u == nil || !slices.Contains(u.passwords, w[2]) {
			return "NO"
		}
		if s.lag > 0 && len(u.old) > 0 {
			s.lag--
			return "NO"
		}
		return "OK"
	case "LIST": // user: lists its passwords, as other systems list hashes
		return "OK " + strings.Join(u.passwords, " ")
	case "SET": // user password ...: sets exactly these
		if u == nil {
			u = &toyUser{}
			s.users[w[1]] = u
		}
		if s.remembers && who != "admin" && slices.Contains(u.old, w[2]) {
			return "USED"
		}
		u.old = append(u.old, u.passwords...)
		u.passwords = slices.DeleteFunc(slices.Clone(w[2:]), func(p string) bool { return p == "" })
		return "OK"
	case "MINT": // user name: issues a password that begins with the name
		u.passwords = append([]string{w[2] + "." + rand.Text()}, u.passwords...)
		return "OK " + u.passwords[0]
	case "GRANT": // user
		if u == nil {
			s.users[w[1]] = &toyUser{right: true}
		} else {
			u.right = true
		}
		return "OK"
	case "LEND", "GIVE": // user user: the table
		u.table, s.users[w[2]].table = w[0] == "LEND", u.table
		return "OK"
	case "SHOW": // user: shows everything but its passwords
		if u == nil {
			return "NONE"
		}
		return fmt.Sprintf("OK administrator=%v claimed=%v locked=%v silent=%v", u.administrator, u.claimed,
			u.locked, len(u.passwords) == 0)
	case "NOTE": // writes to the server's log
		s.log.WriteString(strings.Join(w[1:], " ") + "\n")
		return "OK"
	}
	return "ERR"
}

// toyEngine is correct, apart from the flaw that a test gives it.
type toyEngine struct {
	overlap bool // the server keeps both passwords
	ask     bool // whether it does is not known in advance
	flaw    string
	// verified, if set, is called after every login that Verify tries.
	verified func()
}

func (e toyEngine) Kind() engine.Kind {
	overlap := engine.OneAtATime
	switch {
	case e.ask:
		overlap = engine.AskTarget
	case e.overlap || e.flaw == "claims an overlap":
		overlap = engine.BothWork
	}
	return engine.Kind{
		Overlap: overlap,
		Names:   []string{"toy"}, UserField: "username", SecretFields: []string{"password"},
		CloneSuffix: "_clone", CloneLimit: 63,
		Passwords: engine.PasswordPolicy{Length: 32, ExcludePunctuation: true, RequireEachIncludedType: true},
	}
}

func (e toyEngine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	v, err := pair.Next(e.Kind(), r, func(v engine.Value) (engine.Target, error) {
		return engine.ParseTarget(v, 1, "")
	})
	if e.flaw == "drops unknown fields" {
		v = engine.StringValue(strings.Replace(string(v.Reveal()), `"unknown"`, `"unknown2"`, 1))
	}
	return v, err
}

// toySession is a login.
type toySession struct {
	conn   net.Conn
	in     *bufio.Reader
	target engine.Target
	engine toyEngine
}

func (e toyEngine) login(ctx context.Context, v engine.Value) (*toySession, error) {
	t, err := engine.ParseTarget(v, 1, "")
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address())
	s := &toySession{conn: conn, target: t, engine: e}
	if err != nil {
		return nil, s.failed(err)
	}
	s.in = bufio.NewReader(conn)
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	answer, err := s.send("LOGIN", t.User, t.Password)
	if err == nil && answer == "NO" && e.flaw != "verifies nothing" {
		err = engine.Errorf(engine.LoginRefused, "check the password", "the toy refuses %q", t.User)
	}
	if err == nil && answer != "OK" && answer != "NO" {
		err = fmt.Errorf("the toy's answer of %d characters is invalid", len(answer))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *toySession) failed(err error) error {
	if s.engine.flaw == "takes an error for a refusal" {
		return engine.Errorf(engine.LoginRefused, "", "no login: %w", err)
	}
	if e := engine.NetworkError(s.target, err); e != nil {
		return e
	}
	return err
}

func (s *toySession) send(words ...string) (string, error) {
	if _, err := fmt.Fprintln(s.conn, strings.Join(words, " ")); err != nil {
		return "", s.failed(err)
	}
	answer, err := s.in.ReadSlice('\n') // at most the buffer's size
	if s.engine.flaw == "reads without a bound" {
		answer, err = s.in.ReadBytes('\n')
	}
	if err != nil {
		return "", s.failed(err)
	}
	return strings.TrimSuffix(string(answer), "\n"), nil
}

func (e toyEngine) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	s, err := e.login(ctx, v)
	if e.verified != nil {
		e.verified()
	}
	if err != nil {
		return err
	}
	return s.conn.Close()
}

func (e toyEngine) Set(ctx context.Context, r *engine.Request) error {
	s, err := e.login(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	pending, err := engine.ParseTarget(r.Pending, 1, "")
	if err != nil {
		return err
	}
	current, err := engine.ParseTarget(r.Current, 1, "")
	if err != nil {
		return err
	}
	if r.KeepCurrent && !e.overlap && e.flaw != "does not keep the old one" {
		return engine.ErrOneAtATime
	}
	if err := e.mayChange(ctx, s, r, current.User, pending.User); err != nil {
		return err
	}
	passwords := []string{pending.Password}
	if e.overlap {
		passwords = append(passwords, current.Password)
	}
	grant := func() error {
		if r.Strategy != engine.AlternatingUsers {
			return nil
		}
		if _, err := s.send("GRANT", pending.User); err != nil {
			return err
		}
		return e.share(s, current.User, pending.User)
	}
	switch e.flaw {
	case "sets nothing", "sets nothing, with an overlap":
		return nil
	case "shows the password":
		if _, err := s.send("NOTE", "setting", pending.Password); err != nil {
			return err
		}
	case "a retry loses the old one":
		// The newest becomes the second, even if it is the pending one.
		list, err := s.send("LIST", pending.User)
		if err != nil {
			return err
		}
		passwords = append(passwords[:1], strings.Fields(list)[1])
	case "sets the password before the rights":
		probe, err := e.login(ctx, r.Pending)
		if err == nil {
			return probe.conn.Close() // the change must already be complete
		}
		if !errors.Is(err, engine.LoginRefused) {
			return err
		}
		if _, err := s.send("SET", pending.User, pending.Password); err != nil {
			return err
		}
		return grant()
	case "sets something else each time":
		passwords[0] += fmt.Sprint(time.Now().UnixNano())
	case "makes the change first":
		// The old password is removed before the new one is set.
		if _, err := s.send("SET", pending.User, "nobody-knows"); err != nil {
			return err
		}
	}
	if err := grant(); err != nil {
		return err
	}
	answer, err := s.send(append([]string{"SET", pending.User}, passwords...)...)
	if answer == "USED" {
		return engine.Errorf(engine.PolicyRejected, "", "the toy remembers this password")
	}
	return err
}

// toyMinter is an engine whose passwords the server issues.
type toyMinter struct{ toyEngine }

func (e toyMinter) Kind() engine.Kind {
	k := e.toyEngine.Kind()
	k.Overlap = engine.BothWork
	return k
}

func (e toyMinter) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return r.Current, nil
}

func (e toyMinter) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	s, err := e.login(ctx, r.Login)
	if err != nil {
		return engine.Value{}, err
	}
	defer s.conn.Close()
	user, _ := r.Current.Text("username")
	// First revoke what an earlier attempt created, and everything older than current. This prevents orphans.
	current, _ := r.Current.Text("password")
	if e.flaw != "mints twice" {
		if _, err := s.send("SET", user, current); err != nil {
			return engine.Value{}, err
		}
	}
	answer, err := s.send("MINT", user, r.Version)
	return r.Current.With("password", strings.TrimPrefix(answer, "OK ")), err
}

func (e toyMinter) Set(ctx context.Context, r *engine.Request) error {
	return e.Verify(ctx, r, r.Login)
}

func (e toyMinter) Revoke(ctx context.Context, r *engine.Request) error {
	s, err := e.login(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	user, _ := r.Current.Text("username")
	password, _ := r.Current.Text("password")
	_, err = s.send("SET", user, password)
	return err
}

// mintingHarness creates users for toyMinter.
type mintingHarness struct{ toyHarness }

func (h *mintingHarness) Engine() engine.Engine { return toyMinter{h.engine} }
func (h *mintingHarness) Traits() Traits        { return Traits{Overlap: true} }

func (h *mintingHarness) Strays(_ context.Context, versions []engine.Value) ([]string, error) {
	user, _ := versions[0].Text("username")
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	var strays []string
	for _, p := range h.server.users[user].passwords {
		if !slices.ContainsFunc(versions, func(v engine.Value) bool { s, _ := v.Text("password"); return s == p }) {
			strays = append(strays, p[:4]) // the beginning of a version's id
		}
	}
	return strays, nil
}

func TestMintedValuesLeaveNoOrphan(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	for flaw, want := range map[string]string{"": "", "mints twice": "credentials that are in no version"} {
		h := &mintingHarness{toyHarness{server: newToyServer(t), engine: toyEngine{flaw: flaw}}}
		got := failures(t, sweep, h)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %q", flaw, got, want)
		}
		got = failures(t, leftBehind, h)
		if (got == "") != (want == "") || want != "" && !strings.Contains(got, "the target still has") {
			t.Errorf("%q: left behind: %s", flaw, got)
		}
	}
}

// TestLateMinterIsCaught: if the toy's call is late with its own password, it revokes the one that another call stored.
func TestLateMinterIsCaught(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	got := failures(t, late, &mintingHarness{toyHarness{server: newToyServer(t)}})
	if !strings.Contains(got, "locked out") {
		t.Errorf("%q, want a lock-out", got)
	}
}

// TestRecoverGivesTheLabelBackToARotationUnderWay: finishSecret changes the target and dies after
// recover has seen that only current opens the target, and before it removes AWSPENDING.
func TestRecoverGivesTheLabelBackToARotationUnderWay(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, token := begun(t, h, 3)
	asked := 0
	h.engine.verified = func() {
		if asked++; asked < 2 {
			return
		}
		h.engine.verified = nil
		if err := w.gap(token); err != nil {
			t.Error(err)
		}
	}
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Recover(t.Context(), r, w.arn); !errors.Is(err, engine.LoginRefused) {
		t.Errorf("recover: %v, want a refusal", err)
	}
	if err := w.notLockedOut(); err != nil {
		t.Error(err)
	}
	if err := w.step(t.Context(), rotation.FinishSecret, token); err != nil {
		t.Fatal(err)
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}

// slowHarness is a target that completes the change of a dead rotation between two logins: it sets
// the first password that it refuses.
type slowHarness struct {
	toyHarness
	changed bool
}

func (h *slowHarness) Open(ctx context.Context, v engine.Value) error {
	err := h.toyHarness.Open(ctx, v)
	if err == nil || h.changed {
		return err
	}
	h.changed = true
	return errors.Join(err, h.Restore(ctx, v))
}

// TestChangeBetweenTwoLoginsIsNoLockOut: neither version opens the target when it is tried, but at
// every moment one of them would.
func TestChangeBetweenTwoLoginsIsNoLockOut(t *testing.T) {
	h := &slowHarness{toyHarness: toyHarness{server: newToyServer(t)}, changed: true}
	w, _ := begun(t, h, 3)
	w.finishing.Store(true)
	if err := h.Restore(t.Context(), w.direct(w.first.With("password", "on its way"))); err != nil {
		t.Fatal(err)
	}
	if err := w.notLockedOut(); err == nil {
		t.Error("a password that no version has is not seen as a lock-out")
	}
	h.changed = false
	if err := w.notLockedOut(); err != nil {
		t.Error(err)
	}
}

// TestOldCredentialEndsInTheNextRotation: until then, both open a target with overlap.
func TestOldCredentialEndsInTheNextRotation(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}})
	for _, works := range []bool{true, false} {
		if err := w.rotate(); err != nil {
			t.Fatal(err)
		}
		if got := w.open(w.first); got != works {
			t.Errorf("the first credential works %v, want %v", got, works)
		}
		w.opens("AWSCURRENT", true)
	}
}

// toyHarness creates toy users.
type toyHarness struct {
	server      *toyServer
	engine      toyEngine
	alternating bool
}

func (h *toyHarness) Engine() engine.Engine { return h.engine }
func (h *toyHarness) Target() string        { return h.server.listen.Addr().String() }
func (h *toyHarness) Traits() Traits        { return Traits{Overlap: h.engine.overlap} }

func (h *toyHarness) Logs() (string, error) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	return h.server.log.String(), nil
}

func (h *toyHarness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user := testserver.Unique("toy_")
	h.server.mu.Lock()
	h.server.users[user] = &toyUser{passwords: []string{"first-password"}, right: true, table: true}
	h.server.mu.Unlock()
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"toy","host":%q,"port":%d,"username":%q,"password":%q}`,
			host, port, user, password))
	}
	if h.alternating {
		superuser = login("admin", "admin-password")
	}
	return login(user, "first-password"), superuser, nil
}

func (h *toyHarness) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	u := h.server.users[user]
	switch {
	case u == nil || !slices.Contains(u.passwords, password):
		return engine.LoginRefused
	case !u.right:
		return errors.New("the user lacks the right that it should have")
	}
	return nil
}

func (h *toyHarness) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	h.server.users[user].passwords = []string{password}
	return nil
}

func TestCorrectEnginesPass(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "") // nobody needs a toy's figures
	for name, h := range map[string]*toyHarness{
		"single":      {},
		"overlap":     {engine: toyEngine{overlap: true}},
		"asked, one":  {engine: toyEngine{ask: true}},
		"asked, both": {engine: toyEngine{ask: true, overlap: true}},
		"alternating": {alternating: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h.server = newToyServer(t)
			Run(t, func(*testing.T) Harness { return h })
		})
	}
}

// recorder is a testing.TB for a check that may fail.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

// failures runs a check and returns how it fails, or "".
func failures(t testing.TB, check func(testing.TB, Harness), h Harness) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r, h)
	}()
	<-done
	return strings.Join(r.failures, "\n")
}

// part returns a check by its name.
func part(t *testing.T, name string) func(testing.TB, Harness) {
	for _, c := range checks {
		if c.name == name {
			return c.run
		}
	}
	t.Fatalf("there is no check %s", name)
	return nil
}

// TestWrongEnginesAreCaught: the named checks catch each class of defect.
func TestWrongEnginesAreCaught(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	for flaw, tc := range map[string]struct {
		harness toyHarness
		checks  string // all of them must catch the flaw
		want    string
	}{
		"claims an overlap": {toyHarness{}, "Standing Sweep", "AWSCURRENT"},
		"does not keep the old one": {toyHarness{engine: toyEngine{ask: true}},
			"Standing Sweep", "AWSCURRENT"},
		"sets nothing":                  {toyHarness{}, "Duplicates", "refuse"},
		"sets nothing, with an overlap": {toyHarness{engine: toyEngine{overlap: true}}, "Duplicates", "refuse"},
		"verifies nothing":              {toyHarness{}, "Preflight", "testSecret returns <nil>"},
		"drops unknown fields":          {toyHarness{}, "Sweep", "edited"},
		"shows the password":            {toyHarness{}, "Sweep", "is in a log"},
		"takes an error for a refusal":  {toyHarness{}, "Silence Cuts", "LoginRefused"},
		"sets something else each time": {toyHarness{}, "Duplicates", "refuse"},
		"makes the change first":        {toyHarness{}, "Sweep", "locked out"},
		"a retry loses the old one": {toyHarness{engine: toyEngine{overlap: true}},
			"Duplicates", "locked out"},
		"sets the password before the rights": {toyHarness{alternating: true}, "Sweep", "lacks the right"},
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel() // most of the time is waiting
			h := tc.harness
			h.server, h.engine.flaw = newToyServer(t), flaw
			for name := range strings.FieldsSeq(tc.checks) {
				if got := failures(t, part(t, name), &h); !strings.Contains(got, tc.want) {
					t.Errorf("%s returned %q, want %q", name, got, tc.want)
				}
			}
		})
	}
}
