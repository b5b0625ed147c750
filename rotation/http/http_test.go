package http_test

import (
	"context"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/http"
)

const (
	secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:api-AbCdEf"
	version   = "11111111-2222-4333-8444-555555555555"
)

func (a *api) host() string { return strings.TrimPrefix(a.URL, "https://") }

// answer has requests of a kind answered otherwise.
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

func TestTokensOfOthersStayAndTheFirstOneGoesInItsTurn(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "form", a.host())
	hand := a.first("acme")
	others := a.first("acme")
	values := []engine.Value{{}, secretOf("form", hand)}
	for i := range 3 {
		r := requestFor(values[len(values)-1])
		r.Previous, r.Version = values[len(values)-2], fmt.Sprintf("version-%d", i)
		var err error
		if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
		if err := e.Set(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
		values = append(values, r.Pending)
	}
	if a.opens(hand.text) || !a.opens(others.text) {
		t.Errorf("the token made by hand is valid: %v; that of others: %v", a.opens(hand.text), a.opens(others.text))
	}
	if n := len(a.valid("acme")); n != 3 {
		t.Errorf("%d tokens are valid, not current, pending and that of others", n)
	}
}

func TestRetireRevokesAllButThePendingToken(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	var err error
	if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
		t.Fatal(err)
	}
	r.Login = r.Pending
	for range 2 {
		if err := e.Retire(within(t, 5*time.Second), r); err != nil {
			t.Fatal(err)
		}
	}
	id, _ := r.Pending.Text("token_id")
	if got := a.valid("acme"); !slices.Equal(got, []string{id}) {
		t.Errorf("valid are %v", got)
	}
	if err := e.Verify(within(t, 5*time.Second), r, r.Current); engine.CauseOf(err) != engine.LoginRefused {
		t.Errorf("the old token: %v", err)
	}
}

func TestABusyAPIIsAskedAgainWhenItSays(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		limit      time.Duration
		calls      int
		atLeast    time.Duration
		want       engine.Cause
	}{
		"429 with seconds":            {429, "1", 10 * time.Second, 2, time.Second, ""},
		"503 with a date":             {503, "date", 10 * time.Second, 2, time.Second, ""},
		"500 without a word":          {500, "", 10 * time.Second, 2, 200 * time.Millisecond, ""},
		"429 beyond what time allows": {429, "60", 2 * time.Second, 1, 0, engine.TargetFailed},
		"429 until the end of time":   {429, "Fri, 31 Dec 9999 23:59:59 GMT", 2 * time.Second, 1, 0, engine.TargetFailed},
		"429 for a number too great":  {429, "99999999999999999999", 2 * time.Second, 1, 0, engine.TargetFailed},
		"501 is no passing state":     {501, "", 10 * time.Second, 1, 0, engine.TargetFailed},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			a.answer(func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
				if r.Method != "POST" {
					return false
				}
				if n++; n > 1 {
					return false
				}
				value := c.retryAfter
				if value == "date" {
					value = time.Now().Add(2 * time.Second).UTC().Format(nethttp.TimeFormat) // which drops a part of a second
				}
				if value != "" {
					w.Header().Set("Retry-After", value)
				}
				w.WriteHeader(c.status)
				return true
			})
			begin := time.Now()
			_, err := e.Mint(within(t, c.limit), r)
			took := time.Since(begin)
			if c.want == "" && err != nil || c.want != "" && engine.CauseOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(a.seen()) != c.calls || took < c.atLeast {
				t.Errorf("%d calls in %s, want %d in %s", len(a.seen()), took, c.calls, c.atLeast)
			}
			if c.want != "" && took > time.Second {
				t.Errorf("it took %s to fail", took)
			}
		})
	}
}

// Nothing of a token may go where the recipe does not lead.
func TestRedirectsAndPagesStayWithTheAllowedHosts(t *testing.T) {
	thief := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		t.Errorf("a request came to another host: %s %s", r.Method, r.URL.Path)
	}))
	defer thief.Close()
	a := newAPI(t)
	e := engineOf(t, a, "key", a.host())
	r := requestFor(secretOf("key", a.first("acme")))
	for name, busy := range map[string]func(nethttp.ResponseWriter, *nethttp.Request) bool{
		"redirect": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			nethttp.Redirect(w, r, thief.URL+"/", nethttp.StatusTemporaryRedirect)
			return true
		},
		"redirect to plain text": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			nethttp.Redirect(w, r, "http://api.example.com/", nethttp.StatusTemporaryRedirect)
			return true
		},
		"next page": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			fmt.Fprintf(w, `{"items":[],"next":%q}`, thief.URL+"/")
			return true
		},
		"next page by a header": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			w.Header().Set("Link", "<"+thief.URL+`/>; rel="next"`)
			fmt.Fprint(w, `{"items":[]}`)
			return true
		},
	} {
		a.answer(busy)
		err := e.Verify(within(t, 5*time.Second), r, r.Current)
		if engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(fmt.Sprint(err), "hosts") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatusesAndTheirCauses(t *testing.T) {
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
		{bearer, "bearer", 200, engine.TargetFailed}, // the list that follows is none
	} {
		a.answer(func(w nethttp.ResponseWriter, _ *nethttp.Request) bool {
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

func TestAnAnswerWithoutTheTokenFailsAndItsTokenIsRevokedLater(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, a, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	a.mu.Lock()
	a.add("acme", "rotator-000000000000-of-another-secret")
	a.mu.Unlock()
	var err error
	if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil { // the orphan of a call that died
		t.Fatal(err)
	}
	if r.Pending, err = e.Mint(within(t, 5*time.Second), r); err != nil {
		t.Fatal(err)
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
	a.answer(func(w nethttp.ResponseWriter, _ *nethttp.Request) bool {
		fmt.Fprint(w, `{"data":{"id":7}}`)
		return true
	})
	if _, err := e.Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(fmt.Sprint(err), "/data/key") {
		t.Errorf("an answer without a token: %v", err)
	}
}

func TestValuesCannotBreakOutOfARequest(t *testing.T) {
	a := newAPI(t)
	token := a.first("acme")
	e := engineOf(t, a, "bearer", a.host())
	for name, v := range map[string]engine.Value{
		"a header":        secretOf("bearer", token).With("token", "x\r\nX-Other: y"),
		"the path upward": secretOf("bearer", token).With("account", ".."),
		"no field":        engine.StringValue(`{"engine":"http:bearer"}`),
		"no object":       engine.StringValue(`x`),
	} {
		a.answer(nil)
		_, err := e.Mint(within(t, 5*time.Second), requestFor(v))
		if engine.CauseOf(err) != engine.InvalidSecret || len(a.seen()) > 0 {
			t.Errorf("%s: %v, calls %v", name, err, a.seen())
		}
		if name == "no field" && !strings.Contains(fmt.Sprint(err), "account is missing, token is missing") {
			t.Errorf("not all faults at once: %v", err)
		}
	}
	// A slash stays within its segment, and the API knows no such account.
	_, err := e.Mint(within(t, 5*time.Second), requestFor(secretOf("bearer", token).With("account", "acme/../x?y=z#")))
	if engine.CauseOf(err) != engine.TargetFailed || !slices.Equal(a.seen(), []string{"POST /bearer/accounts/acme/../x?y=z#/tokens"}) {
		t.Errorf("%v, calls %v", err, a.seen())
	}
}

func TestLoadTellsEveryFaultOfARecipe(t *testing.T) {
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
	for text, want := range map[string]string{
		"/no/such/file":                 "cannot be read",
		"{":                             "not of the form",
		good + "{}":                     "text follows",
		change(`"refused"`, `"refuse"`): "unknown field",
		change("https://api.example.com/bearer/me", "http://api.example.com/bearer/me"):              "bearer: verify: the URL is not https",
		change("https://api.example.com/bearer/me", "https://other.example.com/"):                    "bearer: verify: the host other.example.com is not one of hosts",
		change("https://api.example.com/bearer/me", "https://{{host}}/"):                             "bearer: verify: the URL's host is not fixed",
		change("https://api.example.com/bearer/me", "https://user@api.example.com/"):                 "bearer: verify: the URL's host is not fixed",
		change("https://api.example.com/bearer/me", "https://api.example.com/{{.token}}"):            "bearer: verify: a place holder is not of the form",
		change("https://api.example.com/bearer/me", "https://api.example.com/{{rotation.id}}"):       "bearer: verify: {{rotation.id}} is not known there",
		change(`"name": "{{rotation.name}}"`, `"name": "fixed"`):                                     "bearer: issue: {{rotation.name}} is not in it",
		change(`"id": "token_id"`, `"id": "nothing"`):                                                "bearer: id is none of fields; form: id is none of fields; key: id is none of fields",
		change(`"/data/key"`, `"data.key"`):                                                          "bearer: the field token has no JSON pointer",
		change(`"method": "PUT"`, `"method": "put it"`):                                              "key: issue: the method",
		change(`"form": {"id": "{{rotation.id}}"}`, `"form": {"id": "{{rotation.id}}"}, "json": {}`): "form: revoke: there are two bodies",
	} {
		_, err := http.Load(engine.TLSPolicy{}, text)
		if engine.CauseOf(err) != engine.InvalidConfiguration || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	for _, host := range []string{"127.0.0.1:8080", "localhost", "[::1]:80"} {
		if _, err := http.Load(engine.TLSPolicy{}, strings.ReplaceAll(recipes(host), "https://", "http://")); err != nil {
			t.Errorf("plain text to %s: %v", host, err)
		}
	}
}

func TestAnUnknownCAIsTold(t *testing.T) {
	a := newAPI(t)
	e := engineOf(t, &api{Server: a.Server}, "bearer", a.host())
	r := requestFor(secretOf("bearer", a.first("acme")))
	if _, err := e.Mint(within(t, 5*time.Second), r); engine.CauseOf(err) != engine.TLSFailed {
		t.Errorf("%v", err)
	}
}

func TestTheRecipeOfTheDocumentationIsOne(t *testing.T) {
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
