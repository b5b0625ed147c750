// Package form reads values of secrets that have other fields than engine.ParseTarget requires.
package form

import (
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// Form is a value and the faults found in its fields.
type Form struct {
	Value  engine.Value
	faults []string
}

// Wrong adds a fault, which must not quote a secret.
func (f *Form) Wrong(text string) { f.faults = append(f.faults, text) }

// Required returns a field's text, which must match the format unless that is nil.
func (f *Form) Required(name string, format lazyregexp.Regexp, otherwise string) string {
	before := len(f.faults)
	s := f.Optional(name)
	switch {
	case len(f.faults) > before: // it is not text
	case s == "":
		f.Wrong(name + " is missing")
	case format != nil && !format().MatchString(s):
		f.Wrong(name + " " + otherwise)
	}
	return s
}

// Optional returns a field's text, or "" if it is absent or null.
func (f *Form) Optional(name string) string {
	s, ok := f.Value.Text(name)
	if raw := f.Value.JSON(name); !ok && raw != nil && string(raw) != "null" {
		f.Wrong(name + " is not text")
	}
	return s
}

// Err returns an error with the cause InvalidSecret that names every fault, or nil if there is none.
func (f *Form) Err() error {
	what := "is not valid: " + strings.Join(f.faults, ", ")
	if !f.Value.IsObject() {
		what = "cannot be read: " + f.Value.Fault()
	} else if len(f.faults) == 0 {
		return nil
	}
	return engine.Errorf(engine.InvalidSecret,
		"correct the secret's value; the engine's documentation page describes its format", "the secret's value %s", what)
}
