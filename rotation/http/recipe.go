package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// Recipe says how one API deals with tokens. It is part of the function's
// configuration and never of a secret.
type Recipe struct {
	// Hosts are all the hosts, or host:port, that may be sent anything.
	Hosts []string `json:"hosts"`
	// Headers are sent with every request.
	Headers map[string]string `json:"headers"`
	// Fields are the secret's fields that a rotation changes, each with the JSON
	// pointer (RFC 6901) of its new value in the answer to Issue.
	Fields map[string]string `json:"fields"`
	// ID is the one of Fields by which List and Revoke know a token.
	ID string `json:"id"`
	// Issue makes a token, whose name must be {{rotation.name}}.
	Issue Call `json:"issue"`
	// Verify succeeds for a token that is valid, and for no other.
	Verify Verify `json:"verify"`
	// Refused are the statuses by which Verify says that a token is not valid:
	// 401 unless given.
	Refused []int `json:"refused"`
	// List answers the tokens that are valid.
	List List `json:"list"`
	// Revoke ends the token {{rotation.id}}, which List then no longer shows. The
	// status 404 means that it is gone already.
	Revoke Call `json:"revoke"`
}

// Call is a request. {{field}} stands for a field of the secret, in the path and
// the query of URL, in the values of Headers, Basic and Form, and in strings of
// JSON.
type Call struct {
	// Method is GET unless given.
	Method string `json:"method"`
	// URL is absolute; its scheme and host are fixed.
	URL string `json:"url"`
	// Headers are added to those of the recipe.
	Headers map[string]string `json:"headers"`
	// Basic is user:password for the header Authorization.
	Basic string `json:"basic"`
	// JSON and Form are the body; one at most is given.
	JSON json.RawMessage   `json:"json"`
	Form map[string]string `json:"form"`
}

// Verify is the call that verifies a token. TokenID is the pointer of the token's id
// in the answer, where the answer has it. It proves that the secret holds a token
// that was not issued for it, which is revoked then.
type Verify struct {
	Call
	TokenID string `json:"token_id"`
}

// List is the call that lists tokens. {{rotation.prefix}} is how the names of the
// secret's own begin. Pages that a Link header (RFC 8288) calls "next" are read.
type List struct {
	Call
	// Items is the pointer of the array in the answer; Name and TokenID are those
	// of a token's name and id in an item. Next is the pointer of the next page's
	// URL, where the answer has it.
	Items   string `json:"items"`
	Name    string `json:"name"`
	TokenID string `json:"token_id"`
	Next    string `json:"next"`
}

// Load returns an engine for every recipe, which serves the secrets whose engine is
// http:NAME. text is a JSON object of recipes by name, or the path of a file with
// one; "" has none. The error has the cause InvalidConfiguration.
func Load(tls engine.TLSPolicy, text string) ([]*Engine, error) {
	const advice = "correct HTTP_RECIPES; docs/engines/http.md describes its form"
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(text, "{") {
		data, err := os.ReadFile(text)
		if err != nil {
			return nil, engine.Errorf(engine.InvalidConfiguration, "give JSON or the path of a JSON file in HTTP_RECIPES", "the recipes cannot be read: %w", err)
		}
		text = string(data)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var recipes map[string]Recipe
	if err := dec.Decode(&recipes); err != nil {
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "the recipes are not of the form: %w", err)
	}
	if dec.More() {
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "text follows the recipes")
	}
	var engines []*Engine
	var faults []string
	for name, r := range recipes {
		for _, fault := range r.faults(name) {
			faults = append(faults, name+": "+fault)
		}
		engines = append(engines, newEngine(tls, name, r))
	}
	if faults != nil {
		slices.Sort(faults)
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "the recipes cannot work: %s", strings.Join(faults, "; "))
	}
	slices.SortFunc(engines, func(a, b *Engine) int { return strings.Compare(a.name, b.name) })
	return engines, nil
}

var (
	recipeForm = lazyregexp.New(`^[a-z0-9][a-z0-9._-]*$`)
	methodForm = lazyregexp.New(`^[A-Z]+$`)
)

// faults returns everything that is wrong with a recipe.
func (r Recipe) faults(name string) []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if !recipeForm.MatchString(name) {
		bad("the name has other characters than a-z, 0-9, dot, hyphen and underscore")
	}
	if len(r.Hosts) == 0 {
		bad("no hosts are allowed")
	}
	if len(r.Fields) == 0 {
		bad("fields is empty")
	}
	if _, ok := r.Fields[r.ID]; !ok {
		bad("id is none of fields")
	}
	for field, p := range r.Fields {
		if field == "engine" || !pointerForm.MatchString(p) {
			bad("the field %s has no JSON pointer", field)
		}
	}
	for what, p := range map[string]string{"items": r.List.Items, "name": r.List.Name, "token_id": r.List.TokenID, "next": r.List.Next} {
		if !pointerForm.MatchString(p) || p == "" && (what == "name" || what == "token_id") {
			bad("list: %s is not a JSON pointer", what)
		}
	}
	if !pointerForm.MatchString(r.Verify.TokenID) {
		bad("verify: token_id is not a JSON pointer")
	}
	for what, method := range map[string]string{"issue": r.Issue.Method, "revoke": r.Revoke.Method} {
		// Go's client repeats these by itself after a connection that broke.
		if slices.Contains([]string{"", "GET", "HEAD", "OPTIONS", "TRACE"}, method) {
			bad("%s: the method is not one that changes something, such as POST", what)
		}
	}
	for _, c := range []struct {
		what  string
		call  Call
		words []string // of rotation, the first one is needed
	}{{"issue", r.Issue, []string{"name"}}, {"verify", r.Verify.Call, nil}, {"list", r.List.Call, []string{"", "prefix"}}, {"revoke", r.Revoke, []string{"id"}}} {
		names, fault := c.call.placeholders()
		if fault != "" {
			bad("%s: %s", c.what, fault)
			continue
		}
		if fault := r.forbids(c.call.URL); fault != "" {
			bad("%s: %s", c.what, fault)
		}
		if c.call.Method != "" && !methodForm.MatchString(c.call.Method) {
			bad("%s: the method is not a word in upper case", c.what)
		}
		if c.call.JSON != nil && c.call.Form != nil {
			bad("%s: there are two bodies", c.what)
		}
		if c.words != nil && c.words[0] != "" && !slices.Contains(names, "rotation."+c.words[0]) {
			bad("%s: {{rotation.%s}} is not in it", c.what, c.words[0])
		}
		for _, n := range names {
			if word, ok := strings.CutPrefix(n, "rotation."); ok && !slices.Contains(c.words, word) {
				bad("%s: {{%s}} is not known there", c.what, n)
			}
		}
	}
	names, fault := (Call{URL: "https://host/", Headers: r.Headers}).placeholders()
	if fault != "" {
		bad("headers: %s", fault)
	} else if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "rotation.") }) {
		bad("headers: only fields of the secret can stand there")
	}
	if own, fault := r.Verify.placeholders(); fault == "" && !slices.ContainsFunc(r.secrets(), func(s string) bool { return slices.Contains(append(own, names...), s) }) {
		bad("verify: the token is not in it, so it cannot tell whether the token is valid")
	}
	return faults
}

// calls are all that uses place holders, which were checked when the recipe was loaded.
func (r Recipe) calls() []Call {
	return []Call{{URL: "/", Headers: r.Headers}, r.Issue, r.Verify.Call, r.List.Call, r.Revoke}
}

// place are the fields that say where a token belongs: the recipe, and all that goes into requests
// besides the token.
func (r Recipe) place() []string {
	fields := []string{"engine"}
	for _, c := range r.calls() {
		names, _ := c.placeholders()
		for _, n := range names {
			if _, changes := r.Fields[n]; !changes && !strings.HasPrefix(n, "rotation.") {
				fields = append(fields, n)
			}
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// secrets are the fields that prove who somebody is: those that change, but for the id.
func (r Recipe) secrets() []string {
	if len(r.Fields) == 1 {
		return []string{r.ID}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.Fields)), func(s string) bool { return s == r.ID })
}

// forbids says why nothing may be sent to a URL, or "".
func (r Recipe) forbids(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	if strings.Contains(host, "{{") || strings.ContainsAny(host, "?#@") || host == "" {
		return "the URL's host is not fixed"
	}
	u := &url.URL{Scheme: strings.ToLower(scheme), Host: strings.ToLower(host)}
	switch {
	case !slices.ContainsFunc(r.Hosts, func(h string) bool { return strings.EqualFold(h, u.Host) }):
		return "the host " + u.Host + " is not one of hosts"
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	}
	return "the URL is not https"
}

// loopback reports whether a host is this machine for certain.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// placeholders returns the names that the call's templates use.
func (c Call) placeholders() (names []string, fault string) {
	texts := []string{c.URL, c.Basic}
	for _, m := range []map[string]string{c.Headers, c.Form} {
		for k, v := range m {
			if strings.Contains(k, "{{") {
				return nil, "a name has a place holder"
			}
			texts = append(texts, v)
		}
	}
	if c.JSON != nil {
		x, err := decode(c.JSON)
		if err != nil {
			return nil, "the body is not JSON"
		}
		_, _ = fill(x, func(s string) (string, error) { texts = append(texts, s); return s, nil })
	}
	for _, t := range texts {
		for _, m := range placeholder.FindAllStringSubmatch(t, -1) {
			names = append(names, m[1])
		}
		if rest := placeholder.ReplaceAllString(t, ""); strings.Contains(rest, "{{") || strings.Contains(rest, "}}") {
			return nil, "a place holder is not of the form {{name}}"
		}
	}
	return names, ""
}

// decode reads JSON with numbers as they are written.
func decode(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var x any
	err := dec.Decode(&x)
	return x, err
}
