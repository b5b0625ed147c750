//go:build repro

package http_test

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"encoding/pem"

	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/http"
	"example.com/rotator/rotation/operator"
)

// Z1: whoever may put a value (and not read one) writes another program's token id
// beside a junk token: the function revokes that token by the secret's real one.
func TestZZWriterHasAStrangersTokenRevoked(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	own := a.first("acme")
	victim := a.first("acme")
	arn := w.Secret("app/api", string(secretOf("bearer", own).Reveal()))
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	// By one call of PutSecretValue with a label: AWSCURRENT stays as it is.
	w.Put(arn, fmt.Sprintf(`{"engine":"http:bearer","account":"acme","token":"junk","token_id":%q}`, victim.id), "AWSPREVIOUS")
	if !a.opens(victim.text) {
		t.Fatal("dead before")
	}
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	t.Logf("the stranger's token is valid: %v", a.opens(victim.text))
	if !a.opens(victim.text) {
		t.Error("PROVED: the stranger's token was revoked on its id alone")
	}
}

// Z1b: the same with AWSCURRENT, and rotator:retire=now.
func TestZZWriterHasAStrangersTokenRevokedByCurrent(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	own := a.first("acme")
	victim := a.first("acme")
	arn := w.Secret("app/api", string(secretOf("bearer", own).Reveal()), "rotator:retire", "now")
	w.Put(arn, fmt.Sprintf(`{"engine":"http:bearer","account":"acme","password":"p:acme","token":"junk","token_id":%q}`, victim.id))
	err := w.Rotate(arn)
	t.Logf("rotate: %v; stranger's token valid: %v; own old valid: %v", err, a.opens(victim.text), a.opens(own.text))
	if !a.opens(victim.text) {
		t.Error("PROVED")
	}
}

// Z2: an API that redirects DELETE by 301 (a slash at the end) is believed.
func TestZZRevokeThatIsRedirectedRevokesNothing(t *testing.T) {
	for name, busy := range map[string]func(w nethttp.ResponseWriter, r *nethttp.Request) bool{
		"301 to GET": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				nethttp.Redirect(w, r, "/bearer/me", 301)
				return true
			}
			return false
		},
		"404 of a wrong path": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				w.WriteHeader(404)
				return true
			}
			return false
		},
		"a list of something else": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/tokens") {
				fmt.Fprint(w, `{"items":[]}`)
				return true
			}
			return false
		},
		"202, later refused": func(w nethttp.ResponseWriter, r *nethttp.Request) bool {
			if r.Method == "DELETE" {
				w.WriteHeader(202)
				return true
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
			arn := w.Secret("app/api", string(secretOf("bearer", a.first("acme")).Reveal()))
			a.answer(busy)
			for range 6 {
				if err := w.Rotate(arn); err != nil {
					t.Fatal(err)
				}
			}
			n := len(a.valid("acme"))
			t.Logf("6 rotations succeeded, %d tokens are valid; WARN in log: %v", n, strings.Contains(w.Log.String(), "WARN"))
			if n > 3 {
				t.Error("PROVED: nothing was ever revoked and nothing says so")
			}
		})
	}
}

// Z3: a createSecret that fails after the token was issued issues one at each try.
func TestZZEveryTryOfAFailingCreateSecretIssuesAToken(t *testing.T) {
	a := newAPI(t)
	text := strings.Replace(recipes(a.host()), `"token": "/data/key", "token_id": "/data/id"`, `"token": "/data/key", "token_id": "/data/uid"`, 1)
	engines, err := http.Load(engine.TLSPolicy{ExtraCAs: a.ca}, text)
	if err != nil {
		t.Fatal(err)
	}
	var list []engine.Engine
	for _, e := range engines {
		list = append(list, e)
	}
	w := zzworld.New(t, list...)
	arn := w.Secret("app/api", string(secretOf("bearer", a.first("acme")).Reveal()))
	token := w.Begin(arn)
	for range 10 {
		err = w.Step(arn, token, rotation.CreateSecret)
	}
	t.Logf("after 10 tries of one createSecret %d tokens are valid: %v", len(a.valid("acme")), err)
	if n := len(a.valid("acme")); n > 3 {
		t.Errorf("PROVED: %d tokens", n)
	}
}

// Z3b: 5xx although the token was made: four per try.
func TestZZIssueIsRepeatedAfter5xx(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	own := a.first("acme")
	arn := w.Secret("app/api", string(secretOf("bearer", own).Reveal()))
	a.answer(func(rw nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.Method == "POST" {
			a.add("acme", "rotator-whatever")
			rw.WriteHeader(502)
			return true
		}
		return false
	})
	token := w.Begin(arn)
	err := w.Step(arn, token, rotation.CreateSecret)
	t.Logf("%d tokens after one createSecret: %v", len(a.valid("acme"))-1, err)
}

// Z4: an abandoned rotation leaves its token valid, also after `recover`.
func TestZZCancelledRotationLeavesItsToken(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	arn := w.Secret("app/api", string(secretOf("bearer", a.first("acme")).Reveal()))
	token := w.Begin(arn)
	if err := w.Step(arn, token, rotation.CreateSecret); err != nil {
		t.Fatal(err)
	}
	rep := operator.Check(t.Context(), w.Rotator(), arn)
	t.Logf("check: %+v", rep)
	t.Logf("valid: %d", len(a.valid("acme")))
}

// Z5: path traversal by a field that stands in a path.
func TestZZPathOfAField(t *testing.T) {
	var seen []string
	s := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		seen = append(seen, r.Method+" raw="+r.URL.EscapedPath()+" path="+r.URL.Path+" auth="+r.Header.Get("Authorization"))
		w.WriteHeader(404)
	}))
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	engines, err := http.Load(engine.TLSPolicy{ExtraCAs: ca}, recipes(strings.TrimPrefix(s.URL, "https://")))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(engines, func(e *http.Engine) bool { return e.Kind().Names[0] == "http:bearer" })
	v := engine.StringValue(`{"engine":"http:bearer","account":"../../admin/users/1","token":"REAL","token_id":"9"}`)
	_, err = engines[i].Mint(t.Context(), requestFor(v))
	t.Logf("%v %q", err, seen)
}

// Z6: whoever may put a value names another recipe: the real token of AWSPREVIOUS goes
// to that recipe's host, which is another organisation's.
func TestZZTokenGoesToAnotherRecipesHost(t *testing.T) {
	a := newAPI(t)
	var got []string
	b := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		got = append(got, r.Header.Get("Authorization"))
		w.WriteHeader(401)
	}))
	defer b.Close()
	cas := append(slices.Clone(a.ca), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw})...)
	one := recipes(a.host())
	two := strings.ReplaceAll(strings.Replace(recipes(strings.TrimPrefix(b.URL, "https://")), `"bearer"`, `"other"`, 1), "zz", "")
	var list []engine.Engine
	for _, text := range []string{one, two} {
		engines, err := http.Load(engine.TLSPolicy{ExtraCAs: cas}, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range engines {
			if n := e.Kind().Names[0]; n == "http:bearer" || n == "http:other" {
				list = append(list, e)
			}
		}
	}
	w := zzworld.New(t, list...)
	own := a.first("acme")
	arn := w.Secret("app/api", string(secretOf("bearer", own).Reveal()))
	w.Put(arn, `{"engine":"http:other","account":"x","token":"junk","token_id":"0"}`)
	err := w.Rotate(arn)
	t.Logf("%v; the other host has the real token: %v (%d logins)", err, slices.Contains(got, "Bearer "+own.text), len(got))
	if slices.Contains(got, "Bearer "+own.text) {
		t.Error("PROVED")
	}
}

// Z7: a number becomes a text.
func TestZZNumberBecomesAText(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	own := a.first("acme")
	arn := w.Secret("app/api", fmt.Sprintf(`{"engine":"http:bearer","account":"acme","token":%q,"token_id":%s}`, own.text, own.id))
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	t.Log(w.Get(arn, "AWSCURRENT"))
}

// Z8: createSecret issues before it knows whether the token may list and revoke.
func TestZZIssuesBeforeItLooks(t *testing.T) {
	a := newAPI(t)
	w := zzworld.New(t, engineOf(t, a, "bearer", a.host()))
	arn := w.Secret("app/api", string(secretOf("bearer", a.first("acme")).Reveal()))
	a.answer(func(rw nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/tokens") {
			rw.WriteHeader(403)
			return true
		}
		return false
	})
	for range 3 {
		token := w.Begin(arn)
		create := w.Step(arn, token, rotation.CreateSecret)
		set := w.Step(arn, token, rotation.SetSecret)
		t.Logf("create: %v; set: %v; %d tokens", create, set, len(a.valid("acme")))
		if create == nil && set != nil {
			t.Error("PROVED: P6")
		}
		break
	}
}

// Z9: a verify that asks for nothing accepts every token: nothing checks the recipe.
func TestZZVerifyThatIsPublic(t *testing.T) {
	a := newAPI(t)
	text := strings.Replace(recipes(a.host()), `"verify": {"url": "https://HOST/form/check", "headers": {"Authorization": "Bearer {{token}}"}}`, "", 1)
	text = strings.Replace(text, a.host()+`/form/check", "headers": {"Authorization": "Bearer {{token}}"}`, a.host()+`/public", "headers": {"X": "{{token}}"}`, 1)
	a.answer(func(rw nethttp.ResponseWriter, r *nethttp.Request) bool {
		if r.URL.Path == "/public" {
			rw.WriteHeader(204)
			return true
		}
		return false
	})
	engines, err := http.Load(engine.TLSPolicy{ExtraCAs: a.ca}, text)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(engines, func(e *http.Engine) bool { return e.Kind().Names[0] == "http:form" })
	w := zzworld.New(t, engines[i])
	arn := w.Secret("app/api", string(secretOf("form", a.first("acme")).Reveal()))
	token := w.Begin(arn)
	if err := w.Step(arn, token, rotation.CreateSecret); err != nil {
		t.Fatal(err)
	}
	// The token is revoked by an administrator before the rotation ends.
	a.mu.Lock()
	for _, k := range a.tokens {
		if strings.HasPrefix(k.name, "rotator-") {
			k.revoked = true
		}
	}
	a.mu.Unlock()
	err = w.All(arn, token)
	v := engine.StringValue(w.Get(arn, "AWSCURRENT"))
	text2, _ := v.Text("token")
	t.Logf("%v; AWSCURRENT is valid: %v", err, a.opens(text2))
	if err == nil && !a.opens(text2) {
		t.Error("PROVED: a dead token is promoted")
	}
}
