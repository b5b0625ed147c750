package http

import (
	"cmp"
	"context"
	"encoding/json"
	nethttp "net/http"
	"net/url"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

var (
	// placeholder matches {{field}} or {{rotation.word}}. Templates have no other syntax, so values are escaped by
	// context.
	placeholder = lazyregexp.New(`\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}`)
	// jsonText matches a JSON string and, after a member's name, the colon.
	jsonText = lazyregexp.New(`"(?:[^"\\]|\\.)*"(?:\s*:)?`)
)

// A lookup returns what replaces a placeholder, or "".
type lookup func(name string) string

// fields returns a lookup of a value's fields and, if it is not "", of one of the rotation's words.
func fields(v engine.Value, word, text string) lookup {
	return func(name string) string {
		if name == word {
			return text
		}
		s, _ := v.Text(name)
		return s
	}
}

type filler struct {
	lookup lookup
	faults []string
}

func (f *filler) wrong(fault string) { f.faults = append(f.faults, fault) }

// An escape returns a value escaped for one context, or why it is not allowed there.
type escape func(s string) (escaped, fault string)

func (f *filler) fill(text string, escape escape) string {
	if strings.Contains(placeholder().ReplaceAllString(text, ""), "{{") { // "}}" may end JSON
		f.wrong("a placeholder is not of the form {{name}}")
	}
	return placeholder().ReplaceAllStringFunc(text, func(m string) string {
		name := placeholder().FindStringSubmatch(m)[1]
		s := f.lookup(name)
		if s == "" {
			f.wrong(name + " is missing")
			return ""
		}
		s, fault := escape(s)
		if fault != "" {
			f.wrong(name + " " + fault)
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

// inJSON escapes a value for a JSON string.
func inJSON(s string) (string, string) {
	text, _ := json.Marshal(s) // never fails for a string
	return string(text[1 : len(text)-1]), ""
}

// names returns the placeholders in the call, and what is wrong with the call whatever replaces them.
func (c Call) names() (names, faults []string) {
	_, faults = c.request(context.Background(), func(name string) string {
		names = append(names, name)
		return "x"
	})
	return names, faults
}

// request returns the call with its placeholders replaced, or what is wrong with it. Names of headers and of members of
// the body have no placeholders, because a writer of the secret must not choose them.
func (c Call) request(ctx context.Context, with lookup) (*nethttp.Request, []string) {
	f := filler{lookup: with}
	path, query, queried := strings.Cut(c.URL, "?")
	at := f.fill(path, inPath)
	for segment := range strings.SplitSeq(at, "/") {
		if segment == "." || segment == ".." {
			f.wrong("the path would have the segment " + segment)
		}
	}
	if queried {
		at += "?" + f.fill(query, inQuery)
	}
	body, kind := "", ""
	switch {
	case c.JSON != nil:
		kind = "application/json"
		body = jsonText().ReplaceAllStringFunc(string(c.JSON), func(text string) string {
			if strings.HasSuffix(text, ":") {
				return text
			}
			return f.fill(text, inJSON)
		})
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
