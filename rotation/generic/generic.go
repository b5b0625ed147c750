// Package generic generates random values that no target has to accept: keys for HMAC and signatures, and passwords
// that consumers fetch. Consumers must also accept AWSPREVIOUS as long as it may be in use.
package generic

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Engine generates random values.
type Engine struct{}

// New returns the engine.
func New() *Engine { return &Engine{} }

// The secret's owner may set these options in tags, because they affect only the secret itself.
const (
	kindOption     = "generic-kind"
	fieldOption    = "generic-field"
	bytesOption    = "generic-bytes"
	encodingOption = "generic-encoding"
)

// Kind describes the engine. Without options it works like AWS's RotationTemplate: the whole value is a password of 32
// characters, with at least one of each type.
// Source: https://github.com/aws-samples/aws-secrets-manager-rotation-lambdas (SecretsManagerRotationTemplate)
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"generic"},
		Overlap:      engine.BothWork,
		FieldsOption: fieldOption,
		NoTarget:     true,
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
	}
}

type maker interface {
	// make returns a new secret.
	make(r *engine.Request) (string, error)
	// check returns what is wrong with a secret, or nil.
	check(secret string) error
}

// CheckOptions checks the options of this engine.
func (*Engine) CheckOptions(r *engine.Request) error {
	_, err := makerFor(r)
	return err
}

// makerFor reads the options. The error has the cause InvalidConfiguration.
func makerFor(r *engine.Request) (maker, error) {
	kind, encoding := r.Option(kindOption), r.Option(encodingOption)
	if kind == "bytes" {
		return newBytes(r.Option(bytesOption), encoding, r.Current.IsBinary())
	}
	if encoding != "" {
		return nil, engine.Errorf(engine.InvalidConfiguration, "remove "+engine.OptionName(encodingOption)+
			", or set "+kindOption+" to bytes", "only bytes have an encoding")
	}
	if kind == "" || kind == "password" {
		return password{}, nil
	}
	return newPrivateKey(kind)
}

// get returns a field's text, or the whole value for the field "".
func get(v engine.Value, field string) string {
	if field == "" {
		return string(v.Reveal())
	}
	secret, _ := v.Text(field)
	return secret
}

func describe(field string) string {
	if field == "" {
		return "the value"
	}
	return "the field " + field
}

// read returns the maker and the fields that the options name, or "" for the whole value. It fails if the value lacks
// one.
func read(r *engine.Request, v engine.Value) (maker, []string, error) {
	m, err := makerFor(r)
	if err != nil {
		return nil, nil, err
	}
	fields := r.SecretFields
	var faults []string
	switch {
	case len(fields) == 0 && v.IsObject():
		faults = append(faults, "the value is a JSON object, but no field to rotate is named")
	case len(fields) > 0 && !v.IsObject():
		faults = append(faults, "the value has no fields: "+v.Fault())
	}
	for i, name := range fields {
		switch raw := v.JSON(name); {
		case name == "engine" || slices.Contains(fields[:i], name):
			faults = append(faults, name+" is reserved or repeated")
		case raw == nil:
			faults = append(faults, name+" is missing")
		case raw[0] != '"' && raw[0] != 'n': // null
			faults = append(faults, name+" is not text")
		}
	}
	if faults != nil {
		return nil, nil, engine.Errorf(engine.InvalidSecret, "name in the tag rotator:"+fieldOption+
			" the fields that change, or none if the whole value changes", "the value does not fit its options: %s",
			strings.Join(faults, ", "))
	}
	if len(fields) == 0 {
		fields = []string{""}
	}
	return m, fields, nil
}

// Next returns the current value with a different new secret in each field. It refuses to change the format that a
// value's readers expect, because anyone who may tag the secret can set options. Only the kind password overrides the
// guess that a value is hex or base64.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	m, fields, err := read(r, r.Current)
	if err != nil {
		return engine.Value{}, err
	}
	next := r.Current
	for _, field := range fields {
		old := get(r.Current, field)
		err := m.check(old)
		if seems, size := guess(old); err == nil && r.Option(kindOption) == "" && seems != "" {
			err = fmt.Errorf("looks like %d bytes in %s, not a password", size, seems)
		}
		if err != nil && len(old) >= fewest { // a shorter text is a placeholder
			return engine.Value{}, engine.Errorf(engine.InvalidSecret, "set "+kindOption+", "+encodingOption+" and "+
				bytesOption+" to match the current value, or remove a public key's field from "+fieldOption+
				`; to change the format, first store a placeholder such as "x"`,
				"the format would change: %s %w", describe(field), err)
		}
		secret, err := m.make(r)
		switch {
		case err != nil:
			return engine.Value{}, err
		case field != "":
			next = next.With(field, secret)
		case next.IsBinary():
			next = engine.BinaryValue([]byte(secret))
		default:
			next = engine.StringValue(secret)
		}
	}
	return next, nil
}

// DryRun checks the new value the way testSecret will.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.Verify(ctx, r, r.Pending)
}

// Set has nothing to do: there is no target.
func (*Engine) Set(context.Context, *engine.Request) error { return nil }

// Verify checks that the value is of its kind. The error has the cause InvalidSecret.
func (e *Engine) Verify(_ context.Context, r *engine.Request, v engine.Value) error {
	m, fields, err := read(r, v)
	if err != nil {
		return err
	}
	for _, field := range fields {
		if err := m.check(get(v, field)); err != nil {
			return engine.Errorf(engine.InvalidSecret, "compare the value with the options "+kindOption+", "+
				encodingOption+" and "+bytesOption, "%s %w", describe(field), err)
		}
	}
	return nil
}
