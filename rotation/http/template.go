package http

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// placeholder matches {{field}} or {{rotation.word}}. Templates have no other syntax, so values are escaped by context.
var placeholder = lazyregexp.New(`\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}`)

func (c Call) texts() []string {
	texts := []string{c.URL, c.Basic, string(c.JSON)}
	texts = slices.AppendSeq(texts, maps.Values(c.Headers))
	return slices.AppendSeq(texts, maps.Values(c.Form))
}

func (c Call) names() (names []string) {
	for _, t := range c.texts() {
		for _, m := range placeholder.FindAllStringSubmatch(t, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// jsonText matches a JSON string and, after a member's name, the colon.
var jsonText = lazyregexp.New(`"((?:[^"\\]|\\.)*)"(\s*:)?`)

// malformed returns what is wrong with the call's placeholders, or "". It ignores closing braces, which JSON also has.
// Names may not contain placeholders, because a writer of the secret must not choose the names of headers or fields.
func (c Call) malformed() string {
	braces := func(text string) bool { return strings.Contains(text, "{{") }
	names := slices.AppendSeq(slices.Collect(maps.Keys(c.Headers)), maps.Keys(c.Form))
	for _, m := range jsonText.FindAllStringSubmatch(string(c.JSON), -1) {
		if m[2] != "" {
			names = append(names, m[1])
		}
	}
	switch {
	case slices.ContainsFunc(names, braces):
		return "a name contains a placeholder"
	case slices.ContainsFunc(c.texts(),
		func(text string) bool { return braces(placeholder.ReplaceAllString(text, "")) }):
		return "a placeholder is not of the form {{name}}"
	}
	return ""
}

// values resolves placeholders: the fields of a secret's value, and the rotation's words.
type values struct {
	engine.Value
	words map[string]string
}

func (v values) get(name string) string {
	if word, ok := strings.CutPrefix(name, "rotation."); ok {
		return v.words[word]
	}
	s, _ := v.Text(name)
	return s
}

type filler struct {
	values values
	faults []string
}

// An escape returns a value escaped for one context, or why it is not allowed there.
type escape func(s string) (escaped, fault string)

func (f *filler) fill(text string, escape escape) string {
	return placeholder.ReplaceAllStringFunc(text, func(m string) string {
		name := placeholder.FindStringSubmatch(m)[1]
		s := f.values.get(name)
		if s == "" {
			f.faults = append(f.faults, name+" is missing")
			return ""
		}
		s, fault := escape(s)
		if fault != "" {
			f.faults = append(f.faults, name+" "+fault)
		}
		return s
	})
}

func asIs(s string) (string, string) { return s, "" }

// inPath refuses values that change the path on a server that decodes it before splitting it, or decodes it twice.
func inPath(s string) (string, string) {
	if s == "." || strings.Contains(s, "..") || strings.ContainsAny(s, `/\%`) {
		return "", "has a slash, two dots or a percent sign, or is a dot, which is not allowed in a path"
	}
	return url.PathEscape(s), ""
}

func inQuery(s string) (string, string) { return url.QueryEscape(s), "" }

func inHeader(s string) (string, string) {
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", "has a control character, which is not allowed in a header"
	}
	return s, ""
}

// inJSON escapes a value for a JSON string, the only place in JSON for placeholders.
func inJSON(s string) (string, string) {
	text, _ := json.Marshal(s) // never fails for a string
	return string(text[1 : len(text)-1]), ""
}

func (c Call) request(ctx context.Context, with values) (*nethttp.Request, []string) {
	f := filler{values: with}
	path, query, queried := strings.Cut(c.URL, "?")
	at := f.fill(path, inPath)
	for segment := range strings.SplitSeq(at, "/") {
		if segment == "." || segment == ".." {
			f.faults = append(f.faults, "the path would have the segment "+segment)
		}
	}
	if queried {
		at += "?" + f.fill(query, inQuery)
	}
	body, kind := "", ""
	switch {
	case c.JSON != nil:
		body, kind = f.fill(string(c.JSON), inJSON), "application/json"
	case c.Form != nil:
		form := url.Values{}
		for k, v := range c.Form {
			form.Set(k, f.fill(v, asIs))
		}
		body, kind = form.Encode(), "application/x-www-form-urlencoded"
	}
	header := nethttp.Header{"Accept": {"application/json"}, "User-Agent": {"rotator"}}
	if kind != "" {
		header.Set("Content-Type", kind)
	}
	for k, v := range c.Headers {
		header.Set(k, f.fill(v, inHeader))
	}
	user, password, _ := strings.Cut(f.fill(c.Basic, asIs), ":")
	if f.faults != nil {
		return nil, f.faults
	}
	req, err := nethttp.NewRequestWithContext(ctx, cmp.Or(c.Method, nethttp.MethodGet), at, strings.NewReader(body))
	if err != nil {
		return nil, []string{"the recipe and the secret do not form a valid URL"}
	}
	req.Header = header
	if c.Basic != "" {
		req.SetBasicAuth(user, password)
	}
	return req, nil
}
