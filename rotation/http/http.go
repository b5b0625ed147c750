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

// Kind describes the engine. Its name is http: followed by the recipe's name.
func (e *Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"http:" + e.name},
		Overlap:      engine.BothWork,
		SecretFields: slices.Sorted(maps.Keys(e.recipe.Fields)),
		PlaceFields:  e.recipe.place(),
	}
}

const (
	adviceFields = "the recipe's placeholders name the fields that the secret needs"
	adviceHost   = "add the host to the recipe's hosts if it may have the token"
)

// form checks that a value has every field that the recipe's calls use.
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
		return engine.Errorf(engine.InvalidSecret, adviceFields, "the secret's value does not fit the recipe %s: %s",
			e.name, strings.Join(slices.Compact(faults), ", "))
	}
	return nil
}

// Next checks the value's format. The API chooses the next token.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	return r.Current, e.form(r.Current)
}

// Mint issues a token named with a mark, and revokes it again unless the list shows it under that name. It first checks
// that the login is accepted and listed, and revokes leftovers of earlier rotations.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	if err := e.form(r.Current); err != nil {
		return engine.Value{}, err
	}
	x, err := e.exchange(r, r.Login)
	if err != nil {
		return engine.Value{}, err
	}
	defer x.close()
	// If a password authenticates the list, even a revoked token can be replaced.
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
		err = x.await(within, "the list does not show the new token with its id and its name",
			func(tokens []token) bool { return slices.Contains(tokens, token{id, name}) })
	}
	if err != nil && issued {
		return engine.Value{}, mark.Lost(name, err, x.takeBack(ctx, before, next, name))
	}
	return next, err
}

// issue makes the recipe's call and returns current with the new token. issued is false only if the API definitely
// issued no token. A field that is missing in the response is empty.
func (x *exchange) issue(ctx context.Context, current engine.Value, name string) (
	next engine.Value, issued bool, err error) {
	const what, advice = "issuing a token", "compare the pointers of the recipe's fields with the API's documentation"
	recipe := x.engine.recipe
	next = current
	for field := range recipe.Fields {
		next = next.With(field, "")
	}
	a, err := x.send(ctx, what, recipe.Issue, values{x.login, map[string]string{"name": name}}, turnedAway,
		nethttp.StatusUnauthorized)
	if err != nil {
		return next, a == nil || a.Status < 400 || a.Status >= 500, err
	}
	var body any
	if httpapi.Decode(a.Body, &body) != nil {
		return next, true, engine.Errorf(engine.TargetFailed, advice, "%s: the answer is not JSON", what)
	}
	for _, field := range slices.Sorted(maps.Keys(recipe.Fields)) {
		s, number, ok := scalar(body, recipe.Fields[field])
		switch old := string(current.JSON(field)); {
		case !ok:
			err = engine.Errorf(engine.TargetFailed, advice, what+": no text at %s", recipe.Fields[field])
		case number && !strings.HasPrefix(old, `"`):
			next = next.WithJSON(field, []byte(s))
		default:
			next = next.With(field, s)
		}
	}
	return next, true, err
}

// takeBack revokes the token that a failed Mint may have issued. It finds the token by its name. If the list does not
// show the name, it uses a new id in the response, and a login must then show that the token is revoked.
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

// Set keeps this secret's current, acting and pending tokens, and revokes the rest. The pending one already works.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending, r.Current, r.Login)
}

// Retire revokes every token of this secret except the pending one.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	return e.revokeBut(ctx, r, r.Pending)
}

// revokeBut revokes the tokens that have the secret's mark, and those that its values are proved to hold, except the
// ones to keep. It fails if the list does not show the pending token.
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
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again",
			"the API does not list the pending token")
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
			r.Warn("the token " + id + " of an earlier version stays valid: nothing proves that it belongs to the " +
				"secret; revoke it by hand")
		}
	}
	return x.end(ctx, doomed)
}

// proves reports whether the response to verify shows the id. A writer of the secret can store any id next to a token.
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
	_ = httpapi.Decode(body, &answer) // a response that is not JSON has no id
	s, _, ok := scalar(answer, pointer)
	return ok && s == id, nil
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
	if _, err := x.verify(ctx, v); err != nil {
		return err
	}
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	return x.shows(tokens, v)
}

// verify makes the recipe's call, and again with an invented token, which must fail. It returns the first response.
func (x *exchange) verify(ctx context.Context, v engine.Value) ([]byte, error) {
	const what = "the call that verifies the token"
	a, err := x.send(ctx, what, x.engine.recipe.Verify.Call, values{Value: v}, busy, x.engine.recipe.Refused...)
	if err != nil {
		return nil, err
	}
	for _, field := range x.engine.recipe.secrets() {
		s, _ := v.Text(field)
		v = v.With(field, strings.Repeat(rand.Text(), 1+len(s)/26)[:max(len(s), 8)])
	}
	probe, err := x.send(ctx, what, x.engine.recipe.Verify.Call, values{Value: v}, busy)
	switch {
	case probe == nil:
		return nil, err
	case err == nil:
		return nil, engine.Errorf(engine.InvalidConfiguration, "let verify call what only valid tokens may call",
			what+" also accepts an invented token")
	}
	return a.Body, nil
}

// shows returns an error unless the list has the value's token. A list filtered by prefix may hide tokens that were
// created by hand, so it is not checked.
func (x *exchange) shows(tokens []token, v engine.Value) error {
	id, _ := v.Text(x.engine.recipe.ID)
	if id == "" || has(tokens, id) || slices.Contains(x.engine.recipe.List.names(), "rotation.prefix") {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe's list and the secret's field "+x.engine.recipe.ID+
		" with the API", "the list does not show the accepted token, so it does not show every valid token")
}

// Revoke revokes the token that Mint issued. It refuses a token without the secret's mark.
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
			return engine.Errorf(engine.TakeoverRefused, "revoke the token by hand",
				"the token %s in the pending value does not have the secret's mark", id)
		}
	}
	return x.end(ctx, choose(tokens, func(t token) bool { return t.id == id }))
}

// end revokes tokens and waits until the list no longer shows them. The responses to the revocations prove nothing.
func (x *exchange) end(ctx context.Context, ids []string) error {
	const what = "revoking a token"
	for _, id := range ids {
		a, err := x.send(ctx, what, x.engine.recipe.Revoke, values{x.login, map[string]string{"id": id}}, busy)
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

const adviceList = "compare the recipe with the API's documentation: list must show exactly the valid tokens"

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

const (
	pageLimit  = 100
	tokenLimit = 10_000
)

// list returns the tokens on all pages. It is called before any change, so status 401 means that the login was refused.
func (x *exchange) list(ctx context.Context) ([]token, error) {
	const what, adviceForm = "listing tokens", "compare the recipe's list with the API's documentation"
	const adviceLong = "use {{rotation.prefix}} in the query of the recipe's list, to list fewer tokens"
	fail := func(advice, format string, args ...any) ([]token, error) {
		return nil, engine.Errorf(engine.TargetFailed, advice, what+": "+format, args...)
	}
	l := x.engine.recipe.List
	call, with := l.Call, values{x.login, map[string]string{"prefix": mark.Prefix(x.secret)}}
	var tokens []token
	for range pageLimit {
		a, err := x.send(ctx, what, call, with, busy, nethttp.StatusUnauthorized)
		if err != nil {
			return nil, err
		}
		var body any
		if httpapi.Decode(a.Body, &body) != nil {
			return fail(adviceForm, "the answer is not JSON")
		}
		items, ok := resolve(body, l.Items).([]any)
		if !ok {
			return fail(adviceForm, "the answer has no array at %q", l.Items)
		}
		for _, item := range items {
			id, _, ok := scalar(item, l.TokenID)
			if !ok {
				return fail(adviceForm, "a token has no id at %s", l.TokenID)
			}
			name, _, _ := scalar(item, l.Name) // other tokens may have no name
			tokens = append(tokens, token{id, name})
		}
		if len(tokens) > tokenLimit {
			return fail(adviceLong, "there are more than %d tokens", tokenLimit)
		}
		next := nextPage(a, body, l.Next)
		if next == "" {
			return tokens, nil
		}
		if fault := x.engine.recipe.forbids(next); fault != "" {
			return fail(adviceHost, "the address of the next page is not allowed: %s", fault)
		}
		call.URL = strings.ReplaceAll(next, "{{", "%7B%7B") // not a template
	}
	return fail(adviceLong, "there are more than %d pages", pageLimit)
}

var linkForm = lazyregexp.New(`<([^>]*)>\s*((?:;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]*)\s*)*)`)

func nextPage(a *httpapi.Answer, body any, pointer string) string {
	next, _, _ := scalar(body, pointer) // "" if pointer is "", because the body is not a string
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
		return next // forbids refuses it
	}
	u.Fragment = ""
	return u.String()
}

// Needs refers to the API's manual, because every API has different rights.
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Note = "the token needs the rights that the recipe's calls require; see the API's manual"
	return nil
}
