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
	// Fields maps the secret's fields that authenticate to JSON pointers (RFC 6901) into the response to Issue.
	Fields map[string]string `json:"fields"`
	// ID is the secret's field for the token's id, by which List and Revoke know it.
	ID string `json:"id"`
	// Issue creates a token named {{rotation.name}}.
	Issue Call `json:"issue"`
	// Verify succeeds only for a valid token.
	Verify Call `json:"verify"`
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
	Method  string            `json:"method"` // GET by default
	URL     string            `json:"url"`    // absolute, without placeholders in scheme and host
	Headers map[string]string `json:"headers"`
	Basic   string            `json:"basic"` // user:password for basic authentication
	JSON    json.RawMessage   `json:"json"`  // the body; JSON or Form, not both
	Form    map[string]string `json:"form"`
}

// List is the call that lists tokens, with pointers into its response. {{rotation.prefix}} is the prefix of the names
// of the secret's tokens.
type List struct {
	Call
	Items   string `json:"items"`    // the array in the response
	Name    string `json:"name"`     // a token's name in an item
	TokenID string `json:"token_id"` // a token's id in an item
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
	for _, name := range slices.Sorted(maps.Keys(recipes)) {
		r := recipes[name]
		if r.Refused == nil {
			r.Refused = []int{nethttp.StatusUnauthorized}
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
	return engines, nil
}

var recipeForm = lazyregexp.New(`^[a-z0-9][a-z0-9._-]*$`)

func (r *Recipe) faults(name string) []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if !recipeForm().MatchString(name) {
		bad("the name may have only a-z, 0-9, dot, hyphen and underscore")
	}
	if _, ok := r.Fields[r.ID]; ok || r.ID == "" || r.ID == "engine" || len(r.Fields) == 0 {
		bad("id or fields are missing, or id is one of fields")
	}
	for field, p := range r.Fields {
		if field == "engine" || !pointerForm().MatchString(p) {
			bad("the field %s has no JSON pointer", field)
		}
	}
	for what, p := range map[string]string{"items": r.List.Items, "name": r.List.Name, "token_id": r.List.TokenID} {
		if !pointerForm().MatchString(p) || p == "" && what != "items" {
			bad("list: %s is not a JSON pointer", what)
		}
	}
	for _, c := range r.calls() {
		names, wrong := c.call.names()
		if fault := urlFault(c.call.URL); fault != "" {
			wrong = append(wrong, fault)
		}
		for _, fault := range wrong {
			bad("%s: %s", c.name, fault)
		}
		if !slices.Contains(changing, c.call.Method) && (c.changes || c.call.Method != "" && c.call.Method != "GET") {
			bad("%s: the method must be one of %s, or GET if the call changes nothing", c.name, changing)
		}
		if c.changes && !slices.Contains(names, c.word) {
			bad("%s: {{%s}} is missing", c.name, c.word)
		}
		for _, n := range names {
			if strings.HasPrefix(n, "rotation.") && n != c.word {
				bad("%s: {{%s}} is not available here", c.name, n)
			}
		}
		if c.call.JSON != nil && c.call.Form != nil {
			bad("%s: it has two bodies, json and form", c.name)
		}
		if c.name == "verify" && !slices.ContainsFunc(names, func(s string) bool { return r.Fields[s] != "" }) {
			bad("verify: the token is missing, so the call cannot verify it")
		}
	}
	return faults
}

// named is a call with its name in the recipe.
type named struct {
	name    string
	call    *Call
	word    string // the only {{rotation.*}} that it may contain, and must contain if it changes something
	changes bool
}

func (r *Recipe) calls() []named {
	return []named{{"issue", &r.Issue, "rotation.name", true}, {"verify", &r.Verify, "", false},
		{"list", &r.List.Call, "rotation.prefix", false}, {"revoke", &r.Revoke, "rotation.id", true}}
}

// changing are the methods that Go's client does not retry after a broken connection.
var changing = []string{"POST", "PUT", "PATCH", "DELETE"}

// place returns the fields that determine where a token belongs: engine, and the fields in requests that stay the same.
func (r *Recipe) place() []string {
	fields := []string{"engine"}
	for _, c := range r.calls() {
		names, _ := c.call.names()
		for _, n := range names {
			if _, changes := r.Fields[n]; !changes && n != r.ID && !strings.HasPrefix(n, "rotation.") {
				fields = append(fields, n)
			}
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// urlFault returns why a URL may not have the token, or "".
func urlFault(text string) string {
	scheme, rest, _ := strings.Cut(strings.ToLower(text), "://")
	host, _, _ := strings.Cut(rest, "/")
	u := url.URL{Host: host}
	switch {
	case host == "" || strings.Contains(host, "{{") || strings.ContainsAny(host, "?#@"):
		return "the URL's host is not fixed"
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

// scalar returns the string or number that a pointer refers to, as text of bounded length, or "".
func scalar(x any, pointer string) string {
	text := ""
	switch x := resolve(x, pointer).(type) {
	case string:
		text = x
	case json.Number:
		text = x.String()
	}
	if len(text) > 16<<10 {
		return ""
	}
	return text
}
