// Package http rotates tokens of HTTP APIs by recipes: which requests issue,
// verify, list and revoke a token is said in the function's configuration.
//
// A token is issued beside the current one, so that both work. Its name tells
// which secret and which version it was issued for: whatever a crash leaves behind
// is found by its name and revoked.
package http

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	nethttp "net/http"
	"regexp"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Engine rotates the tokens of one recipe. Load makes it.
type Engine struct {
	tls    engine.TLSPolicy
	name   string
	recipe Recipe
}

var (
	_ engine.Minter  = (*Engine)(nil)
	_ engine.Retirer = (*Engine)(nil)
)

func newEngine(tls engine.TLSPolicy, name string, r Recipe) *Engine {
	if r.Refused == nil {
		r.Refused = []int{nethttp.StatusUnauthorized}
	}
	return &Engine{tls, name, r}
}

// Kind describes the engine: its name is http: and the recipe's.
func (e *Engine) Kind() engine.Kind {
	return engine.Kind{Names: []string{"http:" + e.name}, Overlap: engine.BothWork, SecretFields: slices.Sorted(maps.Keys(e.recipe.Fields))}
}

// prefix is how the names of a secret's tokens begin.
func prefix(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "rotator-" + hex.EncodeToString(sum[:6]) + "-"
}

// form checks that a value has every field that the recipe needs.
func (e *Engine) form(v engine.Value) error {
	const advice = "the recipe's place holders name the fields that the secret needs"
	if !v.IsObject() {
		return engine.Errorf(engine.InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var faults []string
	for _, c := range []Call{{URL: "/", Headers: e.recipe.Headers}, e.recipe.Issue, e.recipe.Verify, e.recipe.List.Call, e.recipe.Revoke} {
		names, _ := c.placeholders() // checked when it was loaded
		for _, n := range names {
			if s, _ := v.Text(n); s == "" && !strings.HasPrefix(n, "rotation.") {
				faults = append(faults, n+" is missing")
			}
		}
	}
	if faults != nil {
		slices.Sort(faults)
		return engine.Errorf(engine.InvalidSecret, advice, "the secret's value does not suit the recipe %s: %s", e.name, strings.Join(slices.Compact(faults), ", "))
	}
	return nil
}

// Next checks the value's form; the target knows the next one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return r.Current, e.form(r.Current)
}

// Mint issues a token. Its name is the secret's, the version's and its own: what
// an earlier call left behind, or another one at the same time has issued, stays
// until Set, when it is known which of them was stored.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	if err := e.form(r.Current); err != nil {
		return engine.Value{}, err
	}
	x := e.exchange()
	defer x.close()
	const what = "issuing a token"
	var own [4]byte
	_, _ = rand.Read(own[:]) // never fails, says crypto/rand
	name := prefix(r.Secret) + r.Version + "-" + hex.EncodeToString(own[:])
	a, err := x.send(ctx, what, e.recipe.Issue, words(r.Login, map[string]string{"name": name}))
	if err != nil {
		return engine.Value{}, err
	}
	if !a.ok() {
		return engine.Value{}, refusal(what, a, nethttp.StatusUnauthorized)
	}
	const advice = "compare the pointers of the recipe's fields with the API's documentation"
	body, err := decode(a.body)
	if err != nil {
		return engine.Value{}, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
	}
	next := r.Current
	for _, field := range slices.Sorted(maps.Keys(e.recipe.Fields)) {
		s, ok := text(body, e.recipe.Fields[field])
		if !ok {
			// The token is lost, and found by its name at the next Set.
			return engine.Value{}, engine.Errorf(engine.TargetFailed, advice, "%s: the answer has no text at %s", what, e.recipe.Fields[field])
		}
		next = next.With(field, s)
	}
	return next, nil
}

// Set revokes every token of this secret but the pending and the current one: the
// one before, and those that crashes left behind. The pending one is valid since
// it was issued.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current, r.Login)
}

// Retire revokes every token of this secret but the pending one.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending)
}

// revokeBut lists the tokens and revokes those that carry the secret's prefix or
// stand in one of its values, but for the ones to keep.
func (e *Engine) revokeBut(ctx context.Context, r *engine.Request, keep ...engine.Value) error {
	x := e.exchange()
	defer x.close()
	tokens, err := x.list(ctx, r.Secret, r.Login)
	if err != nil {
		return err
	}
	kept, known := e.ids(keep...), e.ids(r.Current, r.Previous)
	for _, t := range tokens {
		if slices.Contains(kept, t.id) || !strings.HasPrefix(t.name, prefix(r.Secret)) && !slices.Contains(known, t.id) {
			continue
		}
		if err := x.revoke(ctx, r.Login, t.id); err != nil {
			return err
		}
	}
	return nil
}

// ids returns the ids of the values' tokens.
func (e *Engine) ids(values ...engine.Value) []string {
	var ids []string
	for _, v := range values {
		if id, _ := v.Text(e.recipe.ID); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Verify makes the recipe's call with the token, and lists tokens by it, which the
// next rotation needs.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	if err := e.form(v); err != nil {
		return err
	}
	x := e.exchange()
	defer x.close()
	const what = "the call that verifies the token"
	a, err := x.send(ctx, what, e.recipe.Verify, words(v, nil))
	if err != nil {
		return err
	}
	if !a.ok() {
		return refusal(what, a, e.recipe.Refused...)
	}
	_, err = x.list(ctx, r.Secret, v)
	return err
}

// Revoke revokes the token that Next has issued.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	id, ok := r.Pending.Text(e.recipe.ID)
	if !ok {
		return engine.Errorf(engine.InvalidSecret, "revoke the token by hand", "the pending value has no field %s", e.recipe.ID)
	}
	x := e.exchange()
	defer x.close()
	return x.revoke(ctx, r.Login, id)
}

func (x *exchange) revoke(ctx context.Context, login engine.Value, id string) error {
	const what = "revoking a token"
	a, err := x.send(ctx, what, x.engine.recipe.Revoke, words(login, map[string]string{"id": id}))
	if err != nil {
		return err
	}
	if !a.ok() && a.status != nethttp.StatusNotFound && a.status != nethttp.StatusGone {
		return refusal(what, a)
	}
	return nil
}

// token is one that the API lists.
type token struct{ id, name string }

// pageLimit bounds how many pages of a list are read.
const pageLimit = 100

// list returns the tokens on all pages. It is the first call of whatever needs it,
// so that the status 401 means that the login was refused before any change.
func (x *exchange) list(ctx context.Context, secret string, login engine.Value) ([]token, error) {
	const what, advice = "listing tokens", "compare the recipe's list with the API's documentation"
	l := x.engine.recipe.List
	call, look := l.Call, words(login, map[string]string{"prefix": prefix(secret)})
	var tokens []token
	for range pageLimit {
		a, err := x.send(ctx, what, call, look)
		if err != nil {
			return nil, err
		}
		if !a.ok() {
			return nil, refusal(what, a, nethttp.StatusUnauthorized)
		}
		body, err := decode(a.body)
		if err != nil {
			return nil, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
		}
		found, _ := resolve(body, l.Items)
		items, ok := found.([]any)
		if !ok {
			return nil, engine.Errorf(engine.TargetFailed, advice, "%s: the answer has no array at %q", what, l.Items)
		}
		for _, item := range items {
			id, ok := text(item, l.TokenID)
			if !ok {
				return nil, engine.Errorf(engine.TargetFailed, advice, "%s: a token has no id at %s", what, l.TokenID)
			}
			name, _ := text(item, l.Name) // a token that others made may have none
			tokens = append(tokens, token{id, name})
		}
		next := nextPage(a, body, l.Next)
		if next == "" {
			return tokens, nil
		}
		if fault := x.engine.recipe.forbids(next); fault != "" {
			return nil, engine.Errorf(engine.TargetFailed, "add the host to the recipe's hosts if it may have the token", "%s: the next page's address is not allowed: %s", what, fault)
		}
		call.URL = strings.ReplaceAll(next, "{{", "%7B%7B") // it is no template
	}
	return nil, engine.Errorf(engine.TargetFailed, "have the recipe list fewer tokens, by {{rotation.prefix}} in its query", "%s: there are more than %d pages", what, pageLimit)
}

// linkForm is one link of a Link header.
var linkForm = regexp.MustCompile(`<([^>]*)>\s*((?:;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]*)\s*)*)`)

// nextPage returns the absolute URL of the next page, or "".
func nextPage(a *answer, body any, pointer string) string {
	next := ""
	if pointer != "" {
		next, _ = text(body, pointer)
	}
	for _, header := range a.header.Values("Link") {
		for _, m := range linkForm.FindAllStringSubmatch(header, -1) {
			if strings.Contains(m[2], `rel="next"`) || strings.Contains(m[2], "rel=next") {
				next = m[1]
			}
		}
	}
	if next == "" {
		return ""
	}
	u, err := a.from.Parse(next)
	if err != nil {
		return next // and is not allowed
	}
	u.Fragment = ""
	return u.String()
}
