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
	"errors"
	"maps"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/mark"
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
	return engine.Kind{Names: []string{"http:" + e.name}, Overlap: engine.BothWork, SecretFields: slices.Sorted(maps.Keys(e.recipe.Fields)), PlaceFields: e.recipe.place()}
}

// form checks that a value has every field that the recipe needs.
func (e *Engine) form(v engine.Value) error {
	const advice = "the recipe's place holders name the fields that the secret needs"
	if !v.IsObject() {
		return engine.Errorf(engine.InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	var faults []string
	for _, c := range e.recipe.calls() {
		names, _ := c.placeholders() // checked when it was loaded
		missing := false
		for _, n := range names {
			if s, _ := v.Text(n); s == "" && !strings.HasPrefix(n, "rotation.") {
				faults, missing = append(faults, n+" is missing"), true
			}
		}
		if !missing {
			sample := map[string]string{"name": "name", "prefix": "prefix", "id": "id"}
			if _, err := c.request(context.Background(), nil, words(v, sample)); err != nil {
				faults = append(faults, err.Error())
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

// Mint issues a token, which bears the secret's mark and the version's id in its name. It looks before
// it issues: whether the login is accepted, and whether the list shows it. What earlier rotations left
// is revoked first, so nothing piles up while revoking fails; and a token that the list does not show
// under its name is taken back.
func (e *Engine) Mint(ctx context.Context, r *engine.Request) (engine.Value, error) {
	if err := e.form(r.Current); err != nil {
		return engine.Value{}, err
	}
	x := e.exchange(r.Secret, r.Login)
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
	// The rest of the time is for taking the token back.
	within, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		within, cancel = context.WithDeadline(ctx, end.Add(-time.Until(end)/3))
	}
	defer cancel()
	name := mark.New(r.Secret, r.Version)
	next, issued, err := x.issue(within, r.Current, name)
	if err == nil {
		id, _ := next.Text(e.recipe.ID)
		what, exact := "the list does not show the new token", false
		err = x.await(within, what, func(tokens []token) bool {
			exact = slices.Contains(tokens, token{id, name})
			return slices.ContainsFunc(tokens, func(t token) bool { return t.id == id || t.name == name })
		})
		if err == nil && !exact {
			err = engine.Errorf(engine.TargetFailed, adviceList, "%s with its id and its name", what)
		}
	}
	if err != nil && issued {
		return engine.Value{}, x.takeBack(ctx, before, next, name, err)
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
	a, err := x.send(ctx, what, recipe.Issue, words(x.login, map[string]string{"name": name}), turnedAway)
	if err != nil {
		return next, true, err
	}
	if !a.ok() {
		return next, a.status < 400 || a.status >= 500, refusal(what, a, nethttp.StatusUnauthorized)
	}
	body, err := decode(a.body)
	if err != nil {
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

// takeBack revokes a token that was issued in vain, or may have been, and returns failure. It knows
// the token by its name. Where the list shows no such name, the id in the answer counts, if it was
// nobody's before; and then a login has to show that the token has ended.
func (x *exchange) takeBack(ctx context.Context, before []token, next engine.Value, name string, failure error) error {
	after, err := x.list(ctx)
	doomed := choose(after, func(t token) bool { return t.name == name })
	id, _ := next.Text(x.engine.recipe.ID)
	hidden := err == nil && doomed == nil && id != "" && !slices.ContainsFunc(before, func(t token) bool { return t.id == id })
	if hidden {
		doomed = []string{id}
	}
	if err == nil {
		err = x.end(ctx, doomed)
	}
	if err == nil && hidden {
		if _, lerr := x.verify(ctx, next); lerr == nil {
			err = errors.New("it is still accepted")
		} else if !errors.Is(lerr, engine.LoginRefused) && !errors.Is(lerr, engine.InvalidSecret) {
			err = lerr
		}
	}
	if err == nil {
		return failure
	}
	e, ok := errors.AsType[*engine.Error](failure)
	if !ok {
		e = engine.Errorf(engine.TargetFailed, "", "%w", failure)
	}
	return engine.Errorf(e.Cause, e.Advice+"; look for the token "+name+" at the API and revoke it", "%w; the token may be valid, as it could not be taken back: %w", e.Err, err)
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
	x := e.exchange(r.Secret, r.Login)
	defer x.close()
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	if pending := e.ids(r.Pending); !slices.ContainsFunc(tokens, func(t token) bool { return slices.Contains(pending, t.id) }) {
		return engine.Errorf(engine.TargetFailed, "remove AWSPENDING from version "+r.Version+" and rotate again", "the API does not list the pending token")
	}
	kept := e.ids(keep...)
	doomed := choose(tokens, func(t token) bool {
		return strings.HasPrefix(t.name, mark.Prefix(r.Secret)) && !slices.Contains(kept, t.id)
	})
	for _, v := range []engine.Value{r.Current, r.Previous} {
		for _, id := range e.ids(v) {
			if slices.Contains(kept, id) || slices.Contains(doomed, id) || !slices.ContainsFunc(tokens, func(t token) bool { return t.id == id }) {
				continue
			}
			proved, err := x.proves(ctx, v, id)
			if err != nil {
				return err
			}
			if proved {
				doomed = append(doomed, id)
			} else {
				r.Warn("the token " + id + " of an earlier version stays valid: neither its name nor a login shows that it is the secret's; revoke it by hand")
			}
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
	answer, err := decode(body)
	if err != nil {
		return false, nil
	}
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
	if err := e.form(v); err != nil {
		return err
	}
	x := e.exchange(r.Secret, v)
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
	a, err := x.send(ctx, what, x.engine.recipe.Verify.Call, words(v, nil), busy)
	if err != nil {
		return nil, err
	}
	if !a.ok() {
		return nil, refusal(what, a, x.engine.recipe.Refused...)
	}
	for _, field := range x.engine.recipe.secrets() {
		s, _ := v.Text(field)
		v = v.With(field, strings.Repeat(rand.Text(), 1+len(s)/26)[:max(len(s), 8)])
	}
	probe, err := x.send(ctx, what, x.engine.recipe.Verify.Call, words(v, nil), busy)
	if err != nil {
		return nil, err
	}
	if probe.ok() {
		return nil, engine.Errorf(engine.InvalidConfiguration, "have the recipe's verify ask for what the API gives to valid tokens alone", "%s also succeeds with a token that was made up", what)
	}
	return a.body, nil
}

// shows returns an error where the tokens lack the value's own. A list that is filtered by
// {{rotation.prefix}} does not show a token that was made by hand.
func (x *exchange) shows(tokens []token, v engine.Value) error {
	id, _ := v.Text(x.engine.recipe.ID)
	names, _ := x.engine.recipe.List.placeholders() // checked when it was loaded
	if id == "" || slices.ContainsFunc(tokens, func(t token) bool { return t.id == id }) || slices.Contains(names, "rotation.prefix") {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "compare the recipe's list, and the secret's field "+x.engine.recipe.ID+", with what the API has", "the list does not show the token that was accepted, so it cannot tell what is valid")
}

// Revoke revokes the token that Mint has issued. A token without the secret's mark is not one.
func (e *Engine) Revoke(ctx context.Context, r *engine.Request) error {
	x := e.exchange(r.Secret, r.Login)
	defer x.close()
	tokens, err := x.list(ctx)
	if err != nil {
		return err
	}
	pending := e.ids(r.Pending)
	i := slices.IndexFunc(tokens, func(t token) bool { return slices.Contains(pending, t.id) })
	if i < 0 {
		return nil
	}
	if !strings.HasPrefix(tokens[i].name, mark.Prefix(r.Secret)) {
		return engine.Errorf(engine.TakeoverRefused, "revoke the token by hand", "the token %s in the pending value does not bear the secret's mark", tokens[i].id)
	}
	return x.end(ctx, pending)
}

// end revokes tokens. The list decides whether they have ended, and not the answers.
func (x *exchange) end(ctx context.Context, ids []string) error {
	const what = "revoking a token"
	for _, id := range ids {
		a, err := x.send(ctx, what, x.engine.recipe.Revoke, words(x.login, map[string]string{"id": id}), busy)
		if err != nil {
			return err
		}
		if !a.ok() && a.status != nethttp.StatusNotFound && a.status != nethttp.StatusGone {
			return refusal(what, a)
		}
	}
	if ids == nil {
		return nil
	}
	return x.await(ctx, "the list still shows a token that was revoked", func(tokens []token) bool {
		return !slices.ContainsFunc(tokens, func(t token) bool { return slices.Contains(ids, t.id) })
	})
}

const adviceList = "compare the recipe with the API's documentation: list must show every token that is valid, and no other"

// await lists the tokens until they are as they should be, for a few seconds: a list may be behind.
func (x *exchange) await(ctx context.Context, otherwise string, ok func([]token) bool) error {
	const patience, reserve = 5 * time.Second, 200 * time.Millisecond
	begin := time.Now()
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		tokens, err := x.list(ctx)
		if err != nil || ok(tokens) {
			return err
		}
		end, limited := ctx.Deadline()
		if time.Since(begin)+pause > patience || limited && time.Until(end) < pause+reserve || wait(ctx, pause) != nil {
			return engine.Errorf(engine.TargetFailed, adviceList, "%s", otherwise)
		}
	}
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

// list returns the tokens on all pages. It is the first call of whatever needs it,
// so that the status 401 means that the login was refused before any change.
func (x *exchange) list(ctx context.Context) ([]token, error) {
	const what, advice = "listing tokens", "compare the recipe's list with the API's documentation"
	const adviceLong = "have the recipe list fewer tokens, by {{rotation.prefix}} in its query"
	l := x.engine.recipe.List
	call, look := l.Call, words(x.login, map[string]string{"prefix": mark.Prefix(x.secret)})
	var tokens []token
	for range pageLimit {
		a, err := x.send(ctx, what, call, look, busy)
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
func nextPage(a *answer, body any, pointer string) string {
	next := ""
	if pointer != "" {
		next, _, _ = scalar(body, pointer)
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
