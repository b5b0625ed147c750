// Package http rotates tokens of HTTP APIs. Recipes in the function's configuration define the requests that issue,
// verify, list and revoke a token.
//
// A rotation issues a second token, and both work. A token's name identifies the secret and version that it was issued
// for, so a later rotation can find and revoke a token that a crash left behind.
package http

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// Kind describes the engine. Its name is http: followed by the recipe's name.
func (e *Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"http:" + e.name},
		Overlap:      engine.BothWork,
		SecretFields: append(slices.Sorted(maps.Keys(e.recipe.Fields)), e.recipe.ID),
		PlaceFields:  e.recipe.place(),
	}
}

const adviceFields = "the recipe's placeholders name the fields that the secret needs"

// form checks that a value has every field that the recipe's calls use.
func (e *Engine) form(v engine.Value) error {
	if !v.IsObject() {
		return engine.Errorf(engine.InvalidSecret, adviceFields, "the secret's value cannot be read: %s", v.Fault())
	}
	var faults []string
	for _, c := range e.recipe.calls() {
		_, wrong := c.call.request(context.Background(), fields(v, c.word, "x"))
		faults = append(faults, wrong...)
	}
	if faults != nil {
		slices.Sort(faults)
		return engine.Errorf(engine.InvalidSecret, adviceFields, "the secret's value does not fit the recipe %s: %s",
			e.name, strings.Join(slices.Compact(faults), ", "))
	}
	return nil
}

// Next checks the value's format. The API chooses the next token.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return r.Current, e.form(r.Current)
}

// Mint issues a token named with a mark, and revokes it again unless the list shows it. It first checks that the login
// is accepted and listed, and revokes leftovers of earlier rotations.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return engine.Value{}, err
	}
	defer x.close()
	// If a password authenticates the list, even a revoked token can be replaced.
	refused := x.verify(ctx, r.Login)
	if refused != nil && !errors.Is(refused, engine.LoginRefused) {
		return engine.Value{}, refused
	}
	tokens, err := x.list(ctx)
	if err == nil && refused == nil {
		err = x.shows(tokens, r.Login)
	}
	if err != nil {
		return engine.Value{}, err
	}
	kept := e.ids(r.Current, r.Previous, r.Login)
	if err := x.end(ctx, choose(tokens, func(t token) bool {
		return mark.Abandoned(t.name, r.Secret, r.Version) && !slices.Contains(kept, t.id)
	})); err != nil {
		return engine.Value{}, err
	}
	within, cancel := mark.LeaveTime(ctx)
	defer cancel()
	name := mark.New(r.Secret, r.Version)
	next, issued, err := x.issue(within, r.Current, name)
	answered := err == nil
	if answered {
		err = x.await(within, "the list does not show the new token "+name, func(tokens []token) bool {
			i := slices.IndexFunc(tokens, func(t token) bool { return t.name == name })
			if i >= 0 {
				next = put(next, e.recipe.ID, tokens[i].id)
			}
			return i >= 0
		})
	}
	if err != nil && issued {
		return engine.Value{}, mark.Lost(name, err, x.takeBack(ctx, name, answered))
	}
	return next, err
}

// put sets a field to text, or to a number if it was one and text is one in JSON.
func put(v engine.Value, field, text string) engine.Value {
	old := v.JSON(field)
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && strconv.FormatInt(n, 10) == text && old != nil && old[0] != '"' && old[0] != 'n' { // null
		return v.WithJSON(field, []byte(text))
	}
	return v.With(field, text)
}

// issue makes the recipe's call and returns current with the new token. issued is false only if the API definitely
// issued no token.
func (x *exchange) issue(ctx context.Context, current engine.Value, name string) (
	next engine.Value, issued bool, err error) {
	const what, advice = "issuing a token", "compare the pointers of the recipe's fields with the API's documentation"
	recipe := x.engine.recipe
	next = current
	a, err := x.send(ctx, what, recipe.Issue, fields(x.login, "rotation.name", name), nethttp.StatusUnauthorized)
	if err != nil {
		return next, a == nil || a.Status < 400 || a.Status >= 500, err
	}
	var body any
	if httpapi.Decode(a.Body, &body) != nil {
		return next, true, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
	}
	for field, pointer := range recipe.Fields {
		text := scalar(body, pointer)
		if text == "" {
			return next, true, engine.Errorf(engine.TargetFailed, advice, what+": no text at %s", pointer)
		}
		next = put(next, field, text)
	}
	return next, true, nil
}

// takeBack revokes the token that a failed Mint may have issued. exists means that it certainly did.
func (x *exchange) takeBack(ctx context.Context, name string, exists bool) error {
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	ids := choose(tokens, func(t token) bool { return t.name == name })
	if ids == nil && exists {
		return errors.New("the list does not show it")
	}
	return x.end(ctx, ids)
}

// open returns a client that acts as r.Login, and the tokens that the API lists.
func (e *Engine) open(ctx context.Context, r *engine.Request) (*exchange, []token, error) {
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := x.list(ctx)
	if err != nil {
		x.close()
	}
	return x, tokens, err
}

func ours(t token, r *engine.Request) bool { return strings.HasPrefix(t.name, mark.Prefix(r.Secret)) }

// Set revokes the tokens that have the secret's mark, except the current, acting and pending ones. The pending one
// already works. A writer of the secret can store any id, so another token in its values, such as the first one, stays.
// Set fails if the list does not show the pending token.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	x, tokens, err := e.open(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	if pending, _ := r.Pending.Text(e.recipe.ID); !has(tokens, pending) {
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again",
			"the API does not list the pending token")
	}
	kept, previous := e.ids(r.Pending, r.Current, r.Login), e.ids(r.Previous)
	for _, t := range tokens {
		if slices.Contains(previous, t.id) && !slices.Contains(kept, t.id) && !ours(t, r) {
			r.Warn("the token " + t.id + " of an earlier version stays valid, because it was not issued for the " +
				"secret; revoke it by hand")
		}
	}
	return x.end(ctx, choose(tokens, func(t token) bool { return ours(t, r) && !slices.Contains(kept, t.id) }))
}

func (e *Engine) ids(values ...engine.Value) []string {
	var ids []string
	for _, v := range values {
		if id, _ := v.Text(e.recipe.ID); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Verify makes the recipe's call with the token, then checks that the list shows the token.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.exchange(r, v)
	if err != nil {
		return err
	}
	defer x.close()
	if err := x.verify(ctx, v); err != nil {
		return err
	}
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	return x.shows(tokens, v)
}

// verify makes the recipe's call, and again with an invented token, which must fail.
func (x *exchange) verify(ctx context.Context, v engine.Value) error {
	const what = "the call that verifies the token"
	recipe := x.engine.recipe
	if _, err := x.send(ctx, what, recipe.Verify, fields(v, "", ""), recipe.Refused...); err != nil {
		return err
	}
	for field := range recipe.Fields {
		s, _ := v.Text(field)
		v = v.With(field, strings.Repeat(rand.Text(), 1+len(s)/26)[:max(len(s), 8)])
	}
	probe, err := x.send(ctx, what, recipe.Verify, fields(v, "", ""))
	switch {
	case probe == nil:
		return err
	case err == nil:
		return engine.Errorf(engine.InvalidConfiguration, "let verify call what only valid tokens may call",
			what+" also accepts an invented token")
	}
	return nil
}

// shows returns an error unless the list has the value's token. A list filtered by prefix may hide tokens that were
// created by hand, so it is not checked.
func (x *exchange) shows(tokens []token, v engine.Value) error {
	id, _ := v.Text(x.engine.recipe.ID)
	names, _ := x.engine.recipe.List.names()
	if id == "" || has(tokens, id) || slices.Contains(names, "rotation.prefix") {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe's list and the secret's field "+x.engine.recipe.ID+
		" with the API", "the list does not show the accepted token, so it does not show every valid token")
}

// Revoke revokes the token that Mint issued.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	x, tokens, err := e.open(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	id, _ := r.Pending.Text(e.recipe.ID)
	return x.end(ctx, choose(tokens, func(t token) bool { return t.id == id && ours(t, r) }))
}

// end revokes tokens and waits until the list no longer shows them. The responses to the revocations prove nothing.
func (x *exchange) end(ctx context.Context, ids []string) error {
	const what = "revoking a token"
	for _, id := range ids {
		a, err := x.send(ctx, what, x.engine.recipe.Revoke, fields(x.login, "rotation.id", id))
		if err != nil && (a == nil || a.Status != nethttp.StatusNotFound && a.Status != nethttp.StatusGone) {
			return err
		}
	}
	if ids == nil {
		return nil
	}
	return x.await(ctx, "the list still shows a revoked token", func(tokens []token) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return has(tokens, id) })
	})
}

const adviceList = "compare the recipe with the API's documentation: list must show exactly the valid tokens, all in " +
	"one answer; {{rotation.prefix}} in its URL may limit them to the secret's; if no token has a name, name the first"

// await polls the list for up to five seconds until ok accepts it, because a list may lag behind.
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

func choose(tokens []token, which func(token) bool) (ids []string) {
	for _, t := range tokens {
		if which(t) {
			ids = append(ids, t.id)
		}
	}
	return ids
}

type token struct{ id, name string }

// list returns the tokens. It is called before any change, so status 401 means that the login was refused.
func (x *exchange) list(ctx context.Context) ([]token, error) {
	const what = "listing tokens"
	l := x.engine.recipe.List
	a, err := x.send(ctx, what, l.Call, fields(x.login, "rotation.prefix", mark.Prefix(x.secret)),
		nethttp.StatusUnauthorized)
	if err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) ([]token, error) {
		return nil, engine.Errorf(engine.TargetFailed, adviceList, what+": "+format, args...)
	}
	// Source: https://www.rfc-editor.org/rfc/rfc8288#section-3.3
	links := strings.ReplaceAll(strings.Join(a.Header.Values("Link"), ","), `"`, "")
	if strings.Contains(links, "rel=next") {
		return fail("there are more tokens than on one page")
	}
	var body any
	if httpapi.Decode(a.Body, &body) != nil {
		return fail("the answer is not JSON")
	}
	items, ok := resolve(body, l.Items).([]any)
	if !ok {
		return fail("the answer has no array at %q", l.Items)
	}
	var tokens []token
	for _, item := range items {
		t := token{scalar(item, l.TokenID), scalar(item, l.Name)}
		if t.id == "" {
			return fail("a token has no id at %s", l.TokenID)
		}
		tokens = append(tokens, t)
	}
	if tokens != nil && !slices.ContainsFunc(tokens, func(t token) bool { return t.name != "" }) {
		return fail("no token has a name at %s", l.Name)
	}
	return tokens, nil
}

// Needs refers to the API's manual, because every API has different rights.
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Note = "the token needs the rights that the recipe's calls require; see the API's manual"
	return nil
}
