// Package generic generates random values that no target has to accept: keys for HMAC and signing, passwords that
// consumers fetch, and key pairs. Consumers must also accept AWSPREVIOUS as long as it may be in use.
package generic

import (
	"context"
	"errors"
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
		Options:      []string{kindOption, fieldOption, bytesOption, encodingOption},
	}
}

type maker interface {
	// make returns a new secret, and its public key or "".
	make(r *engine.Request) (secret, public string, err error)
	// check returns what is wrong with the value, or nil. public is "" if it is not stored.
	check(secret, public string) error
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
	return newKeyPair(kind)
}

type part struct {
	field  string // of the secret, or "" for the whole value
	public string // the field of the public key, or ""
}

func (p part) String() string {
	if p.field == "" {
		return "the value"
	}
	return "the field " + p.field
}

func (p part) get(v engine.Value) (secret, public string) {
	if p.field == "" {
		return string(v.Reveal()), ""
	}
	secret, _ = v.Text(p.field)
	public, _ = v.Text(p.public)
	return secret, public
}

// read returns the maker and the parts that the options name. It fails if the value lacks one.
func read(r *engine.Request, v engine.Value) (maker, []part, error) {
	m, err := makerFor(r)
	if err != nil {
		return nil, nil, err
	}
	fields := r.SecretFields
	_, pair := m.(keyPair)
	var faults []string
	switch {
	case len(fields) == 0 && v.IsObject():
		faults = append(faults, "the value is a JSON object, but no field to rotate is named")
	case len(fields) > 0 && !v.IsObject():
		faults = append(faults, "the value has no fields: "+v.Fault())
	case pair && len(fields) > 2:
		faults = append(faults, "a key pair takes one or two fields")
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
			" the fields that change: of a key pair the private key's, then optionally the public key's; none if "+
			"the whole value changes", "the value does not fit its options: %s", strings.Join(faults, ", "))
	}
	if len(fields) == 0 {
		return m, []part{{}}, nil
	}
	if pair {
		return m, []part{{fields[0], strings.Join(fields[1:], "")}}, nil
	}
	var parts []part
	for _, name := range fields {
		parts = append(parts, part{field: name})
	}
	return m, parts, nil
}

// Next returns the current value with a different new secret in each part. It refuses to change the format that a
// value's readers expect. No option overrides this, because anyone who may tag the secret can set options.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	m, parts, err := read(r, r.Current)
	if err != nil {
		return engine.Value{}, err
	}
	next := r.Current
	for _, p := range parts {
		old, public := p.get(r.Current)
		if err := m.check(old, public); err != nil && len(old) >= fewest { // a shorter text is a placeholder
			return engine.Value{}, engine.Errorf(engine.InvalidSecret, "set "+kindOption+", "+encodingOption+" and "+
				bytesOption+` to match the current value; to change the format, first store a placeholder such as "x"`,
				"the format would change: %s %w", p, err)
		}
		secret, public, err := m.make(r)
		switch {
		case err != nil:
			return engine.Value{}, err
		case p.field != "":
			next = next.With(p.field, secret)
		case next.IsBinary():
			next = engine.BinaryValue([]byte(secret))
		default:
			next = engine.StringValue(secret)
		}
		if p.public != "" {
			next = next.With(p.public, public)
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

// Verify checks that the value is of its kind and that a pair's keys match. The error has the cause InvalidSecret.
func (e *Engine) Verify(_ context.Context, r *engine.Request, v engine.Value) error {
	m, parts, err := read(r, v)
	if err != nil {
		return err
	}
	for _, p := range parts {
		secret, public := p.get(v)
		err := m.check(secret, public)
		if p.public != "" && public == "" {
			err = errors.New("has no public key")
		}
		if err != nil {
			return engine.Errorf(engine.InvalidSecret, "compare the value with the options "+kindOption+", "+
				encodingOption+" and "+bytesOption, "%s %w", p, err)
		}
	}
	return nil
}
