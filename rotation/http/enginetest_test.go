package http_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/http"
)

// harness is the API with one recipe.
type harness struct {
	api    *api
	recipe string
	host   string
	t      testing.TB
}

func TestEngine(t *testing.T) {
	for _, recipe := range []string{"bearer", "form", "key"} {
		t.Run(recipe, func(t *testing.T) {
			enginetest.Run(t, func(t *testing.T) enginetest.Harness {
				a := newAPI(t)
				return &harness{api: a, recipe: recipe, host: strings.TrimPrefix(a.URL, "https://"), t: t}
			})
		})
	}
}

func (h *harness) Engine() engine.Engine { return engineOf(h.t, h.api, h.recipe, h.host) }

func engineOf(t testing.TB, a *api, recipe, host string) *http.Engine {
	engines, err := http.Load(engine.TLSPolicy{ExtraCAs: a.ca}, recipes(host))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		if e.Kind().Names[0] == "http:"+recipe {
			return e
		}
	}
	t.Fatalf("no recipe %s", recipe)
	return nil
}

func (h *harness) Target() string { return strings.TrimPrefix(h.api.URL, "https://") }

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{Overlap: true} }

func (h *harness) New(_ context.Context, _ string, port int) (value, superuser engine.Value, err error) {
	h.host = fmt.Sprintf("127.0.0.1:%d", port)
	return secretOf(h.recipe, h.api.first(testserver.Unique("account"))), superuser, nil
}

func (h *harness) Open(_ context.Context, v engine.Value) error {
	if token, _ := v.Text("token"); !h.api.opens(token) {
		return engine.LoginRefused
	}
	return nil
}

func (h *harness) Restore(context.Context, engine.Value) error { return errors.ErrUnsupported }

func (h *harness) Strays(_ context.Context, versions []engine.Value) (strays []string, err error) {
	var known []string
	account := ""
	for _, v := range versions {
		id, _ := v.Text("token_id")
		known = append(known, id)
		account, _ = v.Text("account")
	}
	for _, id := range h.api.valid(account) {
		// The function did not issue the first token, and does not revoke it.
		if !slices.Contains(known, id) && !h.api.madeByHand(id) {
			strays = append(strays, id)
		}
	}
	return strays, nil
}
