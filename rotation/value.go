package rotation

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const redacted = "[redacted]"

// Value is the value of one version of a secret: a JSON object, a bare string
// or bytes. It cannot be printed, logged or marshalled. Changing a field of an
// object leaves every other byte as it was: unknown fields, the order of keys,
// white space and the literals of numbers survive.
//
// The zero Value is no value.
type Value struct {
	// A pointer, because fmt prints a struct's fields for a verb that does not
	// fit, such as %p, without asking Format.
	*content
}

// content is what a Value holds; it is never changed once it is made.
type content struct {
	data    []byte
	binary  bool
	object  bool
	fault   string // why text that looks like an object is none
	members []member
}

// member is one member of an object; from and to bound its value in data.
type member struct {
	name     string
	from, to int
}

// StringValue returns the value that a SecretString holds. Any text is
// accepted: one that is not a JSON object is a bare string.
func StringValue(text string) Value {
	c := &content{data: []byte(text)}
	c.parse()
	return Value{c}
}

// BinaryValue returns the value that a SecretBinary holds.
func BinaryValue(data []byte) Value {
	return Value{&content{data: bytes.Clone(data), binary: true}}
}

// parse finds the members of an object. Errors of the decoder are not kept, as
// they may quote the input.
func (v *content) parse() {
	dec := json.NewDecoder(bytes.NewReader(v.data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		v.fault = "it is not a JSON object"
		return
	}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			v.fault = "it is not well-formed JSON"
			v.members = nil
			return
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			v.fault = "it is not well-formed JSON"
			v.members = nil
			return
		}
		if v.index(name) >= 0 {
			// Which of the two counts differs from reader to reader.
			v.fault = fmt.Sprintf("its field %q appears twice", name)
			v.members = nil
			return
		}
		to := int(dec.InputOffset())
		v.members = append(v.members, member{name, to - len(raw), to})
	}
	if _, err := dec.Token(); err != nil {
		v.fault = "it is not well-formed JSON"
		v.members = nil
		return
	}
	if len(bytes.TrimSpace(v.data[dec.InputOffset():])) > 0 {
		v.fault = "text follows its JSON object"
		v.members = nil
		return
	}
	v.object = true
}

func (v *content) index(name string) int {
	if v == nil {
		return -1
	}
	return slices.IndexFunc(v.members, func(m member) bool { return m.name == name })
}

// IsZero reports whether there is no value at all.
func (v Value) IsZero() bool { return v.content == nil }

// IsBinary reports whether the value is bytes, a SecretBinary.
func (v Value) IsBinary() bool { return v.content != nil && v.binary }

// IsObject reports whether the value is a JSON object.
func (v Value) IsObject() bool { return v.content != nil && v.object }

// Fault says why the value is not a JSON object; it is "" where it is one. It
// quotes nothing of the value but the name of a field.
func (v Value) Fault() string {
	switch {
	case v.IsZero():
		return "there is none"
	case v.binary:
		return "it is binary"
	}
	return v.fault
}

// Reveal returns the whole value, for the call that stores it or for an engine
// whose credential is the whole value. The caller must not log it.
func (v Value) Reveal() []byte {
	if v.IsZero() {
		return nil
	}
	return bytes.Clone(v.data)
}

// Text returns a field as text: a string's contents, or the literal of a
// number, true or false. It reports false for a field that is absent, null, an
// object or an array, and for a value that is not an object.
func (v Value) Text(name string) (string, bool) {
	i := v.index(name)
	if i < 0 {
		return "", false
	}
	raw := v.data[v.members[i].from:v.members[i].to]
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return "", false
		}
		return s, true
	case '{', '[', 'n':
		return "", false
	}
	return string(raw), true
}

// JSON returns a field's JSON, or nil where it is absent. The caller must not
// change or log it.
func (v Value) JSON(name string) json.RawMessage {
	i := v.index(name)
	if i < 0 {
		return nil
	}
	return json.RawMessage(v.data[v.members[i].from:v.members[i].to:v.members[i].to])
}

// Names returns the names of the object's fields in their order.
func (v Value) Names() []string {
	if v.IsZero() {
		return nil
	}
	names := make([]string, len(v.members))
	for i, m := range v.members {
		names[i] = m.name
	}
	return names
}

// With returns the value with a field set to the text; a field that is new is
// put last. It panics if the value is not an object, which an engine has
// checked before.
func (v Value) With(name, text string) Value {
	return v.WithJSON(name, quoteJSON(text))
}

// WithJSON is With for a field that is not a string. It panics if raw is not
// valid JSON.
func (v Value) WithJSON(name string, raw json.RawMessage) Value {
	if !v.IsObject() {
		panic("rotation: With on a value that is not an object")
	}
	if !json.Valid(raw) {
		panic("rotation: WithJSON with a field that is not JSON")
	}
	var out []byte
	if i := v.index(name); i >= 0 {
		m := v.members[i]
		out = slices.Concat(v.data[:m.from], raw, v.data[m.to:])
	} else {
		pair := slices.Concat(quoteJSON(name), []byte(":"), raw)
		end := bytes.LastIndexByte(v.data, '}')
		if n := len(v.members); n > 0 {
			pair = slices.Concat([]byte(","), pair)
			end = v.members[n-1].to
		}
		out = slices.Concat(v.data[:end], pair, v.data[end:])
	}
	return StringValue(string(out))
}

// quoteJSON returns text as a JSON string without the HTML escapes that would
// make a value look different from what an operator typed.
func quoteJSON(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic("rotation: a string that cannot be encoded") // unreachable: every string can
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Equal reports whether both are the same value, in a time that does not tell
// where they differ.
func (v Value) Equal(w Value) bool {
	if v.IsZero() || w.IsZero() {
		return v.IsZero() && w.IsZero()
	}
	return v.binary == w.binary && subtle.ConstantTimeCompare(v.data, w.data) == 1
}

// EqualBut reports whether both are objects that differ in nothing but the
// named fields. White space does not count.
func (v Value) EqualBut(w Value, names ...string) bool {
	if !v.IsObject() || !w.IsObject() {
		return false
	}
	rest := func(v Value) []byte {
		var b bytes.Buffer
		for _, m := range v.members {
			if !slices.Contains(names, m.name) {
				b.Write(quoteJSON(m.name))
				b.WriteByte(':')
				_ = json.Compact(&b, v.data[m.from:m.to]) // parsed before, so it is valid
				b.WriteByte(',')
			}
		}
		return b.Bytes()
	}
	return subtle.ConstantTimeCompare(rest(v), rest(w)) == 1
}

// Format writes a place holder in the value's stead, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalJSON writes a place holder in the value's stead.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// LogValue returns a place holder in the value's stead.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

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

// scrub replaces in a text what newScrubber's function does.
func scrub(text string, values []Value, fields ...string) string {
	return newScrubber(values, "", fields...)(text)
}

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
