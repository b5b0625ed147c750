package http_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/rotator/rotation/engine"
)

// api is a TLS server that issues tokens through three styles of API.
type api struct {
	*httptest.Server
	ca []byte

	mu     sync.Mutex
	last   int
	tokens map[string]*apiToken // by id
	calls  []string
	// busy may answer a request in place of the API, and then returns true.
	busy func(w nethttp.ResponseWriter, r *nethttp.Request) bool
}

type apiToken struct {
	id, account, name, text string
	revoked                 bool
}

func newAPI(t testing.TB) *api {
	t.Helper()
	a := &api{tokens: make(map[string]*apiToken)}
	mux := nethttp.NewServeMux()
	// Bearer tokens manage the tokens of their account; ids are numbers.
	mux.HandleFunc("POST /bearer/accounts/{account}/tokens",
		a.bearer(func(w nethttp.ResponseWriter, r *nethttp.Request, by *apiToken) {
			var in struct{ Name string }
			if json.NewDecoder(r.Body).Decode(&in) != nil || r.PathValue("account") != by.account ||
				r.Header.Get("Content-Type") != "application/json" {
				w.WriteHeader(400)
				return
			}
			t := a.add(by.account, in.Name)
			w.WriteHeader(201)
			fmt.Fprintf(w, `{"data":{"id":%s,"key":%q}}`, t.id, t.text)
		}))
	mux.HandleFunc("GET /bearer/accounts/{account}/tokens",
		a.bearer(func(w nethttp.ResponseWriter, _ *nethttp.Request, by *apiToken) {
			a.list(w, by.account)
		}))
	mux.HandleFunc("DELETE /bearer/accounts/{account}/tokens/{id}",
		a.bearer(func(w nethttp.ResponseWriter, r *nethttp.Request, by *apiToken) {
			a.revoke(w, by.account, r.PathValue("id"))
		}))
	mux.HandleFunc("GET /bearer/me", a.bearer(func(w nethttp.ResponseWriter, _ *nethttp.Request, by *apiToken) {
		fmt.Fprintf(w, `{"id":%s}`, by.id)
	}))
	// A client with a separate password sends forms to manage tokens.
	mux.HandleFunc("POST /form/tokens", a.client(func(w nethttp.ResponseWriter, r *nethttp.Request, account string) {
		t := a.add(account, r.FormValue("label"))
		fmt.Fprintf(w, `[{"token_id":"%s"},{"value":%q}]`, t.id, t.text)
	}))
	mux.HandleFunc("GET /form/tokens", a.client(func(w nethttp.ResponseWriter, r *nethttp.Request, account string) {
		a.list(w, account)
	}))
	mux.HandleFunc("POST /form/revoke", a.client(func(w nethttp.ResponseWriter, r *nethttp.Request, account string) {
		a.revoke(w, account, r.FormValue("id"))
	}))
	mux.HandleFunc("GET /form/check", a.bearer(func(w nethttp.ResponseWriter, _ *nethttp.Request, _ *apiToken) {
		w.WriteHeader(204)
	}))
	// Keys are sent in a custom header and refused with 403.
	mux.HandleFunc("/key/v2/keys", func(w nethttp.ResponseWriter, r *nethttp.Request) {
		by := a.find(r.Header.Get("X-Api-Key"))
		switch {
		case by == nil:
			w.WriteHeader(403)
		case r.Method == "PUT":
			var in struct{ Meta struct{ Tags []string } }
			if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.Meta.Tags) != 2 {
				w.WriteHeader(400)
				return
			}
			t := a.add(by.account, in.Meta.Tags[1])
			fmt.Fprintf(w, `{"a/b":{"key":%q}}`, t.text)
		case r.Method == "DELETE":
			a.revoke(w, by.account, r.FormValue("id"))
		default:
			a.list(w, by.account)
		}
	})
	a.Server = httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls = append(a.calls, r.Method+" "+r.URL.Path)
		if a.busy != nil && a.busy(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	}))
	a.Config.ErrorLog = log.New(io.Discard, "", 0) // the tests cut connections
	a.StartTLS()
	t.Cleanup(a.Close)
	a.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	return a
}

// The methods up to and including revoke require the lock; the later ones acquire it.

func (a *api) add(account, name string) *apiToken {
	a.last++
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	t := &apiToken{id: strconv.Itoa(a.last), account: account, name: name, text: "tok_" + hex.EncodeToString(b)}
	a.tokens[t.id] = t
	return t
}

func (a *api) find(text string) *apiToken {
	for _, t := range a.tokens {
		if t.text == text && !t.revoked {
			return t
		}
	}
	return nil
}

func (a *api) bearer(do func(nethttp.ResponseWriter, *nethttp.Request, *apiToken)) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if t := a.find(text); ok && t != nil {
			do(w, r, t)
			return
		}
		w.WriteHeader(401)
	}
}

func (a *api) client(do func(nethttp.ResponseWriter, *nethttp.Request, string)) nethttp.HandlerFunc {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if account, password, ok := r.BasicAuth(); ok && password == "p:"+account {
			do(w, r, account)
			return
		}
		w.WriteHeader(401)
	}
}

func (a *api) list(w nethttp.ResponseWriter, account string) {
	items := []map[string]any{}
	for _, t := range a.tokens {
		if t.account == account && !t.revoked {
			items = append(items, map[string]any{"id": json.Number(t.id), "name": t.name})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

func (a *api) revoke(w nethttp.ResponseWriter, account, id string) {
	t := a.tokens[id]
	if t == nil || t.account != account || t.revoked {
		w.WriteHeader(404)
		return
	}
	t.revoked = true
	w.WriteHeader(204)
}

// first creates a token as if by hand.
func (a *api) first(account string) *apiToken {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.add(account, "made by hand")
}

// valid returns the ids of an account's valid tokens.
func (a *api) valid(account string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for _, t := range a.tokens {
		if t.account == account && !t.revoked {
			ids = append(ids, t.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// madeByHand reports whether first created a token.
func (a *api) madeByHand(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tokens[id].name == "made by hand"
}

// opens reports whether a token is valid.
func (a *api) opens(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.find(text) != nil
}

// recipes returns three complete recipes for a host; docs/engines/http.md shows the first one.
func recipes(host string) string {
	return strings.ReplaceAll(`{
  "bearer": {
    "fields": {"token": "/data/key"},
    "id": "token_id",
    "issue": {"method": "POST", "url": "https://HOST/bearer/accounts/{{account}}/tokens",
      "headers": {"Authorization": "Bearer {{token}}"}, "json": {"name": "{{rotation.name}}", "days": 30}},
    "verify": {"url": "https://HOST/bearer/me", "headers": {"Authorization": "Bearer {{token}}"}},
    "list": {"url": "https://HOST/bearer/accounts/{{account}}/tokens",
      "headers": {"Authorization": "Bearer {{token}}"}, "items": "/items", "name": "/name", "token_id": "/id"},
    "revoke": {"method": "DELETE", "url": "https://HOST/bearer/accounts/{{account}}/tokens/{{rotation.id}}",
      "headers": {"Authorization": "Bearer {{token}}"}}
  },
  "form": {
    "fields": {"token": "/1/value"},
    "id": "token_id",
    "issue": {"method": "POST", "url": "https://HOST/form/tokens",
      "basic": "{{account}}:{{password}}", "form": {"label": "{{rotation.name}}"}},
    "verify": {"url": "https://HOST/form/check", "headers": {"Authorization": "Bearer {{token}}"}},
    "list": {"url": "https://HOST/form/tokens",
      "basic": "{{account}}:{{password}}", "items": "/items", "name": "/name", "token_id": "/id"},
    "revoke": {"method": "POST", "url": "https://HOST/form/revoke",
      "basic": "{{account}}:{{password}}", "form": {"id": "{{rotation.id}}"}}
  },
  "key": {
    "fields": {"token": "/a~1b/key"},
    "id": "token_id",
    "issue": {"method": "PUT", "url": "https://HOST/key/v2/keys", "headers": {"X-Api-Key": "{{token}}"},
      "json": {"meta": {"tags": ["{{account}}", "{{rotation.name}}"]}}},
    "verify": {"url": "https://HOST/key/v2/keys", "headers": {"X-Api-Key": "{{token}}"}},
    "refused": [401, 403],
    "list": {"url": "https://HOST/key/v2/keys?prefix={{rotation.prefix}}", "headers": {"X-Api-Key": "{{token}}"},
      "items": "/items", "name": "/name", "token_id": "/id"},
    "revoke": {"method": "DELETE", "url": "https://HOST/key/v2/keys?id={{rotation.id}}",
      "headers": {"X-Api-Key": "{{token}}"}}
  }
}`, "HOST", host)
}

// secretOf returns a secret's value for a recipe.
func secretOf(recipe string, t *apiToken) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"http:%s","account":%q,"password":%q,"token":%q,"token_id":%q}`,
		recipe, t.account, "p:"+t.account, t.text, t.id))
}
