package http_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/http"
	"example.com/rotator/rotation/internal/mark"
)

const (
	secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:api-AbCdEf"
	version   = "11111111-2222-4333-8444-555555555555"
)

func (a *api) host() string { return strings.TrimPrefix(a.URL, "https://") }

// answer installs busy and clears the recorded calls.
func (a *api) answer(busy func(nethttp.ResponseWriter, *nethttp.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy, a.calls = busy, nil
}

func (a *api) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func requestFor(v engine.Value) *engine.Request {
	return &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: v, Login: v}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// rotate runs the engine's part of a rotation, logged in with AWSCURRENT.
func rotate(t *testing.T, e *http.Engine, current, previous engine.Value, version string) (engine.Value, error) {
	t.Helper()
	r := requestFor(current)
	r.Previous, r.Version = previous, version
	var err error
	if r.Pending, err = e.Mint(within(t, 2*time.Second), r); err != nil {
		return engine.Value{}, err
	}
	return r.Pending, e.Set(within(t, 2*time.Second), r)
}

// TestTokensOfOthersStay: only a token with the secret's mark is revoked. A writer of the secret, who may not read it,
// can store a stranger's id next to any token.
func TestTokensOfOthersStay(t *testing.T) {
	for name, forge := range map[string]func(r *engine.Request, forged engine.Value){
		"in AWSPREVIOUS": func(r *engine.Request, forged engine.Value) { r.Previous = forged },
		"in AWSCURRENT":  func(r *engine.Request, forged engine.Value) { r.Current = forged },
	} {
		a := newAPI(t)
		e := engineOf(t, a, "bearer", a.host())
		own, victim, writers := a.first("acme"), a.first("acme"), a.first("acme")
		r := requestFor(secretOf("bearer", own))
		var said []string
		r.Report = func(_ slog.Level, text string) { said = append(said, text) }
		forge(r, secretOf("bearer", victim).With("token", writers.text))
		var err error
		if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
		if err := e.Set(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
		if !a.opens(victim.text) || !a.opens(own.text) {
			t.Errorf("%s: a token was revoked that was not issued for the secret", name)
		}
		if warned := slices.ContainsFunc(said, func(s string) bool {
			return strings.Contains(s, "token "+victim.id+" ") && strings.Contains(s, "by hand")
		}); warned != r.Previous.Equal(secretOf("bearer", victim).With("token", writers.text)) {
			t.Errorf("%s: the log says %q", name, said)
		}
		r.Pending = secretOf("bearer", victim)
		err = e.Revoke(within(t, 5*time.Second), r.As(secretOf("bearer", writers), false))
		if err != nil || !a.opens(victim.text) {
			t.Errorf("%s, in a value that was not stored: %v", name, err)
		}
	}
}

// TestEachRotationEndsThePreviousToken: at most the first token, the current and the previous one are valid.
func TestEachRotationEndsThePreviousToken(t *testing.T) {
	for _, recipe := range []string{"bearer", "form", "key"} {
		a := newAPI(t)
		e := engineOf(t, a, recipe, a.host())
		values := []engine.Value{{}, secretOf(recipe, a.first("acme"))}
		for i := range 3 {
			next, err := rotate(t, e, values[len(values)-1], values[len(values)-2], fmt.Sprintf("version-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, next)
		}
		if n := len(a.valid("acme")); n != 3 {
			t.Errorf("%s: %d tokens are valid", recipe, n)
		}
	}
}

// TestListDecidesWhetherATokenIsRevoked: whatever the API answers, a rotation that revokes no token fails, and later
// rotations issue none.
func TestListDecidesWhetherATokenIsRevoked(t *testing.T) {
	for name, busy := range map[string]func(nethttp.ResponseWriter, *nethttp.Request) bool{
		"301": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				nethttp.Redirect(w, r, "/bearer/me", nethttp.StatusMovedPermanently)
			}
			return r.Method == "DELETE"
		},
		"404 of a wrong path": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				w.WriteHeader(404)
			}
			return r.Method == "DELETE"
		},
		"202 without effect": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				w.WriteHeader(202)
			}
			return r.Method == "DELETE"
		},
		"a list of something else": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			list := r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/tokens")
			if list {
				fmt.Fprint(w, `{"items":[]}`)
			}
			return list
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			e := engineOf(t, a, "bearer", a.host())
			current, previous := secretOf("bearer", a.first("acme")), engine.Value{}
			a.answer(busy)
			failed := 0
			for i := range 6 {
				next, err := rotate(t, e, current, previous, fmt.Sprintf("version-%d", i))
				if err != nil {
					failed++
					if engine.CauseOf(err) != engine.TargetFailed {
						t.Errorf("%v", err)
					}
					continue
				}
				current, previous = next, current
			}
			if n := len(a.valid("acme")); n > 4 || failed < 4 { // the first, current, previous and pending
				t.Errorf("%d tokens are valid, %d of 6 rotations failed", n, failed)
			}
		})
	}
}

// TestFailedMintLeavesNoToken: if anything fails after a token is issued, the token is revoked.
func TestFailedMintLeavesNoToken(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string // in the recipe
		busy     func(a *api, w nethttp.ResponseWriter, r *nethttp.Request) bool
		issued   int // by one attempt
	}{
		"an answer without the token": {`"/data/key"`, `"/data/text"`, nil, 1},
		"an answer that is not JSON": {"", "", func(a *api, w nethttp.ResponseWriter, r *nethttp.Request) bool {
			return issues(a, w, r, 201, "created")
		}, 1},
		"502": {"", "", func(a *api, w nethttp.ResponseWriter, r *nethttp.Request) bool {
			return issues(a, w, r, 502, "")
		}, 1},
		"a list without names": {`"name": "/name", "token_id": "/id"`, `"name": "/title", "token_id": "/id"`, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			engines, err := http.Load(engine.TLSPolicy{ExtraCAs: a.ca},
				strings.Replace(recipes(a.host()), c.old, c.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			r := requestFor(secretOf("bearer", a.first("acme")))
			others := a.first("acme")
			a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
				return c.busy != nil && c.busy(a, w, r)
			})
			for range 3 {
				if _, err := engines[0].Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TargetFailed {
					t.Errorf("%v", err)
				}
			}
			posts := 0
			for _, call := range a.seen() {
				if strings.HasPrefix(call, "POST") {
					posts++
				}
			}
			if n := len(a.valid("acme")); n != 2 || posts != 3*c.issued || !a.opens(others.text) {
				t.Errorf("after 3 tries with %d calls %d tokens are valid, want 2", posts, n)
			}
		})
	}
}

// issues issues a token but returns a different response.
func issues(a *api, w nethttp.ResponseWriter, r *nethttp.Request, status int, body string) bool {
	var in struct{ Name string }
	if r.Method != "POST" || json.NewDecoder(r.Body).Decode(&in) != nil {
		return false
	}
	a.add("acme", in.Name)
	w.WriteHeader(status)
	fmt.Fprint(w, body)
	return true
}

// TestErrorNamesATokenThatCannotBeRevoked: the error contains the token's name in the API.
func TestErrorNamesATokenThatCannotBeRevoked(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.Method == "DELETE" {
			w.WriteHeader(403)
			return true
		}
		return issues(a, w, r, 201, "created")
	})
	_, err := e.Mint(within(t, 5*time.Second), r)
	if engine.CauseOf(err) != engine.TargetFailed ||
		!strings.Contains(fmt.Sprint(err), mark.Prefix(secretARN)+version) ||
		!strings.Contains(fmt.Sprint(err), "403") {
		t.Errorf("%v", err)
	}
}

// TestErrorNamesATokenThatTheListDoesNotShow: the API has pages without a Link header.
func TestErrorNamesATokenThatTheListDoesNotShow(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	token := a.first("acme")
	a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
		page := r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/tokens")
		if page {
			fmt.Fprintf(w, `{"items":[{"id":%s,"name":%q}]}`, token.id, token.name)
		}
		return page
	})
	_, err := e.Mint(within(t, 3*time.Second), requestFor(secretOf("bearer", token)))
	for _, want := range []string{"look for the token " + mark.Prefix(secretARN) + version,
		"the list does not show it"} {
		if engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestMintChecksBeforeItIssues(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       engine.Cause
	}{
		"the list is forbidden":        {"/tokens", ``, 403, engine.PrivilegeMissing},
		"the list shows another token": {"/tokens", `{"items":[{"id":77,"name":"x"}]}`, 200, engine.TargetFailed},
		"the list has a second page":   {"page", ``, 0, engine.TargetFailed},
		"anybody may verify":           {"/bearer/me", `{}`, 200, engine.InvalidConfiguration},
	} {
		a := newAPI(t)
		e := engineOf(t, a, "bearer", a.host())
		r := requestFor(secretOf("bearer", a.first("acme")))
		a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if c.path == "page" {
				w.Header().Set("Link", `</tokens?page=1>; rel="first", </tokens?page=2>; rel="next"`)
			}
			if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, c.path) {
				return false
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
			return true
		})
		if _, err := e.Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(a.valid("acme")); n != 1 {
			t.Errorf("%s: %d tokens", name, n)
		}
		// `rotatorctl check` reports it, because it verifies the login.
		if err := e.Verify(within(t, 5*time.Second), r, r.Current); engine.CauseOf(err) != c.want {
			t.Errorf("%s: Verify: %v", name, err)
		}
	}
}

// TestRevokedTokenIsNotPromoted: an administrator revokes the pending token.
func TestRevokedTokenIsNotPromoted(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "form", a.host())
	r := requestFor(secretOf("form", a.first("acme")))
	var err error
	if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
		t.Fatal(err)
	}
	id, _ := r.Pending.Text("token_id")
	a.mu.Lock()
	a.tokens[id].revoked = true
	a.mu.Unlock()
	if err := e.Set(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TargetFailed ||
		!strings.Contains(fmt.Sprint(err), "AWSPENDING") {
		t.Errorf("Set: %v", err)
	}
	a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool { // verify accepts everyone
		if r.URL.Path == "/form/check" {
			w.WriteHeader(204)
		}
		return r.URL.Path == "/form/check"
	})
	if err := e.Verify(within(t, 5*time.Second), r, r.Pending); err == nil {
		t.Error("Verify accepts it")
	}
}

// TestNextRotationRevokesLeftoverTokens: leftovers are revoked before a token is issued.
func TestNextRotationRevokesLeftoverTokens(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	canceled, err := e.Mint(within(t, 5*time.Second), r)
	if err != nil {
		t.Fatal(err)
	}
	left, _ := canceled.Text("token")
	concurrent, err := e.Mint(within(t, 5*time.Second), r)
	if err != nil {
		t.Fatal(err)
	}
	young, _ := concurrent.Text("token")
	if !a.opens(left) || !a.opens(young) {
		t.Error("a token was revoked that a concurrent call may be about to store")
	}
	r.Version = "99999999-2222-4333-8444-555555555555"
	if _, err = e.Mint(within(t, 5*time.Second), r); err != nil {
		t.Fatal(err)
	}
	if n := len(a.valid("acme")); n != 2 || a.opens(left) || a.opens(young) {
		t.Errorf("%d tokens are valid, want current and the new one", n)
	}
}

// TestOnlyTheRecipesURLsAreCalled: no token and no other data may be sent to an address that the recipe does not name.
func TestOnlyTheRecipesURLsAreCalled(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "key", a.host())
	token := a.first("acme")
	r := requestFor(secretOf("key", token))
	a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.URL.Path == "/elsewhere" || r.Header.Get("X-Api-Key") == token.text {
			nethttp.Redirect(w, r, "/elsewhere", nethttp.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	err := e.Verify(within(t, 5*time.Second), r, r.Current)
	if engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(fmt.Sprint(err), "307") ||
		!slices.Equal(a.seen(), []string{"GET /key/v2/keys"}) {
		t.Errorf("%v, calls %v", err, a.seen())
	}
}

func TestCausesOfStatuses(t *testing.T) {
	a := newAPI(t)
	bearer, key := engineOf(t, a, "bearer", a.host()), engineOf(t, a, "key", a.host())
	token := a.first("acme")
	for _, c := range []struct {
		engine *http.Engine
		recipe string
		status int
		want   engine.Cause
	}{
		{bearer, "bearer", 401, engine.LoginRefused},
		{bearer, "bearer", 403, engine.PrivilegeMissing},
		{key, "key", 403, engine.LoginRefused},
		{bearer, "bearer", 404, engine.TargetFailed},
		{bearer, "bearer", 429, engine.TargetFailed},
		{bearer, "bearer", 200, engine.TargetFailed}, // the next call's response is not a list
	} {
		a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if !strings.Contains(fmt.Sprint(r.Header), token.text) {
				w.WriteHeader(401)
				return true
			}
			w.WriteHeader(c.status)
			fmt.Fprintf(w, `{"echo":%q}`, token.text)
			return true
		})
		r := requestFor(secretOf(c.recipe, token))
		err := c.engine.Verify(within(t, 5*time.Second), r, r.Current)
		if engine.CauseOf(err) != c.want || strings.Contains(fmt.Sprint(err), token.text) {
			t.Errorf("%s %d: %v, want %s", c.recipe, c.status, err, c.want)
		}
	}
}

func TestSetRevokesWhatACrashLeft(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	a.mu.Lock()
	a.add("acme", "rotator-000000000000-of-another-secret")
	a.mu.Unlock()
	var err error
	for range 2 { // a call that died left the first token
		if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.valid("acme")); n != 4 {
		t.Fatalf("%d tokens before", n)
	}
	if err := e.Set(within(t, 5*time.Second), r); err != nil {
		t.Fatal(err)
	}
	if n := len(a.valid("acme")); n != 3 {
		t.Errorf("%d tokens are valid, want current, pending and another's", n)
	}
	a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.Method == "POST" {
			fmt.Fprint(w, `{"data":{"id":7}}`)
		}
		return r.Method == "POST"
	})
	if _, err := e.Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TargetFailed ||
		!strings.Contains(fmt.Sprint(err), "/data/key") {
		t.Errorf("an answer without a token: %v", err)
	}
}

// TestTokenStaysWithItsRecipeAndAccount: a writer of the secret names another recipe, or another account of the same
// recipe, to have the earlier token tried there.
func TestTokenStaysWithItsRecipeAndAccount(t *testing.T) {
	a := newAPI(t)
	var sent []string
	other := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		sent = append(sent, r.Header.Get("Authorization"))
		w.WriteHeader(401)
	}))
	defer other.Close()
	cas := append(slices.Clone(a.ca),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})...)
	recipe := func(name, host string) *http.Engine {
		engines, err := http.Load(engine.TLSPolicy{ExtraCAs: cas},
			strings.Replace(recipes(host), `"bearer"`, `"`+name+`"`, 1))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(engines, func(e *http.Engine) bool { return e.Kind().Names[0] == "http:"+name })
		return engines[i]
	}
	w := world.New(t, recipe("bearer", a.host()), recipe("other", strings.TrimPrefix(other.URL, "https://")))
	for name, forged := range map[string]string{
		"recipe":  `{"engine":"http:other","account":"acme","token":"junk","token_id":"0"}`,
		"account": `{"engine":"http:bearer","account":"writers","token":"junk","token_id":"0"}`,
	} {
		own := a.first("acme")
		arn := w.Secret(name, secretOf("bearer", own))
		w.Put(arn, engine.StringValue(forged), "")
		a.answer(func(_ nethttp.ResponseWriter, r *nethttp.Request) bool {
			if strings.Contains(r.URL.Path, "writers") {
				sent = append(sent, r.Header.Get("Authorization"))
			}
			return false
		})
		if err := w.Rotate(arn); !errors.Is(err, engine.LoginRefused) {
			t.Errorf("another %s: %v", name, err)
		}
		if slices.Contains(sent, "Bearer "+own.text) {
			t.Errorf("another %s received the token", name)
		}
	}
}

// TestDatabaseSecretIsNotUsedAsSuperuser: a writer of the secret names the secret of a database as its superuser, to
// have its password sent to the API. RDS manages that secret, so it has no field engine.
func TestDatabaseSecretIsNotUsedAsSuperuser(t *testing.T) {
	a := newAPI(t)
	w := world.New(t, engineOf(t, a, "form", a.host()))
	master := w.Secret("rds", engine.StringValue(
		`{"account":"boss","password":"the-boss-has","token":"x","token_id":"1"}`))
	arn := w.Secret("app", secretOf("form", a.first("acme")).With("masterarn", master))
	var passwords []string
	a.answer(func(_ nethttp.ResponseWriter, r *nethttp.Request) bool {
		_, password, _ := r.BasicAuth()
		passwords = append(passwords, password)
		return false
	})
	if err := w.Rotate(arn); !errors.Is(err, engine.InvalidSecret) || !strings.Contains(fmt.Sprint(err), "masterarn") {
		t.Errorf("%v", err)
	}
	if slices.Contains(passwords, "the-boss-has") {
		t.Error("the API received the other secret's password")
	}
}

// TestIDThatIsNoJSONNumberBecomesText: only an id in JSON's form takes the place of a number.
func TestIDThatIsNoJSONNumberBecomesText(t *testing.T) {
	for _, c := range []struct{ was, id, want string }{
		{"1", "2", "2"}, {"1", "007", `"007"`}, {"1", "+5", `"+5"`}, {"1", "x", `"x"`}, {"null", "123", `"123"`},
	} {
		a := newAPI(t)
		token := a.first("acme")
		a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, "/tokens") {
				return false
			}
			list := fmt.Sprintf(`{"items":[{"id":%s,"name":%q}`, token.id, token.name)
			for _, issued := range a.tokens {
				if issued != token {
					list += fmt.Sprintf(`,{"id":%q,"name":%q}`, c.id, issued.name)
				}
			}
			fmt.Fprint(w, list+"]}")
			return true
		})
		v := secretOf("bearer", token).WithJSON("token_id", []byte(c.was))
		next, err := engineOf(t, a, "bearer", a.host()).Mint(within(t, 5*time.Second), requestFor(v))
		if is := string(next.JSON("token_id")); err != nil || is != c.want {
			t.Errorf("%s became %s, want %s; %v", c.was, is, c.want, err)
		}
	}
}

// TestNumericIDStaysANumber: a numeric id stays a number, and a string stays a string.
func TestNumericIDStaysANumber(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	token := a.first("acme")
	text := secretOf("bearer", token)
	for _, v := range []engine.Value{text, text.WithJSON("token_id", []byte(token.id))} {
		next, err := e.Mint(within(t, 5*time.Second), requestFor(v))
		if err != nil {
			t.Fatal(err)
		}
		was, is := string(v.JSON("token_id")), string(next.JSON("token_id"))
		if strings.HasPrefix(was, `"`) != strings.HasPrefix(is, `"`) {
			t.Errorf("%s became %s", was, is)
		}
	}
}

// TestAnswersAreBounded: responses are limited in size and time.
func TestAnswersAreBounded(t *testing.T) {
	long := strings.Repeat("9", 1<<15)
	for name, c := range map[string]struct{ list, issue, want string }{
		"a long body": {`{"items":[` + strings.Repeat(" ", 2<<20) + `]}`, ``, "sends more than"},
		"a deep body": {strings.Repeat("[", 1<<19), ``, "not JSON"},
		"a long id":   {`{"items":[{"id":"` + long + `","name":"x"}]}`, ``, "has no id"},
		"many values": {`{"items":[` + strings.Repeat(`[],`, 300_000) + `[]]}`, ``, "not JSON"},
		"a long token": {`{"items":[]}`, `{"a/b":{"key":"` + strings.Repeat("x", 1<<17) + `"}}`,
			"no text at /a~1b/key"},
		"a header of 2 MB": {"header", ``, "header"},
		"not HTTP":         {"raw", ``, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			e := engineOf(t, a, "key", a.host())
			token := a.first("acme")
			a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
				switch {
				case r.Header.Get("X-Api-Key") != token.text:
					w.WriteHeader(403)
				case r.Method == "PUT":
					fmt.Fprint(w, c.issue)
				case c.list == "raw":
					conn, _, err := w.(nethttp.Hijacker).Hijack()
					if err == nil {
						_, _ = conn.Write([]byte(strings.Repeat("x", 1<<18) + "\r\n\r\n"))
						conn.Close()
					}
				case c.list == "header":
					w.Header().Set("X-Long", strings.Repeat("x", 2<<20))
				default:
					fmt.Fprint(w, c.list)
				}
				return true
			})
			begin := time.Now()
			_, err := e.Mint(within(t, 10*time.Second), requestFor(secretOf("key", token)))
			if engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(fmt.Sprint(err), c.want) ||
				len(fmt.Sprint(err)) > 4<<10 || time.Since(begin) > 8*time.Second {
				t.Errorf("after %s, in %d bytes: %.300s", time.Since(begin), len(fmt.Sprint(err)), fmt.Sprint(err))
			}
		})
	}
}

func TestValuesCannotEscapeTheirPlaceInARequest(t *testing.T) {
	a := newAPI(t)
	token := a.first("acme")
	e := engineOf(t, a, "bearer", a.host())
	for name, v := range map[string]engine.Value{
		"a header":         secretOf("bearer", token).With("token", "x\r\nX-Other: y"),
		"the path upward":  secretOf("bearer", token).With("account", ".."),
		"another path":     secretOf("bearer", token).With("account", "../../admin/users/1"),
		"an extra segment": secretOf("bearer", token).With("account", "acme/tokens"),
		"an encoded path":  secretOf("bearer", token).With("account", "..%2f..%2fadmin"),
		"a Windows path":   secretOf("bearer", token).With("account", `..\admin`),
		"no field":         engine.StringValue(`{"engine":"http:bearer"}`),
		"not an object":    engine.StringValue(`x`),
	} {
		a.answer(nil)
		_, err := e.Mint(within(t, 5*time.Second), requestFor(v))
		if engine.CauseOf(err) != engine.InvalidSecret || len(a.seen()) > 0 {
			t.Errorf("%s: %v, calls %v", name, err, a.seen())
		}
		if name == "no field" && !strings.Contains(fmt.Sprint(err), "account is missing, token is missing") {
			t.Errorf("not every fault is reported: %v", err)
		}
	}
}

func TestLoadReportsEveryFault(t *testing.T) {
	good := recipes("api.example.com")
	path := filepath.Join(t.TempDir(), "recipes.json")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{good, path} {
		if engines, err := http.Load(engine.TLSPolicy{}, text); err != nil || len(engines) != 3 {
			t.Errorf("%d engines, %v", len(engines), err)
		}
	}
	if engines, err := http.Load(engine.TLSPolicy{}, ""); err != nil || engines != nil {
		t.Errorf("no recipes: %v, %v", engines, err)
	}
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the recipes have no %s", old)
		}
		return strings.ReplaceAll(good, old, new)
	}
	me := func(url string) string { return change("https://api.example.com/bearer/me", url) }
	for text, want := range map[string]string{
		"/no/such/file":                                           "cannot be read",
		"{":                                                       "cannot be parsed",
		good + "{}":                                               "text follows",
		change(`"refused"`, `"refuse"`):                           "unknown field",
		me("http://api.example.com/bearer/me"):                    "bearer: verify: the URL is not https",
		me("https://{{host}}/"):                                   "bearer: verify: the URL's host is not fixed",
		me("https://user@api.example.com/"):                       "bearer: verify: the URL's host is not fixed",
		me("https://api.example.com/{{.token}}"):                  "bearer: verify: a placeholder is not of the form",
		me("https://api.example.com/{{rotation.id}}"):             "bearer: verify: {{rotation.id}} is not available here",
		change(`: "{{rotation.name}}", "d`, `: "x", "d`):          "bearer: issue: {{rotation.name}} is missing",
		change(`"id": "token_id"`, `"id": "token"`):               "bearer: id or fields are missing",
		change(`"/data/key"`, `"data.key"`):                       "bearer: the field token has no JSON pointer",
		change(`"method": "PUT"`, `"method": "put it"`):           "key: issue: the method must be one of",
		change(`"method": "PUT", `, ``):                           "key: issue: the method must be one of",
		change(`"method": "DELETE", `, `"method": "GET", `):       "bearer: revoke: the method must be one of",
		me(`https://api.example.com/bearer/me", "method": "HEAD`): "bearer: verify: the method must be one of",
		change(`check", "headers": {"Authorization": "Bearer {{token}}"}`, `check"`): "form: verify: the token is",
		change(`"Bearer {{token}}"`, `"Bearer {{token_id}}"`):                        "bearer: verify: the token is",
		change(`"token_id": "/id"`, `"token_id": "id"`):                              "bearer: list: token_id is not",
		change(`{"id": "{{rotation.id}}"}`, `{"id": "{{rotation.id}}"}, "json": {}`): "form: revoke: it has two bodies",
	} {
		_, err := http.Load(engine.TLSPolicy{}, text)
		if engine.CauseOf(err) != engine.InvalidConfiguration || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	for _, host := range []string{"127.0.0.1:8080", "localhost", "[::1]:80"} {
		if _, err := http.Load(engine.TLSPolicy{},
			strings.ReplaceAll(recipes(host), "https://", "http://")); err != nil {
			t.Errorf("plain text to %s: %v", host, err)
		}
	}
}

func TestUnknownCAIsReported(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, &api{Server: a.Server}, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	if _, err := e.Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TLSFailed {
		t.Errorf("%v", err)
	}
}

func TestRecipeInTheDocumentationLoads(t *testing.T) {
	page, err := os.ReadFile("../../docs/engines/http.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	recipe, _, _ := strings.Cut(rest, "```")
	engines, err := http.Load(engine.TLSPolicy{}, recipe)
	if err != nil || len(engines) != 1 || !slices.Equal(engines[0].Kind().SecretFields, []string{"token", "token_id"}) {
		t.Errorf("%d engines, %v", len(engines), err)
	}
}
