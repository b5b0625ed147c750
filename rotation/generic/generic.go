// Package generic makes random values that no system has to be told: keys for HMAC and for signing
// tokens, passwords that others fetch, key pairs. Those who check with such a value also accept the one
// before, AWSPREVIOUS, for as long as it may be in use.
package generic

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Engine makes random values.
type Engine struct{}

// New returns the engine.
func New() *Engine { return &Engine{} }

// The options, which are the owner's: they concern nothing but the secret itself.
const (
	kindOption     = "generic-kind"
	fieldOption    = "generic-field"
	bytesOption    = "generic-bytes"
	encodingOption = "generic-encoding"
)

// Kind describes the engine. Without options it does what AWS's RotationTemplate does: the whole value
// is a password of 32 characters, one of each type at least.
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

// maker makes and checks values of one kind, in one encoding.
type maker interface {
	// make returns what is secret, and a public key or "".
	make(r *engine.Request) (secret, public string, err error)
	// check says what is wrong with them, or nil. public is "" where the secret has no place for it.
	check(secret, public string) error
	// keeps says how the form of current ones would change, or nil, as for a placeholder.
	keeps(secret, public string, binary bool) error
	// pair reports whether there is a public key.
	pair() bool
}

// CheckOptions judges the engine's own settings.
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
			return nil, engine.Errorf(engine.InvalidConfiguration, "leave "+engine.OptionName(encodingOption)+" out, or choose another "+kindOption, "a password has no encoding")
		}
		return password{}, nil
	case "bytes":
		return newBytes(r.Option(bytesOption), encoding, r.Current.IsBinary())
	}
	return newKeyPair(kind, encoding)
}

// part is where a value keeps what one maker makes.
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

// read returns the maker and the parts that the options name, of which the value has all.
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
	switch {
	case len(fields) == 0 && v.IsObject():
		return invalid(advice, "the value is a JSON object, and no field of it is named")
	case len(fields) == 0 && v.IsZero():
		return invalid(advice, "there is no value")
	case len(fields) == 0:
		return m, []part{{}}, nil
	case !v.IsObject():
		return invalid("remove the tag rotator:"+fieldOption+", or store a JSON object", "the value has no fields: %s", v.Fault())
	case m.pair() && len(fields) > 2:
		return invalid(advice+": the private key's, and the public key's if it is to be stored", "a key pair has %d fields", len(fields))
	}
	var faults []string
	for i, name := range fields {
		if v.JSON(name) == nil {
			faults = append(faults, name+" is missing")
		}
		if name == "engine" || slices.Contains(fields[:i], name) {
			faults = append(faults, name+" cannot be one of them")
		}
	}
	if faults != nil {
		return invalid(advice, "the fields of the value do not suit: %s", strings.Join(faults, ", "))
	}
	if m.pair() {
		return m, []part{{fields[0], strings.Join(fields[1:], "")}}, nil
	}
	var parts []part
	for _, name := range fields {
		parts = append(parts, part{field: name})
	}
	return m, parts, nil
}

// keeps refuses to change the form of a current value: those who read it expect that form. An
// option, which whoever may tag the secret can set, is not enough.
func keeps(r *engine.Request, m maker, parts []part) error {
	const advice = "set " + kindOption + ", " + encodingOption + " and " + bytesOption + " to the form of the current value; to change the form, first store a placeholder such as \"x\""
	for _, name := range r.SecretFields {
		if raw := r.Current.JSON(name); raw[0] != '"' && raw[0] != 'n' {
			return engine.Errorf(engine.InvalidSecret, advice, "the field %s is not text", name)
		}
	}
	for _, p := range parts {
		secret, public := p.get(r.Current)
		if err := m.keeps(secret, public, r.Current.IsBinary()); err != nil {
			return engine.Errorf(engine.InvalidSecret, advice, "the form would change: %s %w", p, err)
		}
	}
	return nil
}

// Next returns the current value with new secrets in it, another one in each part.
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
			return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, "set "+encodingOption+" to base64, base64url or hex", "a field cannot hold bytes")
		default:
			next = next.With(p.field, secret)
		}
		if p.public != "" {
			next = next.With(p.public, public)
		}
	}
	return next, nil
}

// DryRun checks the new value as it will be read.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.Verify(ctx, r, r.Pending)
}

// Set has nothing to do: there is no target.
func (*Engine) Set(context.Context, *engine.Request) error { return nil }

// Verify checks that the value has the form: it can be read as its kind, and a key pair belongs
// together. The error has the cause InvalidSecret.
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
