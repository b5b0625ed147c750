package influxdb2

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/internal/mark"
)

const adminARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:admin-AbCdEf"

// bySuperuser makes the request use an operator's value.
func (f *fixture) bySuperuser(r *engine.Request, superuser engine.Value) *engine.Request {
	r.Login, r.Superuser, r.SuperuserChanges = superuser, true, true
	r.Proofs = []engine.Value{r.Current}
	return r
}

func (f *fixture) operator() engine.Value { return f.userValue(f.User, f.Password) }

func TestUserChangesItself(t *testing.T) {
	f := newFixture(t)
	name, _ := f.user()
	r := request(f.userValue(name, first+name), f.userValue(name, "Second-Passw0rd"))
	for range 2 { // repeated with the new password
		if err := f.users.Verify(enginetest.Within(t), r, r.Login); err != nil {
			t.Fatal(err)
		}
		if err := f.users.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		r.Login = r.Pending
	}
	if err := f.opens(t.Context(), r.Pending); err != nil {
		t.Errorf("the new password: %v", err)
	}
	r.Login = r.Current
	enginetest.WantCause(t, f.users.Set(enginetest.Within(t), r), engine.LoginRefused, name)
	enginetest.WantCause(t, f.users.Verify(enginetest.Within(t), r, r.Current), engine.LoginRefused, name)
}

func TestTokenIsCopied(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	old := f.token(owner, "of people", f.readAndWrite(f.bucket()))
	r := f.bySuperuser(request(f.tokenValue(old).With("org", "first"), engine.Value{}), f.operator())
	for _, version := range []string{"v1", "v2"} {
		r.Version = version
		next, err := f.tokens.Mint(enginetest.Within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := next.Text("token")
		is, _ := f.authorization(token)
		was, _ := f.authorization(old)
		if !slices.Equal(rights(t, is), rights(t, was)) || len(rights(t, is)) != 2 || is.UserID != owner ||
			is.OrgID != was.OrgID || is.Status != "active" {
			t.Errorf("%+v, want one like %+v", is, was)
		}
		if want := "of people " + mark.Prefix(secretARN) + version + "-"; !strings.HasPrefix(is.Description, want) ||
			!is.is(secretARN) || is.is(adminARN) {
			t.Errorf("description %q", is.Description)
		}
		r.Current, old = next, token
	}
}

// TestSetRevokesOnlyWhatCrashesLeft: Set revokes tokens that crashes left behind, and no others.
func TestSetRevokesOnlyWhatCrashesLeft(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	rights := f.readAndWrite(f.bucket())
	make := func(description string) string { return f.token(owner, description, rights) }
	current, pending, previous := make("current"), make("x "+mark.Prefix(secretARN)+"v-1"), make("by hand, once")
	stray, strangers, others := make(mark.Prefix(secretARN)+"v-2"), make("of a stranger"),
		make(mark.Prefix(adminARN)+"v-1")
	r := f.bySuperuser(request(f.tokenValue(current), f.tokenValue(pending)), f.operator())
	r.Previous = f.tokenValue(previous)
	if err := f.tokens.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	check := func(token string, want bool) {
		t.Helper()
		if a, ok := f.authorization(token); ok != want {
			t.Errorf("%q exists: %v", a.Description, ok)
		}
	}
	for token, want := range map[string]bool{current: true, pending: true, strangers: true, others: true,
		stray: false, previous: false} {
		check(token, want)
	}
	for range 2 { // the second call finds no token
		if err := f.tokens.Revoke(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
	}
	check(pending, false)
	enginetest.WantCause(t, f.tokens.Set(enginetest.Within(t), r), engine.TargetFailed, "remove AWSPENDING")
}

func TestTokenThatCannotFindItself(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	token := f.tokenValue(f.token(owner, "", f.readAndWrite(f.bucket())))
	r := request(token, engine.Value{})
	_, err := f.tokens.Mint(enginetest.Within(t), r)
	enginetest.WantCause(t, err, engine.PrivilegeMissing, "adminSecretArn")
	enginetest.WantCause(t, f.tokens.Verify(enginetest.Within(t), r, token), engine.PrivilegeMissing, "adminSecretArn")
	if err := f.tokens.Verify(enginetest.Within(t), f.bySuperuser(r, f.operator()), token); err != nil {
		t.Errorf("by an operator: %v", err)
	}
	enginetest.WantCause(t, f.tokens.Verify(enginetest.Within(t), r, f.tokenValue("wrong")),
		engine.LoginRefused, "the token")
}

// proxy returns a value that names a proxy in front of the server. serve answers requests for which it returns true;
// change edits the server's responses.
func (f *fixture) proxy(serve func(http.ResponseWriter, *http.Request) bool,
	change func(*http.Response) error) engine.Value {
	f.t.Helper()
	behind, err := url.Parse(f.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.Transport = &http.Transport{TLSClientConfig: f.CA.ClientTLS(f.Host)}
	proxy.ModifyResponse = change
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve == nil || !serve(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	f.t.Cleanup(server.Close)
	_, text, _ := net.SplitHostPort(server.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	return at("127.0.0.1", port).WithJSON("ssl", []byte("false"))
}

func replaceBody(a *http.Response, old *regexp.Regexp, with string) error {
	body, err := io.ReadAll(a.Body)
	body = old.ReplaceAll(body, []byte(with))
	a.Body, a.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	a.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return err
}

// mine returns the tokens that were created for the secret.
func (f *fixture) mine(secret string) (ids []string) {
	f.t.Helper()
	for _, a := range f.authorizations() {
		if a.is(secret) {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// TestFailedMintsAreRevoked: the next setSecret revokes what failed attempts left, whatever was wrong with the server's
// response.
func TestFailedMintsAreRevoked(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*http.Response) error{
		"no token": func(a *http.Response) error {
			return replaceBody(a, regexp.MustCompile(`"token": "[^"]*"`), `"token": ""`)
		},
		"not JSON": func(a *http.Response) error { return replaceBody(a, regexp.MustCompile(`(?s).*`), `made`) },
		"a failure": func(a *http.Response) error {
			a.StatusCode = http.StatusBadGateway
			return nil
		},
	} {
		secret := "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + testserver.Unique("try-")
		_, owner := f.user()
		token := f.token(owner, "app", append(f.readAndWrite(f.bucket()), f.authorizer(owner)...))
		broken := true
		place := f.proxy(nil, func(a *http.Response) error {
			if broken && a.Request.Method == http.MethodPost && strings.HasSuffix(a.Request.URL.Path, "/authorizations") {
				return change(a)
			}
			return nil
		})
		r := request(place.With("token", token), engine.Value{})
		r.Secret = secret
		for range 3 {
			if _, err := f.tokens.Mint(enginetest.Within(t), r); engine.CauseOf(err) != engine.TargetFailed {
				t.Errorf("%s: %v", name, err)
			}
		}
		broken = false
		next, err := f.tokens.Mint(enginetest.Within(t), r)
		if r.Pending = next; err == nil {
			err = f.tokens.Set(enginetest.Within(t), r)
		}
		if left := f.mine(secret); err != nil || len(left) != 1 {
			t.Errorf("%s: %d tokens are left, %v", name, len(left), err)
		}
		f.drop(owner)
	}
}

// TestNextRotationRevokesLeftoverTokens: Mint leaves tokens alone that another call may be about to store. Set, which
// knows the stored one, revokes the others, including those of rotations that ended before setSecret.
func TestNextRotationRevokesLeftoverTokens(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	r := f.bySuperuser(request(f.tokenValue(f.token(owner, "", f.readAndWrite(f.bucket()))), engine.Value{}),
		f.operator())
	r.Secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + testserver.Unique("next-")
	var err error
	for _, version := range []string{r.Version, r.Version, "99999999-2222-4333-8444-555555555555"} {
		r.Version = version
		if r.Pending, err = f.tokens.Mint(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.mine(r.Secret)); n != 3 {
		t.Errorf("%d tokens, want 3", n)
	}
	if err := f.tokens.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	if n := len(f.mine(r.Secret)); n != 1 {
		t.Errorf("%d tokens are left after setSecret", n)
	}
}

// TestCheckFindsWhatMintNeeds: `rotatorctl check` reports missing rights because it calls DryRun.
func TestCheckFindsWhatMintNeeds(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	token := f.tokenValue(f.token(owner, "", f.readAndWrite(f.bucket())))
	enginetest.WantCause(t, f.tokens.DryRun(enginetest.Within(t), request(token, engine.Value{})),
		engine.PrivilegeMissing, "adminSecretArn")
	r := f.bySuperuser(request(token, engine.Value{}), f.operator())
	if err := f.tokens.DryRun(enginetest.Within(t), r); err != nil {
		t.Error(err)
	}
	if left := f.mine(secretARN); left != nil {
		t.Errorf("it created %v", left)
	}
}

// TestHostsTextIsCut: a host may send any text, but errors stay short.
func TestHostsTextIsCut(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"code":"x","message":"`+strings.Repeat("a b ", 7<<18)+`"}`)
	}))
	defer server.Close()
	_, text, _ := net.SplitHostPort(server.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	place := at("127.0.0.1", port).WithJSON("ssl", []byte("false"))
	for _, v := range []engine.Value{place.With("token", "x"), place.With("username", "u").With("password", "p")} {
		var e engine.Engine = &Users{}
		if v.JSON("token") != nil {
			e = &Tokens{}
		}
		err := e.Verify(enginetest.Within(t), request(v, engine.Value{}), v)
		if engine.CauseOf(err) != engine.TargetFailed || len(err.Error()) > 4<<10 ||
			!strings.Contains(err.Error(), "a b a b") {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

// TestServerThatShowsNoTokens: InfluxDB 2.9 stores hashes. Here a proxy removes the tokens from an older server's list.
func TestServerThatShowsNoTokens(t *testing.T) {
	f := newFixture(t)
	place := f.proxy(nil, func(a *http.Response) error {
		if a.Request.Method != http.MethodGet {
			return nil
		}
		return replaceBody(a, regexp.MustCompile(`"token": "[^"]*"`), `"token": "redacted"`)
	})
	value := func(token, id string) engine.Value { return place.With("token", token).With("tokenId", id) }
	operator := place.With("username", f.User).With("password", f.Password)
	_, owner := f.user()
	twoRights := f.readAndWrite(f.bucket())
	unmarked, marked := f.token(owner, "by hand", twoRights),
		f.token(owner, "by hand "+mark.Prefix(secretARN)+"first", twoRights)
	id := func(token string) string {
		a, _ := f.authorization(token)
		return a.ID
	}
	// The id of another token, whose rights the secret must not get.
	for name, v := range map[string]engine.Value{"no id": place.With("token", marked),
		"not marked": value(unmarked, id(unmarked)), "the operator's": value(marked, id(f.Token)),
		"the text shown for every token": place.With("token", "redacted")} {
		_, err := f.tokens.Mint(enginetest.Within(t), f.bySuperuser(request(v, engine.Value{}), operator))
		if engine.CauseOf(err) != engine.PrivilegeMissing {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := f.bySuperuser(request(value(marked, id(marked)), engine.Value{}), operator)
	next, err := f.tokens.Mint(enginetest.Within(t), r)
	if err != nil {
		t.Fatal(err)
	}
	stray := f.token(owner, mark.Prefix(secretARN)+"v-2", twoRights)
	r.Pending, r.Previous = next, place.With("token", "redacted")
	if err := f.tokens.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	token, _ := next.Text("token")
	for token, want := range map[string]bool{marked: true, token: true, unmarked: true, stray: false} {
		if a, ok := f.authorization(token); ok != want {
			t.Errorf("%q is there: %v", a.Description, ok)
		}
	}
	if is, _ := f.authorization(token); !slices.Equal(rights(t, is), twoRights) || is.UserID != owner {
		t.Errorf("%+v", is)
	}
}

// A server that stores hashes shows one text for all tokens, and the operator's may be the only one.
func TestSuperuserCopiesNoTokenThatIsNotProved(t *testing.T) {
	all := []authorization{{ID: "1", Token: "redacted", Description: "the operator's"}}
	v := engine.StringValue(`{"token":"redacted","tokenId":"1"}`)
	r := request(v, v)
	r.Superuser, r.Previous = true, v
	if a, err := model(r, all); !errors.Is(err, engine.InvalidSecret) {
		t.Errorf("%q would be copied: %v", a.Description, err)
	}
	r.Proofs = []engine.Value{v} // the server has accepted it
	if _, err := model(r, all); err != nil {
		t.Error(err)
	}
}

// TestRecoveryCopiesNoOperatorsToken: a writer of the secret stores an invalid token, to get a copy of the operator's.
func TestRecoveryCopiesNoOperatorsToken(t *testing.T) {
	f := newFixture(t)
	secrets := world.New(t, f.tokens, f.users)
	secrets.Env["RECOVER_BY_SUPERUSER"] = "true"
	operator := secrets.Secret("operator", f.tokenValue(f.Token))
	arn := secrets.Secret("app", f.tokenValue("invalid").With("adminSecretArn", operator))
	before := len(f.authorizations())
	enginetest.WantCause(t, secrets.Rotate(arn), engine.InvalidSecret, "store it in AWSCURRENT")
	if n := len(f.authorizations()); n != before {
		t.Errorf("%d tokens were created", n-before)
	}
}

// For an inactive token, the server returns an empty list instead of an error.
func TestInactiveToken(t *testing.T) {
	f := newFixture(t)
	_, owner := f.user()
	token := f.token(owner, "", f.readAndWrite(f.bucket()))
	a, _ := f.authorization(token)
	f.must(http.MethodPatch, "authorizations/"+a.ID, map[string]string{"status": "inactive"}, nil)
	v := f.tokenValue(token)
	r := f.bySuperuser(request(v, engine.Value{}), f.operator())
	enginetest.WantCause(t, f.tokens.Verify(enginetest.Within(t), r, v), engine.LoginRefused, "inactive")
	_, err := f.tokens.Mint(enginetest.Within(t), r)
	enginetest.WantCause(t, err, engine.PrivilegeMissing, "nothing shows")
	if _, ok := f.authorization(token); !ok {
		t.Error("it was revoked")
	}
}

// TestSuperuserIsSentToNoOtherServer: the rotated secret alone does not decide which host receives an operator's
// password.
func TestSuperuserIsSentToNoOtherServer(t *testing.T) {
	f := newFixture(t)
	var asked atomic.Int32
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer thief.Close()
	_, text, _ := net.SplitHostPort(thief.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	f.timestream.Put("ours", fakeInstance{Endpoint: f.Host, Port: f.Port, SecretARN: adminARN})
	f.timestream.Put("thiefs", fakeInstance{Endpoint: "localhost", Port: port, SecretARN: secretARN})
	bare := engine.StringValue(`{}`).With("username", f.User).With("password", f.Password)
	_, owner := f.user()
	good := f.token(owner, "", f.readAndWrite(f.bucket()))
	secret := func(place, at, admin string) engine.Value {
		v := engine.StringValue(`{"engine":"timestream-influxdb"}`).With("token", good).With("adminSecretArn", admin).
			With(place, at)
		if place == "host" {
			v = v.WithJSON("port", []byte(text))
		}
		return v
	}
	for name, c := range map[string]struct{ current, superuser engine.Value }{
		"another instance":             {secret("dbIdentifier", "thiefs", adminARN), bare.With("dbIdentifier", "ours")},
		"another instance, none named": {secret("dbIdentifier", "thiefs", adminARN), bare},
		"another port":                 {secret("host", "localhost", adminARN), bare.With("dbIdentifier", "ours")},
		"a host, none named":           {secret("host", "localhost", adminARN), bare},
		"another secret, none named":   {secret("dbIdentifier", "ours", secretARN), bare},
	} {
		_, err := f.tokens.Mint(enginetest.Within(t), f.bySuperuser(request(c.current, engine.Value{}), c.superuser))
		if engine.CauseOf(err) != engine.InvalidSecret {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked.Load() != 0 {
		t.Error("the other server received a request")
	}
	for name, superuser := range map[string]engine.Value{"the same instance": bare.With("dbIdentifier", "ours"),
		"the instance's own secret": bare} {
		// Nor does the rotated secret decide whether the operator's password is encrypted.
		for _, ssl := range []string{"null", "false"} {
			current := secret("dbIdentifier", "ours", adminARN).WithJSON("ssl", []byte(ssl))
			if _, err := f.tokens.Mint(enginetest.Within(t),
				f.bySuperuser(request(current, engine.Value{}), superuser)); err != nil {
				t.Errorf("%s, ssl %s: %v", name, ssl, err)
			}
		}
	}
}

// TestInstancesOwnSecretAsSuperuser: the secret that Timestream creates names neither server nor engine.
func TestInstancesOwnSecretAsSuperuser(t *testing.T) {
	f := newFixture(t)
	w := world.New(t, f.users, f.tokens)
	instance := testserver.Unique("instance")
	bare := engine.StringValue(`{"organization":"first"}`).With("username", f.User).With("password", f.Password)
	super := w.Secret("made-by-timestream", bare)
	f.timestream.Put(instance, fakeInstance{Endpoint: f.Host, Port: f.Port, SecretARN: super})
	name, owner := f.user()
	base := engine.StringValue(`{"engine":"timestream-influxdb"}`).With("dbIdentifier", instance).
		With("adminSecretArn", super)
	for kind, v := range map[string]engine.Value{
		"token": base.With("token", f.token(owner, "", f.readAndWrite(f.bucket()))),
		"user":  base.With("username", name).With("password", first+name),
	} {
		arn := w.Secret(kind, v)
		if err := w.Rotate(arn); err != nil {
			t.Errorf("a %s: %v", kind, err)
		}
		if err := f.opens(t.Context(), w.Get(arn, "AWSCURRENT")); err != nil {
			t.Errorf("a %s: %v", kind, err)
		}
	}
}

// TestCredentialStaysWithItsInstance: a writer of the secret names another instance, or an engine with another port, to
// have the earlier credential tried there.
func TestCredentialStaysWithItsInstance(t *testing.T) {
	f := newFixture(t)
	var asked atomic.Int32
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "junk") &&
			r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:junk")) {
			asked.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"unauthorized","message":"unauthorized access"}`)
	}))
	defer thief.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: thief.Certificate().Raw})
	policy := engine.TLSPolicy{ExtraCAs: append(ca, f.CA.PEM...)}
	users, tokens := NewUsers(policy, f.users.settings), NewTokens(policy, f.tokens.settings)
	_, text, _ := net.SplitHostPort(thief.Listener.Addr().String())
	port, _ := strconv.Atoi(text)
	f.timestream.Put("ours", fakeInstance{Endpoint: f.Host, Port: f.Port})
	f.timestream.Put("thiefs", fakeInstance{Endpoint: "127.0.0.1", Port: port})
	w := world.New(t, users, tokens)
	_, owner := f.user()
	base := engine.StringValue(`{"engine":"timestream-influxdb","dbIdentifier":"ours"}`)
	for kind, c := range map[string]struct {
		own   engine.Value
		field string
	}{
		"token": {base.With("token", f.token(owner, "", f.readAndWrite(f.bucket()))), "token"},
		"user":  {base.With("username", "u").With("password", "Real-Passw0rd-1"), "password"},
	} {
		arn := w.Secret(kind, c.own)
		w.Put(arn, c.own.With("dbIdentifier", "thiefs").With(c.field, "junk"), "")
		if err := w.Rotate(arn); !errors.Is(err, engine.LoginRefused) {
			t.Errorf("a %s: %v", kind, err)
		}
		if asked.Load() > 0 {
			t.Errorf("a %s was sent to the other instance", kind)
		}
		asked.Store(0)
	}
}

func TestInstanceThatCannotBeFound(t *testing.T) {
	f := newFixture(t)
	name, _ := f.user()
	value := func(instance string) engine.Value {
		return engine.StringValue(`{"engine":"timestream-influxdb"}`).With("username", name).
			With("password", first+name).With("dbIdentifier", instance)
	}
	verify := func(instance string) error {
		v := value(instance)
		return f.users.Verify(enginetest.Within(t), request(v, engine.Value{}), v)
	}
	f.timestream.Put("ours", fakeInstance{Endpoint: f.Host, Port: f.Port})
	f.timestream.Put("new", fakeInstance{})
	if err := verify("ours"); err != nil {
		t.Error(err)
	}
	enginetest.WantCause(t, verify("mistyped"), engine.InvalidSecret, "mistyped")
	enginetest.WantCause(t, verify("x"), engine.InvalidSecret, "dbIdentifier")
	enginetest.WantCause(t, verify("new"), engine.TargetFailed, "CREATING")
	var n engine.Needs
	const arn = "arn:aws:timestream-influxdb:us-east-1:123456789012:db-instance/ours"
	if err := f.users.Needs(t.Context(), request(value("ours"), engine.Value{}), &n); err != nil ||
		len(n.Permissions) != 1 || n.Permissions[0].Resources[0] != arn {
		t.Errorf("%+v, %v", n, err)
	}
	whole, lesser := enginetest.Policies(t, n.Permissions)
	lesser[""] = whole
	for name, policy := range lesser {
		if err := f.timestream.PutPolicy(policy); err != nil {
			t.Fatal(err)
		}
		if err := verify("ours"); name == "" {
			if err != nil {
				t.Errorf("with %s: %v", whole, err)
			}
		} else {
			enginetest.WantCause(t, err, engine.PrivilegeMissing, "timestream-influxdb:GetDbInstance")
		}
	}
}

func TestFormatOfTheSecret(t *testing.T) {
	for value, want := range map[string]string{
		`{"engine":"influxdb2","username":"a","password":"b"}`:                                "neither host nor",
		`{"engine":"influxdb2","host":"h","username":"a:b","password":"b"}`:                   "colon",
		`{"engine":"influxdb2","host":"h","username":"a"}`:                                    "password is missing",
		`{"engine":"influxdb2","host":"h","token":[7]}`:                                       "token is not text",
		`{"engine":"influxdb2","host":"h","token":"a\nb"}`:                                    "token has characters",
		`{"engine":"timestream-influxdb","type":"custom","dbIdentifier":"i","org":"o"}`:       "first token by hand",
		`{"engine":"timestream-influxdb","dbIdentifier":["i"],"username":"a","password":"b"}`: "Identifier is not text",
		`{"engine":"influxdb2","host":"a,b","username":"a","password":"b"}`:                   "not one host",
		`{"engine":"influxdb2","host":"h","port":"70000","username":"a","password":"b"}`:      "port",
		`"just text"`: "cannot be read",
	} {
		r := request(engine.StringValue(value), engine.Value{})
		var subject engine.Engine = &Users{}
		if r.Current.JSON("token") != nil {
			subject = &Tokens{}
		}
		_, err := subject.Next(t.Context(), r)
		enginetest.WantCause(t, err, engine.InvalidSecret, want)
	}
}

// TestUserOfATokenNeverLogsIn: so its name may have any format.
func TestUserOfATokenNeverLogsIn(t *testing.T) {
	if _, err := parse(engine.StringValue(`{"host":"h","token":"t","username":"a:b"}`)); err != nil {
		t.Error(err)
	}
}
