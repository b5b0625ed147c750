package http

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	nethttp "net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// Recipe defines how to manage the tokens of one API. It is part of the function's configuration, never of a secret.
type Recipe struct {
	// Hosts lists every host, or host:port, that requests may go to.
	Hosts []string `json:"hosts"`
	// Headers are sent with every request.
	Headers map[string]string `json:"headers"`
	// Fields maps the secret's fields that a rotation changes to JSON pointers (RFC 6901) into the response to Issue.
	Fields map[string]string `json:"fields"`
	// ID is the field in Fields that identifies a token in List and Revoke.
	ID string `json:"id"`
	// Issue creates a token named {{rotation.name}}.
	Issue Call `json:"issue"`
	// Verify succeeds only for a valid token.
	Verify Verify `json:"verify"`
	// Refused lists the statuses that Verify returns for an invalid token; the default is 401.
	Refused []int `json:"refused"`
	// List returns the valid tokens.
	List List `json:"list"`
	// Revoke revokes the token {{rotation.id}}, which List then omits. Status 404 or 410 means that it is already gone.
	Revoke Call `json:"revoke"`
}

// Call is a request. {{field}} is replaced with the secret's field in the path and query of URL, in Basic, in the
// values of Headers and Form, and in the strings of JSON.
type Call struct {
	Method  string            `json:"method"`  // GET by default
	URL     string            `json:"url"`     // absolute, without placeholders in scheme and host
	Headers map[string]string `json:"headers"` // in addition to the recipe's
	Basic   string            `json:"basic"`   // user:password for basic authentication
	JSON    json.RawMessage   `json:"json"`    // the body; JSON or Form, not both
	Form    map[string]string `json:"form"`
}

// Verify is the call that verifies a token. TokenID, if set, points to the token's id in the response. The id proves
// that the secret holds this token, so a rotation may revoke it even if it was not issued for the secret.
type Verify struct {
	Call
	TokenID string `json:"token_id"`
}

// List is the call that lists tokens, with pointers into its response. {{rotation.prefix}} is the prefix of the names
// of the secret's tokens. A Link header (RFC 8288) with rel="next" also leads to the next page.
type List struct {
	Call
	Items   string `json:"items"`    // the array in the response
	Name    string `json:"name"`     // a token's name in an item
	TokenID string `json:"token_id"` // a token's id in an item
	Next    string `json:"next"`     // the next page's URL, if the response has it
}

// Load returns an engine for each recipe; it serves secrets whose engine is http:NAME. text is a JSON object of recipes
// by name, the path of a file with such an object, or "". The error has the cause InvalidConfiguration.
func Load(tls engine.TLSPolicy, text string) ([]*Engine, error) {
	const advice = "correct HTTP_RECIPES; docs/engines/http.md describes its format"
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	if !strings.HasPrefix(text, "{") {
		data, err := os.ReadFile(text)
		if err != nil {
			return nil, engine.Errorf(engine.InvalidConfiguration,
				"set HTTP_RECIPES to JSON or to the path of a JSON file", "the recipes cannot be read: %w", err)
		}
		text = string(data)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var recipes map[string]Recipe
	if err := dec.Decode(&recipes); err != nil {
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "the recipes cannot be parsed: %w", err)
	}
	if dec.More() {
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "text follows the recipes")
	}
	var engines []*Engine
	var faults []string
	for name, r := range recipes {
		if r.Refused == nil {
			r.Refused = []int{nethttp.StatusUnauthorized}
		}
		for _, c := range r.calls() {
			c.Headers = merged(r.Headers, c.Headers)
		}
		for _, fault := range r.faults(name) {
			faults = append(faults, name+": "+fault)
		}
		engines = append(engines, &Engine{tls, name, r})
	}
	if faults != nil {
		slices.Sort(faults)
		return nil, engine.Errorf(engine.InvalidConfiguration, advice, "the recipes are not valid: %s",
			strings.Join(faults, "; "))
	}
	slices.SortFunc(engines, func(a, b *Engine) int { return strings.Compare(a.name, b.name) })
	return engines, nil
}

var (
	recipeForm = lazyregexp.New(`^[a-z0-9][a-z0-9._-]*$`)
	methodForm = lazyregexp.New(`^[A-Z]+$`)
)

func (r *Recipe) faults(name string) []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if !recipeForm.MatchString(name) {
		bad("the name may have only a-z, 0-9, dot, hyphen and underscore")
	}
	if len(r.Hosts) == 0 || len(r.Fields) == 0 {
		bad("hosts or fields are missing")
	}
	if _, ok := r.Fields[r.ID]; !ok {
		bad("id is not one of fields")
	}
	for field, p := range r.Fields {
		if field == "engine" || !pointerForm.MatchString(p) {
			bad("the field %s has no JSON pointer", field)
		}
	}
	for what, p := range map[string]string{"list: items": r.List.Items, "list: name": r.List.Name,
		"list: token_id": r.List.TokenID, "list: next": r.List.Next, "verify: token_id": r.Verify.TokenID} {
		if !pointerForm.MatchString(p) || p == "" && (what == "list: name" || what == "list: token_id") {
			bad("%s is not a JSON pointer", what)
		}
	}
	for i, c := range r.calls() {
		what, word, changes, names := rules[i].call, rules[i].word, rules[i].changes, c.names()
		if changes && slices.Contains([]string{"", "GET", "HEAD", "OPTIONS", "TRACE"}, c.Method) {
			bad("%s: the method must be one that changes something, such as POST", what)
		}
		if changes && !slices.Contains(names, word) {
			bad("%s: {{%s}} is missing", what, word)
		}
		for _, n := range names {
			if strings.HasPrefix(n, "rotation.") && n != word {
				bad("%s: {{%s}} is not available here", what, n)
			}
		}
		if fault := c.malformed(); fault != "" {
			bad("%s: %s", what, fault)
		}
		if fault := r.forbids(c.URL); fault != "" {
			bad("%s: %s", what, fault)
		}
		if c.Method != "" && !methodForm.MatchString(c.Method) {
			bad("%s: the method is not a word in upper case", what)
		}
		if c.JSON != nil && c.Form != nil {
			bad("%s: it has two bodies, json and form", what)
		}
		if what == "verify" && !slices.ContainsFunc(r.secrets(),
			func(s string) bool { return slices.Contains(names, s) }) {
			bad("verify: the token is missing, so the call cannot verify it")
		}
	}
	return faults
}

func merged(common, own map[string]string) map[string]string {
	out := map[string]string{}
	for _, headers := range []map[string]string{common, own} {
		for k, v := range headers {
			out[nethttp.CanonicalHeaderKey(k)] = v
		}
	}
	return out
}

// rules has a rule for each call, in the order of Recipe.calls. A call that changes something must contain its word,
// and must not use a method that Go's client retries after a broken connection.
var rules = [...]struct {
	call, word string // the only {{rotation.*}} that it may contain
	changes    bool
}{{"issue", "rotation.name", true}, {"verify", "", false}, {"list", "rotation.prefix", false},
	{"revoke", "rotation.id", true}}

func (r *Recipe) calls() []*Call { return []*Call{&r.Issue, &r.Verify.Call, &r.List.Call, &r.Revoke} }

// place returns the fields that determine where a token belongs: engine, and the fields in requests that stay the same.
func (r *Recipe) place() []string {
	fields := []string{"engine"}
	for _, c := range r.calls() {
		for _, n := range c.names() {
			if _, changes := r.Fields[n]; !changes && !strings.HasPrefix(n, "rotation.") {
				fields = append(fields, n)
			}
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// secrets returns the fields that authenticate: those that change, except the id unless it is the only one.
func (r *Recipe) secrets() []string {
	if len(r.Fields) == 1 {
		return []string{r.ID}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.Fields)), func(s string) bool { return s == r.ID })
}

// forbids returns why a URL is not allowed, or "".
func (r *Recipe) forbids(text string) string {
	scheme, rest, _ := strings.Cut(strings.ToLower(text), "://")
	host, _, _ := strings.Cut(rest, "/")
	u := url.URL{Host: host}
	switch {
	case host == "" || strings.Contains(host, "{{") || strings.ContainsAny(host, "?#@"):
		return "the URL's host is not fixed"
	case !slices.ContainsFunc(r.Hosts, func(h string) bool { return strings.EqualFold(h, host) }):
		return "the host " + host + " is not one of hosts"
	case scheme == "https" || scheme == "http" && loopback(u.Hostname()):
		return ""
	}
	return "the URL is not https"
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// pointerForm matches a JSON pointer.
// Source: https://www.rfc-editor.org/rfc/rfc6901#section-3
var pointerForm = lazyregexp.New(`^(/([^/~]|~[01])*)*$`)

// resolve returns the part of decoded JSON that a pointer refers to, or nil. "" refers to the whole document.
func resolve(x any, pointer string) any {
	if pointer == "" {
		return x
	}
	for _, token := range strings.Split(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch at := x.(type) {
		case map[string]any:
			x = at[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != token {
				return nil
			}
			x = at[i]
		default:
			return nil
		}
	}
	return x
}

// scalar returns the string or number that a pointer refers to, as nonempty text of bounded length.
func scalar(x any, pointer string) (text string, number, ok bool) {
	switch x := resolve(x, pointer).(type) {
	case string:
		return x, false, x != "" && len(x) <= 16<<10
	case json.Number:
		return x.String(), true, len(x) <= 64
	}
	return "", false, false
}
