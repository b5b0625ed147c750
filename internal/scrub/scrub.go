// Package scrub removes secrets' values from texts.
package scrub

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/rotation/engine"
)

// public lists the fields whose values may be in errors and logs: operators need the names of target and user.
var public = []string{
	"engine", "host", "port", "username", "dbname", "ssl", "masterarn", "superuserarn", "adminSecretArn",
	"dbClusterIdentifier", "dbInstanceIdentifier", "dbInstanceArn", "dbIdentifier", "user_arn", "org", "type",
}

// words returns every text of a value that must not be shown, in every spelling that a driver or a server may quote.
func words(v engine.Value) []string {
	if v.IsZero() {
		return nil
	}
	var out []string
	user, _ := v.Text("username")
	var add func(string)
	add = func(s string) {
		if len(s) < 4 {
			// Removing such a short text would garble a message and hide nothing.
			return
		}
		escaped, _ := json.Marshal(s) // encoding a string cannot fail
		out = append(out, s, url.QueryEscape(s), url.PathEscape(s),
			strings.TrimPrefix(url.UserPassword("", s).String(), ":"),
			strings.Trim(string(engine.StringValue("{}").With("", s).JSON("")), `"`),
			strings.Trim(string(escaped), `"`),
			strings.Trim(strconv.Quote(s), `"`), strings.Trim(strconv.QuoteToASCII(s), `"`), html.EscapeString(s),
			strings.ReplaceAll(s, "'", "''"), mysqlEscapes.Replace(s), hex.EncodeToString([]byte(s)))
		for _, clear := range []string{s, user + ":" + s} { // and as in HTTP Basic authentication
			out = append(out, base64.StdEncoding.EncodeToString([]byte(clear)),
				base64.RawStdEncoding.EncodeToString([]byte(clear)),
				base64.RawURLEncoding.EncodeToString([]byte(clear)))
		}
		if trimmed := strings.TrimSpace(s); trimmed != s {
			add(trimmed)
		}
	}
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case string:
			add(x)
		case json.Number:
			add(x.String())
		case []any:
			for _, e := range x {
				walk(e)
			}
		case map[string]any:
			for _, e := range x {
				walk(e)
			}
		}
	}
	if !v.IsObject() {
		add(string(v.Reveal()))
		if v.IsBinary() {
			add(base64.StdEncoding.EncodeToString(v.Reveal()))
		}
		return out
	}
	for _, name := range v.Names() { // one by one: encoding/json limits the levels, and the object would be one more
		if slices.Contains(public, name) {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(v.JSON(name)))
		dec.UseNumber()
		var x any
		if dec.Decode(&x) == nil {
			walk(x)
		}
	}
	return out
}

var mysqlEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)

// New returns a function that replaces every text of the values that must not be shown. It replaces the longest first,
// because a shorter one could leave the rest of a longer one. A server may quote a truncated command, so it also
// removes every part of a credential that does not occur in known. Credentials are the named fields, and values without
// fields. Long texts are truncated.
func New(values []engine.Value, known string, fields ...string) func(string) string {
	whole, parts := make(map[string]bool), make(map[string]bool)
	for _, v := range values {
		for _, w := range words(v) {
			whole[w] = true
		}
		credentials := []string{string(v.Reveal())}
		if bytes.HasPrefix(bytes.TrimSpace(v.Reveal()), []byte("{")) { // even if malformed
			credentials = nil
			for _, name := range fields {
				s, _ := v.Text(name)
				credentials = append(credentials, s)
			}
		}
		for _, s := range credentials {
			for i := 0; i+partLength <= len(s); i++ {
				// A part with only letters could be a word of the message, such as "password".
				if part := s[i : i+partLength]; strings.TrimFunc(part, letterOrSpace) != "" &&
					!strings.Contains(known, part) {
					parts[part] = true
				}
			}
		}
	}
	longest := slices.SortedFunc(maps.Keys(whole),
		func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return func(text string) string {
		text, rest := text[:min(len(text), readLimit)], text[min(len(text), readLimit):]
		for _, w := range longest {
			if len(w) <= len(text) {
				text = strings.ReplaceAll(text, w, engine.Redacted)
			}
		}
		var out strings.Builder
		for from := 0; from < len(text); {
			to := from
			// Merge overlapping parts.
			for i := from; i <= to && i+partLength <= len(text); i++ {
				if parts[text[i:i+partLength]] {
					to = i + partLength
				}
			}
			if to == from {
				out.WriteByte(text[from])
				from++
				continue
			}
			out.WriteString(engine.Redacted)
			from = to
		}
		shown := out.String()
		if rest != "" && len(longest) > 0 { // a value may have been cut at the end
			shown = shown[:max(0, len(shown)-len(longest[0]))]
		}
		if rest != "" || len(shown) > shownLimit {
			shown = strings.ToValidUTF8(shown[:min(len(shown), shownLimit)], "") + " … (cut)"
		}
		return shown
	}
}

// The limits of a text, in bytes: how much of it is searched and how much is shown. A host that a secret names can send
// a message of any length, and CloudWatch rejects long lines.
const (
	readLimit  = 64 << 10
	shownLimit = 4 << 10
)

func letterOrSpace(c rune) bool { return c == ' ' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// partLength is the length of the shortest part of a credential that is removed.
const partLength = 8
