package engine

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
)

// Redacted replaces values that must not be shown.
const Redacted = "[redacted]"

// Value is the value of one version of a secret: a JSON object, a bare string or bytes. It cannot be printed, logged or
// marshaled. Changing a field leaves every other byte as it was. The zero Value means no value.
type Value struct {
	*content // a pointer, because fmt prints a struct's fields for a verb such as %p
}

// content is what a Value holds. It is immutable.
type content struct {
	data    []byte
	binary  bool
	fault   string // why it is not an object, or ""
	members []member
}

// member is one member of an object; from and to bound its value in data.
type member struct {
	name     string
	from, to int
}

// StringValue returns the value that a SecretString holds. Text that is not a JSON object is a bare string.
func StringValue(text string) Value {
	c := &content{data: []byte(text)}
	if c.fault = c.parse(); c.fault != "" {
		c.members = nil
	}
	return Value{c}
}

// BinaryValue returns the value that a SecretBinary holds.
func BinaryValue(data []byte) Value {
	return Value{&content{data: bytes.Clone(data), binary: true, fault: "it is binary"}}
}

// parse finds the members of an object, or returns why the text is not one, without the decoder's errors, which may
// quote the input.
func (v *content) parse() (fault string) {
	const malformed = "it is not well-formed JSON"
	dec := json.NewDecoder(bytes.NewReader(v.data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "it is not a JSON object"
	}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		var raw json.RawMessage
		if err != nil || !ok || dec.Decode(&raw) != nil {
			return malformed
		}
		if v.index(name) >= 0 {
			// JSON parsers disagree about which of the two counts.
			return fmt.Sprintf("its field %q appears twice", name)
		}
		to := int(dec.InputOffset())
		v.members = append(v.members, member{name, to - len(raw), to})
	}
	if _, err := dec.Token(); err != nil {
		return malformed
	}
	if len(bytes.TrimSpace(v.data[dec.InputOffset():])) > 0 {
		return "text follows its JSON object"
	}
	return ""
}

func (v *content) index(name string) int {
	return slices.IndexFunc(v.members, func(m member) bool { return m.name == name })
}

var none = &content{fault: "there is no value"}

// get returns what the value holds.
func (v Value) get() *content { return cmp.Or(v.content, none) }

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return v.content == nil }

// IsBinary reports whether the value is bytes, a SecretBinary.
func (v Value) IsBinary() bool { return v.get().binary }

// IsObject reports whether the value is a JSON object.
func (v Value) IsObject() bool { return v.get().fault == "" }

// Fault returns why the value is not a JSON object, or "" if it is one. It quotes at most the name of a field.
func (v Value) Fault() string { return v.get().fault }

// Reveal returns the whole value, to be stored or used as a credential. The caller must not log it.
func (v Value) Reveal() []byte { return bytes.Clone(v.get().data) }

// Text returns a field as text: a string's contents, or the literal of a number, true or false. It reports false for a
// field that is absent, null, an object or an array, and for a value that is not an object.
func (v Value) Text(name string) (string, bool) {
	raw := v.JSON(name)
	if raw == nil || strings.ContainsRune("{[n", rune(raw[0])) {
		return "", false
	}
	if raw[0] != '"' {
		return string(raw), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// JSON returns a field's JSON, or nil if it is absent. The caller must not change or log it.
func (v Value) JSON(name string) json.RawMessage {
	i := v.get().index(name)
	if i < 0 {
		return nil
	}
	return json.RawMessage(v.data[v.members[i].from:v.members[i].to:v.members[i].to])
}

// Names returns the names of the object's fields in their order.
func (v Value) Names() (names []string) {
	for _, m := range v.get().members {
		names = append(names, m.name)
	}
	return names
}

// With returns the value with a field set to the text; a new field is added at the end. It panics if the value is not
// an object; engines check that first.
func (v Value) With(name, text string) Value {
	return v.WithJSON(name, quoteJSON(text))
}

// WithJSON is With for a field that is not a string. It panics if raw is not valid JSON.
func (v Value) WithJSON(name string, raw json.RawMessage) Value {
	if !v.IsObject() {
		panic("rotation: With on a value that is not an object")
	}
	if !json.Valid(raw) {
		panic("rotation: WithJSON with a field that is not JSON")
	}
	if i := v.index(name); i >= 0 {
		m := v.members[i]
		return StringValue(string(slices.Concat(v.data[:m.from], raw, v.data[m.to:])))
	}
	pair := slices.Concat(quoteJSON(name), []byte(":"), raw)
	end := bytes.LastIndexByte(v.data, '}')
	if n := len(v.members); n > 0 {
		pair = slices.Concat([]byte(","), pair)
		end = v.members[n-1].to
	}
	return StringValue(string(slices.Concat(v.data[:end], pair, v.data[end:])))
}

// quoteJSON returns text as a JSON string without HTML escapes, which operators do not type.
func quoteJSON(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // every string can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Equal reports whether both values are the same, in a time that does not depend on where they differ.
func (v Value) Equal(w Value) bool {
	a, b := v.get(), w.get()
	return v.IsZero() == w.IsZero() && a.binary == b.binary && subtle.ConstantTimeCompare(a.data, b.data) == 1
}

// EqualBut reports whether both are objects that differ only in the named fields. White space and string escapes do not
// count; number literals do.
func (v Value) EqualBut(w Value, names ...string) bool {
	if !v.IsObject() || !w.IsObject() {
		return false
	}
	rest := func(v Value) (fields []any) {
		for _, m := range v.members {
			if !slices.Contains(names, m.name) {
				dec := json.NewDecoder(bytes.NewReader(v.data[m.from:m.to]))
				dec.UseNumber()
				var x any
				_ = dec.Decode(&x) // parse has read it
				fields = append(fields, m.name, x)
			}
		}
		return fields
	}
	return reflect.DeepEqual(rest(v), rest(w))
}

// Format writes Redacted, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, Redacted) }

// MarshalJSON returns Redacted.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// LogValue returns Redacted.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }
