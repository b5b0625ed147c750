// Package generic generates random values that no target has to accept: keys for HMAC and signing, passwords that
// consumers fetch, and key pairs. Consumers must also accept AWSPREVIOUS as long as it may be in use.
package generic

import (
	"context"
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
	// keeps returns how the format of the current value would change, or nil. A placeholder has no format.
	keeps(secret, public string, binary bool) error
}

// CheckOptions checks the options of this engine.
func (*Engine) CheckOptions(r *engine.Request) error {
	_, err := makerFor(r)
	return err
}

// makerFor reads the options. The error has the cause InvalidConfiguration.
func makerFor(r *engine.Request) (maker, error) {
	kind, encoding := r.Option(kindOption), r.Option(encodingOption)
	switch kind {
	case "", "password":
		if encoding != "" {
			return nil, engine.Errorf(engine.InvalidConfiguration, "remove "+engine.OptionName(encodingOption)+
				", or choose another "+kindOption, "a password has no encoding")
		}
		return password{}, nil
	case "bytes":
		return newBytes(r.Option(bytesOption), encoding, r.Current.IsBinary())
	}
	return newKeyPair(kind, encoding)
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
	const advice = "name the fields that change in the tag rotator:" + fieldOption
	m, err := makerFor(r)
	if err != nil {
		return nil, nil, err
	}
	invalid := func(advice, format string, args ...any) (maker, []part, error) {
		return nil, nil, engine.Errorf(engine.InvalidSecret, advice, format, args...)
	}
	fields := r.SecretFields
	_, pair := m.(keyPair)
	switch {
	case len(fields) == 0 && v.IsObject():
		return invalid(advice, "the value is a JSON object, but no field to rotate is named")
	case len(fields) == 0 && v.IsZero():
		return invalid(advice, "there is no value")
	case len(fields) == 0:
		return m, []part{{}}, nil
	case !v.IsObject():
		return invalid("remove the tag rotator:"+fieldOption+" or store JSON", "the value has no fields: %s", v.Fault())
	case pair && len(fields) > 2:
		return invalid(advice+": the private key's, then optionally the public key's",
			"a key pair takes one or two fields, not %d", len(fields))
	}
	var faults []string
	for i, name := range fields {
		if v.JSON(name) == nil {
			faults = append(faults, name+" is missing")
		}
		if name == "engine" || slices.Contains(fields[:i], name) {
			faults = append(faults, name+" is reserved or repeated")
		}
	}
	if faults != nil {
		return invalid(advice, "the named fields cannot be rotated: %s", strings.Join(faults, ", "))
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

// keeps refuses to change the format that a value's readers expect. No option overrides this, because anyone who may
// tag the secret can set options.
func keeps(r *engine.Request, m maker, parts []part) error {
	const advice = "set " + kindOption + ", " + encodingOption + " and " + bytesOption +
		" to match the current value; to change the format, first store a placeholder such as \"x\""
	for _, name := range r.SecretFields {
		if raw := r.Current.JSON(name); raw[0] != '"' && raw[0] != 'n' {
			return engine.Errorf(engine.InvalidSecret, advice, "the field %s is not text", name)
		}
	}
	for _, p := range parts {
		secret, public := p.get(r.Current)
		if err := m.keeps(secret, public, r.Current.IsBinary()); err != nil {
			return engine.Errorf(engine.InvalidSecret, advice, "the format would change: %s %w", p, err)
		}
	}
	return nil
}

// Next returns the current value with a different new secret in each part.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	m, parts, err := read(r, r.Current)
	if err == nil {
		err = keeps(r, m, parts)
	}
	if err != nil {
		return engine.Value{}, err
	}
	b, ok := m.(random)
	binary := ok && b.coding.name == "binary"
	next := r.Current
	for _, p := range parts {
		secret, public, err := m.make(r)
		switch {
		case err != nil:
			return engine.Value{}, err
		case p.field == "" && (binary || next.IsBinary()):
			next = engine.BinaryValue([]byte(secret))
		case p.field == "":
			next = engine.StringValue(secret)
		case binary:
			return engine.Value{}, engine.Errorf(engine.InvalidConfiguration,
				"set "+encodingOption+" to base64, base64url or hex", "a field cannot hold bytes")
		default:
			next = next.With(p.field, secret)
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
	const advice = "compare the value with the options " + kindOption + " and " + encodingOption
	m, parts, err := read(r, v)
	if err != nil {
		return err
	}
	for _, p := range parts {
		secret, public := p.get(v)
		if p.public != "" && public == "" {
			return engine.Errorf(engine.InvalidSecret, advice, "the field %s is empty", p.public)
		}
		if err := m.check(secret, public); err != nil {
			return engine.Errorf(engine.InvalidSecret, advice, "%s %w", p, err)
		}
	}
	return nil
}
