package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// placeholder is {{field}} or {{rotation.word}}. There is no more to the templates:
// each value is escaped for where it stands, which a language of its own would
// leave to the recipe's author.
var placeholder = lazyregexp.New(`\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}`)

// lookup returns the value of a place holder.
type lookup func(name string) (string, bool)

// words returns the lookup for a value and the rotation's own words.
func words(v engine.Value, own map[string]string) lookup {
	return func(name string) (string, bool) {
		if word, ok := strings.CutPrefix(name, "rotation."); ok {
			s, ok := own[word]
			return s, ok
		}
		return v.Text(name)
	}
}

// expand replaces the place holders of a text.
func expand(text string, look lookup, escape func(string) (string, error)) (string, error) {
	var fault error
	out := placeholder.ReplaceAllStringFunc(text, func(m string) string {
		name := placeholder.FindStringSubmatch(m)[1]
		s, ok := look(name)
		if !ok {
			fault = fmt.Errorf("the field %s is missing", name)
			return ""
		}
		s, err := escape(s)
		if err != nil {
			fault = fmt.Errorf("the field %s %w", name, err)
		}
		return s
	})
	return out, fault
}

// The ways to escape a value.
func asIs(s string) (string, error) { return s, nil }

// inPath refuses what leads elsewhere at a server that decodes a path before it splits it, or twice.
func inPath(s string) (string, error) {
	if s == "" || s == "." || strings.Contains(s, "..") || strings.ContainsAny(s, `/\%`) {
		return "", fmt.Errorf("has a slash, two dots or a percent sign, or is a dot, which cannot stand in a path")
	}
	return url.PathEscape(s), nil
}

func inQuery(s string) (string, error) { return url.QueryEscape(s), nil }

func inHeader(s string) (string, error) {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return "", fmt.Errorf("has a control character, which cannot stand in a header")
		}
	}
	return s, nil
}

// fill replaces every string in decoded JSON.
func fill(x any, with func(string) (string, error)) (any, error) {
	var err error
	switch x := x.(type) {
	case string:
		return with(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			if out[i], err = fill(x[i], with); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for k := range x {
			if out[k], err = fill(x[k], with); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return x, nil
}

// request returns the call's request. An error speaks of the secret's fields.
func (c Call) request(ctx context.Context, common map[string]string, look lookup) (*nethttp.Request, error) {
	path, query, queried := strings.Cut(c.URL, "?")
	at, err := expand(path, look, inPath)
	if err != nil {
		return nil, err
	}
	for segment := range strings.SplitSeq(at, "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("the path would have the segment %s", segment)
		}
	}
	if queried {
		q, err := expand(query, look, inQuery)
		if err != nil {
			return nil, err
		}
		at += "?" + q
	}
	var body io.Reader
	kind := ""
	switch {
	case c.JSON != nil:
		x, err := decode(c.JSON)
		if err == nil {
			x, err = fill(x, func(s string) (string, error) { return expand(s, look, asIs) })
		}
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(x)
		if err != nil {
			return nil, err
		}
		body, kind = bytes.NewReader(data), "application/json"
	case c.Form != nil:
		form := url.Values{}
		for k, v := range c.Form {
			s, err := expand(v, look, asIs)
			if err != nil {
				return nil, err
			}
			form.Set(k, s)
		}
		body, kind = strings.NewReader(form.Encode()), "application/x-www-form-urlencoded"
	}
	method := c.Method
	if method == "" {
		method = nethttp.MethodGet
	}
	req, err := nethttp.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return nil, fmt.Errorf("no URL can be made of the recipe and the secret")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rotator")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for _, headers := range []map[string]string{common, c.Headers} {
		for k, v := range headers {
			s, err := expand(v, look, inHeader)
			if err != nil {
				return nil, err
			}
			req.Header.Set(k, s)
		}
	}
	if c.Basic != "" {
		s, err := expand(c.Basic, look, asIs)
		if err != nil {
			return nil, err
		}
		user, password, _ := strings.Cut(s, ":")
		req.SetBasicAuth(user, password)
	}
	return req, nil
}
