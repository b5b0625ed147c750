// Package form reads values of secrets that have other fields than engine.ParseTarget requires.
package form

import (
	"errors"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// Form is a value, and what is wrong with its fields.
type Form struct {
	Value  engine.Value
	faults []string
}

// Wrong adds what is wrong, which must not quote a secret.
func (f *Form) Wrong(text string) { f.faults = append(f.faults, text) }

// Required returns a field's text, which must match the format unless that is nil.
func (f *Form) Required(name string, format *lazyregexp.Regexp, otherwise string) string {
	s := f.Optional(name)
	if s == "" {
		f.Wrong(name + " is missing")
	} else if format != nil && !format.MatchString(s) {
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

// Target parses the value as a login. The optional fields, of host, username and password, may be empty.
func (f *Form) Target(parse func(engine.Value) (engine.Target, error), optional ...string) engine.Target {
	if !f.Value.IsObject() {
		return engine.Target{}
	}
	full := f.Value
	for _, name := range optional {
		if f.Optional(name) == "" {
			full = full.With(name, "none")
		}
	}
	t, err := parse(full)
	if e, ok := errors.AsType[*engine.Error](err); ok {
		f.Wrong(e.Err.Error())
	}
	t.Host, _ = f.Value.Text("host")
	t.User, _ = f.Value.Text("username")
	t.Password, _ = f.Value.Text("password")
	return t
}

// Err returns an error with the cause InvalidSecret that names every fault, or nil if there is none.
func (f *Form) Err() error {
	faults := strings.Join(f.faults, ", ")
	if !f.Value.IsObject() {
		faults = f.Value.Fault()
	} else if faults == "" {
		return nil
	}
	return engine.Errorf(engine.InvalidSecret,
		"correct the secret's value; the engine's documentation page describes its format",
		"the secret's value cannot be read: %s", faults)
}
