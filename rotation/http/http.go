// Package http rotates tokens of HTTP APIs by recipes in the function's configuration, which say what
// requests issue, verify, list and revoke a token.
//
// A token is issued next to the current one, and both work. Its name tells which secret and version it
// was issued for: what a crash leaves is found by its name and revoked.
package http

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/internal/mark"
)

// Engine rotates the tokens of one recipe; see Load.
type Engine struct {
	tls    engine.TLSPolicy
	name   string
	recipe Recipe
}

// Kind describes the engine: its name is http: and the recipe's.
func (e *Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"http:" + e.name},
		Overlap:      engine.BothWork,
		SecretFields: slices.Sorted(maps.Keys(e.recipe.Fields)),
		PlaceFields:  e.recipe.place(),
	}
}

const adviceFields = "the recipe's placeholders name the fields that the secret needs"

// form checks that a value has every field that the recipe needs.
func (e *Engine) form(v engine.Value) error {
	if !v.IsObject() {
		return engine.Errorf(engine.InvalidSecret, adviceFields, "the secret's value cannot be read: %s", v.Fault())
	}
	sample := values{v, map[string]string{"name": "name", "prefix": "prefix", "id": "id"}}
	var faults []string
	for _, c := range e.recipe.calls() {
		_, wrong := c.request(context.Background(), sample)
		faults = append(faults, wrong...)
	}
	if faults != nil {
		slices.Sort(faults)
		return engine.Errorf(engine.InvalidSecret, adviceFields, "the secret's value does not suit the recipe %s: %s", e.name, strings.Join(slices.Compact(faults), ", "))
	}
	return nil
}

// Next checks the value's form; the target knows the next one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return r.Current, e.form(r.Current)
}

// Mint issues a token, whose name is a mark. It looks before: whether the login is accepted, and whether
// the list shows it. What earlier rotations left is revoked first, so nothing piles up while revoking
// fails; and a token that the list does not show under its name is taken back.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	if err := e.form(r.Current); err != nil {
		return engine.Value{}, err
	}
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return engine.Value{}, err
	}
	defer x.close()
	// Where a client with a password lists the tokens, a dead one can be replaced.
	_, refused := x.verify(ctx, r.Login)
	if refused != nil && !errors.Is(refused, engine.LoginRefused) {
		return engine.Value{}, refused
	}
	before, err := x.list(ctx)
	if err == nil && refused == nil {
		err = x.shows(before, r.Login)
	}
	if err != nil {
		return engine.Value{}, err
	}
	kept := e.ids(r.Current, r.Previous, r.Login)
	if err := x.end(ctx, choose(before, func(t token) bool {
		return mark.Abandoned(t.name, r.Secret, r.Version) && !slices.Contains(kept, t.id)
	})); err != nil {
		return engine.Value{}, err
	}
	within, cancel := mark.LeaveTime(ctx)
	defer cancel()
	name := mark.New(r.Secret, r.Version)
	next, issued, err := x.issue(within, r.Current, name)
	if err == nil {
		id, _ := next.Text(e.recipe.ID)
		what, exact := "the list does not show the new token", false
		err = x.await(within, what, func(tokens []token) bool {
			exact = slices.Contains(tokens, token{id, name})
			return has(tokens, id) || slices.ContainsFunc(tokens, func(t token) bool { return t.name == name })
		})
		if err == nil && !exact {
			err = engine.Errorf(engine.TargetFailed, adviceList, "%s with its id and its name", what)
		}
	}
	if err != nil && issued {
		return engine.Value{}, mark.Lost(name, err, x.takeBack(ctx, before, next, name))
	}
	return next, err
}

// issue makes the recipe's call and returns current with the token that is in the answer. issued is
// false where the API has certainly issued none. A field that the answer lacks is empty.
func (x *exchange) issue(ctx context.Context, current engine.Value, name string) (next engine.Value, issued bool, err error) {
	const what, advice = "issuing a token", "compare the pointers of the recipe's fields with the API's documentation"
	recipe := x.engine.recipe
	next = current
	for field := range recipe.Fields {
		next = next.With(field, "")
	}
	a, err := x.send(ctx, what, recipe.Issue, values{x.login, map[string]string{"name": name}}, turnedAway)
	if err != nil {
		return next, true, err
	}
	if !a.OK() {
		return next, a.Status < 400 || a.Status >= 500, refusal(what, a, nethttp.StatusUnauthorized)
	}
	var body any
	if httpapi.Decode(a.Body, &body) != nil {
		return next, true, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
	}
	for _, field := range slices.Sorted(maps.Keys(recipe.Fields)) {
		s, number, ok := scalar(body, recipe.Fields[field])
		switch old := string(current.JSON(field)); {
		case !ok:
			err = engine.Errorf(engine.TargetFailed, advice, "%s: the answer has no text at %s", what, recipe.Fields[field])
		case number && !strings.HasPrefix(old, `"`):
			next = next.WithJSON(field, []byte(s))
		default:
			next = next.With(field, s)
		}
	}
	return next, true, err
}

// takeBack revokes a token that was issued in vain, or may have been. It knows the token by its name.
// Where the list shows no such name, the id in the answer counts, if it was nobody's before; and then a
// login has to show that the token has ended.
func (x *exchange) takeBack(ctx context.Context, before []token, next engine.Value, name string) error {
	after, err := x.list(ctx)
	if err != nil {
		return err
	}
	doomed := choose(after, func(t token) bool { return t.name == name })
	id, _ := next.Text(x.engine.recipe.ID)
	if doomed != nil || id == "" || has(before, id) {
		return x.end(ctx, doomed)
	}
	if err := x.end(ctx, []string{id}); err != nil {
		return err
	}
	switch _, err = x.verify(ctx, next); {
	case err == nil:
		return errors.New("it is still accepted")
	case errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.InvalidSecret):
		return nil
	}
	return err
}

// Set revokes every token of this secret but the pending and the current one: the one before, and
// those that crashes left. The pending one is valid since it was issued.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current, r.Login)
}

// Retire revokes every token of this secret but the pending one.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending)
}

// revokeBut revokes the tokens that bear the secret's mark, and the unmarked ones that its values are
// proved to hold, but for the ones to keep. It fails where the list does not show the pending one.
func (e *Engine) revokeBut(ctx context.Context, r *engine.Request, keep ...engine.Value) error {
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return err
	}
	defer x.close()
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	if pending, _ := r.Pending.Text(e.recipe.ID); !has(tokens, pending) {
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again", "the API does not list the pending token")
	}
	kept := e.ids(keep...)
	doomed := choose(tokens, func(t token) bool {
		return strings.HasPrefix(t.name, mark.Prefix(r.Secret)) && !slices.Contains(kept, t.id)
	})
	for _, v := range []engine.Value{r.Current, r.Previous} {
		id, _ := v.Text(e.recipe.ID)
		if slices.Contains(kept, id) || slices.Contains(doomed, id) || !has(tokens, id) {
			continue
		}
		proved, err := x.proves(ctx, v, id)
		switch {
		case err != nil:
			return err
		case proved:
			doomed = append(doomed, id)
		default:
			r.Warn("the token " + id + " of an earlier version stays valid: neither its name nor a login shows that it is the secret's; revoke it by hand")
		}
	}
	return x.end(ctx, doomed)
}

// proves reports whether a value holds the token with the id: by the answer to verify, because anybody
// who may write the secret can put any id next to a token.
func (x *exchange) proves(ctx context.Context, v engine.Value, id string) (bool, error) {
	pointer := x.engine.recipe.Verify.TokenID
	if pointer == "" {
		return false, nil
	}
	body, err := x.verify(ctx, v)
	if err != nil {
		if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.InvalidSecret) {
			err = nil
		}
		return false, err
	}
	var answer any
	_ = httpapi.Decode(body, &answer) // what is no JSON shows no id
	s, _, ok := scalar(answer, pointer)
	return ok && s == id, nil
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

// Verify makes the recipe's call with the token, and lists tokens by it, which the next rotation
// needs. The list has to show the token.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.exchange(r, v)
	if err != nil {
		return err
	}
	defer x.close()
	if _, err := x.verify(ctx, v); err != nil {
		return err
	}
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	return x.shows(tokens, v)
}

// verify makes the recipe's call with a value, and again with a token that was made up: a call that
// succeeds for any token says nothing. It returns the first answer.
func (x *exchange) verify(ctx context.Context, v engine.Value) ([]byte, error) {
	const what = "the call that verifies the token"
	a, err := x.send(ctx, what, x.engine.recipe.Verify.Call, values{Value: v}, busy)
	if err != nil {
		return nil, err
	}
	if !a.OK() {
		return nil, refusal(what, a, x.engine.recipe.Refused...)
	}
	for _, field := range x.engine.recipe.secrets() {
		s, _ := v.Text(field)
		v = v.With(field, strings.Repeat(rand.Text(), 1+len(s)/26)[:max(len(s), 8)])
	}
	probe, err := x.send(ctx, what, x.engine.recipe.Verify.Call, values{Value: v}, busy)
	if err != nil {
		return nil, err
	}
	if probe.OK() {
		return nil, engine.Errorf(engine.InvalidConfiguration, "have the recipe's verify ask for what the API gives to valid tokens alone", "%s also succeeds with a token that was made up", what)
	}
	return a.Body, nil
}

// shows returns an error where the tokens lack the value's own. A list that is filtered by
// {{rotation.prefix}} does not show a token that was made by hand.
func (x *exchange) shows(tokens []token, v engine.Value) error {
	id, _ := v.Text(x.engine.recipe.ID)
	if id == "" || has(tokens, id) || slices.Contains(x.engine.recipe.List.names(), "rotation.prefix") {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe's list, and the secret's field "+x.engine.recipe.ID+", with what the API has", "the list does not show the token that was accepted, so it cannot tell what is valid")
}

// Revoke revokes the token that Mint has issued. A token without the secret's mark is not one.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return err
	}
	defer x.close()
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	id, _ := r.Pending.Text(e.recipe.ID)
	for _, t := range tokens {
		if t.id == id && !strings.HasPrefix(t.name, mark.Prefix(r.Secret)) {
			return engine.Errorf(engine.TakeoverRefused, "revoke the token by hand", "the token %s in the pending value does not bear the secret's mark", id)
		}
	}
	return x.end(ctx, choose(tokens, func(t token) bool { return t.id == id }))
}

// end revokes tokens. The list decides whether they have ended, and not the answers.
func (x *exchange) end(ctx context.Context, ids []string) error {
	const what = "revoking a token"
	for _, id := range ids {
		a, err := x.send(ctx, what, x.engine.recipe.Revoke, values{x.login, map[string]string{"id": id}}, busy)
		if err != nil {
			return err
		}
		if !a.OK() && a.Status != nethttp.StatusNotFound && a.Status != nethttp.StatusGone {
			return refusal(what, a)
		}
	}
	if ids == nil {
		return nil
	}
	return x.await(ctx, "the list still shows a token that was revoked", func(tokens []token) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return has(tokens, id) })
	})
}

const adviceList = "compare the recipe with the API's documentation: list must show every token that is valid, and no other"

// await lists the tokens until they are as they should be, for a few seconds: a list may be behind.
func (x *exchange) await(ctx context.Context, otherwise string, ok func([]token) bool) error {
	const patience = 5 * time.Second
	begin := time.Now()
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		tokens, err := x.list(ctx)
		if err != nil || ok(tokens) {
			return err
		}
		if time.Since(begin)+pause > patience || httpapi.Wait(ctx, pause) != nil {
			return engine.Errorf(engine.TargetFailed, adviceList, "%s", otherwise)
		}
	}
}

func has(tokens []token, id string) bool {
	return slices.ContainsFunc(tokens, func(t token) bool { return t.id == id })
}

// choose returns the ids of some tokens.
func choose(tokens []token, which func(token) bool) (ids []string) {
	for _, t := range tokens {
		if which(t) {
			ids = append(ids, t.id)
		}
	}
	return ids
}

// token is one that the API lists.
type token struct{ id, name string }

// What is read of a list is bounded.
const (
	pageLimit  = 100
	tokenLimit = 10_000
)

// list returns the tokens on all pages. It is called before any change, so the status 401 means that the
// login was refused.
func (x *exchange) list(ctx context.Context) ([]token, error) {
	const what, advice = "listing tokens", "compare the recipe's list with the API's documentation"
	const adviceLong = "have the recipe list fewer tokens, by {{rotation.prefix}} in its query"
	l := x.engine.recipe.List
	call, with := l.Call, values{x.login, map[string]string{"prefix": mark.Prefix(x.secret)}}
	var tokens []token
	for range pageLimit {
		a, err := x.send(ctx, what, call, with, busy)
		if err != nil {
			return nil, err
		}
		if !a.OK() {
			return nil, refusal(what, a, nethttp.StatusUnauthorized)
		}
		var body any
		if httpapi.Decode(a.Body, &body) != nil {
			return nil, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
		}
		items, ok := resolve(body, l.Items).([]any)
		if !ok {
			return nil, engine.Errorf(engine.TargetFailed, advice, "%s: the answer has no array at %q", what, l.Items)
		}
		for _, item := range items {
			id, _, ok := scalar(item, l.TokenID)
			if !ok {
				return nil, engine.Errorf(engine.TargetFailed, advice, "%s: a token has no id at %s", what, l.TokenID)
			}
			name, _, _ := scalar(item, l.Name) // a token that others made may have none
			tokens = append(tokens, token{id, name})
		}
		if len(tokens) > tokenLimit {
			return nil, engine.Errorf(engine.TargetFailed, adviceLong, "%s: there are more than %d tokens", what, tokenLimit)
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
	return nil, engine.Errorf(engine.TargetFailed, adviceLong, "%s: there are more than %d pages", what, pageLimit)
}

// linkForm is one link of a Link header.
var linkForm = lazyregexp.New(`<([^>]*)>\s*((?:;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]*)\s*)*)`)

// nextPage returns the absolute URL of the next page, or "".
func nextPage(a *httpapi.Answer, body any, pointer string) string {
	next, _, _ := scalar(body, pointer) // none at "", where there is an object or an array
	for _, header := range a.Header.Values("Link") {
		for _, m := range linkForm.FindAllStringSubmatch(header, -1) {
			if strings.Contains(m[2], `rel="next"`) || strings.Contains(m[2], "rel=next") {
				next = m[1]
			}
		}
	}
	if next == "" {
		return ""
	}
	u, err := a.From.Parse(next)
	if err != nil {
		return next // and is not allowed
	}
	u.Fragment = ""
	return u.String()
}

// Needs says that the API alone knows its rights.
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Note = "the token needs what the recipe's calls ask of the API; see the API's own manual"
	return nil
}
