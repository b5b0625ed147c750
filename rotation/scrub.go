package rotation

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
)

// public are the fields whose values may stand in errors and logs: they name
// the target and the user and are what an operator needs to see.
var public = []string{
	"engine", "host", "port", "username", "dbname", "ssl", "masterarn", "superuserarn", "adminSecretArn",
	"dbClusterIdentifier", "dbInstanceIdentifier", "dbInstanceArn", "dbIdentifier", "user_arn", "org", "type",
}

// words returns every text of the value that must not be shown, in each of the
// spellings in which a driver or a server may quote it.
func (v Value) words() []string {
	if v.IsZero() {
		return nil
	}
	var words []string
	user, _ := v.Text("username")
	var add func(string)
	add = func(s string) {
		if len(s) < 4 {
			// Removing so short a text would garble a message and hide nothing.
			return
		}
		escaped, _ := json.Marshal(s) // a string can be encoded
		words = append(words, s, url.QueryEscape(s), url.PathEscape(s), strings.TrimPrefix(url.UserPassword("", s).String(), ":"),
			strings.Trim(string(quoteJSON(s)), `"`), strings.Trim(string(escaped), `"`),
			strings.Trim(strconv.Quote(s), `"`), strings.Trim(strconv.QuoteToASCII(s), `"`), html.EscapeString(s),
			strings.ReplaceAll(s, "'", "''"), mysqlEscapes.Replace(s), hex.EncodeToString([]byte(s)))
		for _, clear := range []string{s, user + ":" + s} { // and as HTTP's Basic has it
			words = append(words, base64.StdEncoding.EncodeToString([]byte(clear)), base64.RawStdEncoding.EncodeToString([]byte(clear)), base64.RawURLEncoding.EncodeToString([]byte(clear)))
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
	if !v.object {
		add(string(v.data))
		if v.binary {
			add(base64.StdEncoding.EncodeToString(v.data))
		}
	}
	for _, m := range v.members {
		if slices.Contains(public, m.name) {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(v.data[m.from:m.to]))
		dec.UseNumber()
		var x any
		if dec.Decode(&x) == nil {
			walk(x)
		}
	}
	return words
}

var mysqlEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)

// newScrubber returns a function that replaces every text of the values that must not
// be shown: the longest first among all of them, so that no shorter one leaves the rest
// of a longer. Of the credentials, which are the named fields and values without fields,
// no part stays either, but for those that known has, too: a server may quote a command
// and cut it off.
func newScrubber(values []Value, known string, fields ...string) func(string) string {
	words, parts := make(map[string]bool), make(map[string]bool)
	for _, v := range values {
		for _, w := range v.words() {
			words[w] = true
		}
		credentials := []string{string(v.Reveal())}
		if bytes.HasPrefix(bytes.TrimSpace(v.Reveal()), []byte("{")) { // also one with a fault
			credentials = nil
			for _, name := range fields {
				s, _ := v.Text(name)
				credentials = append(credentials, s)
			}
		}
		for _, s := range credentials {
			for i := 0; i+partLength <= len(s); i++ {
				// Nothing but letters may be words of the message, such as "password".
				if part := s[i : i+partLength]; strings.Trim(part, lowercase+uppercase+" ") != "" && !strings.Contains(known, part) {
					parts[part] = true
				}
			}
		}
	}
	longest := slices.SortedFunc(maps.Keys(words), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return func(text string) string {
		for _, w := range longest {
			if len(w) <= len(text) {
				text = strings.ReplaceAll(text, w, redacted)
			}
		}
		var out strings.Builder
		for from := 0; from < len(text); {
			to := from
			// One part after the other, as far as they overlap.
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
			out.WriteString(redacted)
			from = to
		}
		return out.String()
	}
}

// partLength is the length of the shortest part of a credential that is not shown.
const partLength = 8
