// Package generic makes random values that no system has to be told: keys for
// HMAC and for signing tokens, passwords that others fetch, key pairs. Those who
// check with such a value take the one before, AWSPREVIOUS, for as long as it may
// be in use.
package generic

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Engine makes values by chance alone.
type Engine struct{}

var (
	_ engine.DryRunner = (*Engine)(nil)
	_ engine.Needer    = (*Engine)(nil)
)

// New returns the engine.
func New() *Engine { return &Engine{} }

// The options, which are the owner's: they concern nothing but the secret itself.
const (
	kindOption     = "generic-kind"
	fieldOption    = "generic-field"
	bytesOption    = "generic-bytes"
	encodingOption = "generic-encoding"
)

// Kind describes the engine. Without options it does what AWS's RotationTemplate
// does: the whole value is a password of 32 characters, one of each type at least.
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
	// make returns a value's parts: what is secret, and a public key or "".
	make(r *engine.Request) (secret, public string, err error)
	// check says what is wrong with a value's parts, or nil. public is "" where
	// the secret has no place for it.
	check(secret, public string) error
	// keeps says how the form of a current value's parts would change, or nil. It is nil for a
	// placeholder.
	keeps(secret, public string, binary bool) error
	// pair reports whether there is a public part.
	pair() bool
}

// makerFor reads the options. The error has the cause InvalidConfiguration.
func makerFor(r *engine.Request) (maker, error) {
	kind, encoding := r.Option(kindOption), r.Option(encodingOption)
	switch kind {
	case "", "password":
		if encoding != "" {
			return nil, engine.Errorf(engine.InvalidConfiguration, "leave "+encodingOption+" out, or choose another "+kindOption, "a password has no encoding")
		}
		return password{}, nil
	case "bytes":
		return newBytes(r.Option(bytesOption), encoding, r.Current.IsBinary())
	}
	return newKeyPair(kind, encoding)
}

// place is where a value keeps its parts: in fields, or as a whole.
type place struct {
	fields []string
	pair   bool
}

// placeIn checks that the value has the place that the options name.
func placeIn(r *engine.Request, v engine.Value, m maker) (place, error) {
	const advice = "name the fields that change in the tag rotator:" + fieldOption
	p := place{r.SecretFields, m.pair()}
	switch {
	case len(p.fields) == 0 && v.IsObject():
		return p, engine.Errorf(engine.InvalidSecret, advice, "the value is a JSON object, and no field of it is named")
	case len(p.fields) == 0 && v.IsZero():
		return p, engine.Errorf(engine.InvalidSecret, advice, "there is no value")
	case len(p.fields) == 0:
		return p, nil
	case !v.IsObject():
		return p, engine.Errorf(engine.InvalidSecret, "remove the tag rotator:"+fieldOption+", or store a JSON object", "the value has no fields: %s", v.Fault())
	case p.pair && len(p.fields) > 2:
		return p, engine.Errorf(engine.InvalidSecret, advice+": the private key's, and the public key's if it is to be stored", "a key pair has %d fields", len(p.fields))
	}
	var faults []string
	for i, name := range p.fields {
		if v.JSON(name) == nil {
			faults = append(faults, name+" is missing")
		}
		if name == "engine" || slices.Contains(p.fields[:i], name) {
			faults = append(faults, name+" cannot be one of them")
		}
	}
	if faults != nil {
		return p, engine.Errorf(engine.InvalidSecret, advice, "the fields of the value do not suit: %s", strings.Join(faults, ", "))
	}
	return p, nil
}

// parts calls do with each secret of a value, its public part or "", and what they are called.
func (p place) parts(v engine.Value, do func(what, secret, public string) error) error {
	if len(p.fields) == 0 {
		return do("the value", string(v.Reveal()), "")
	}
	for i := 0; i < len(p.fields); i++ {
		name, public := p.fields[i], ""
		secret, _ := v.Text(name)
		if p.pair && i+1 < len(p.fields) {
			i++
			public, _ = v.Text(p.fields[i])
		}
		if err := do("the field "+name, secret, public); err != nil {
			return err
		}
	}
	return nil
}

// keeps refuses to change the form of a current value: those who read it expect that form. An
// option, which whoever may tag the secret can set, is not enough.
func (p place) keeps(v engine.Value, m maker) error {
	const advice = "set " + kindOption + ", " + encodingOption + " and " + bytesOption + " to the form of the current value; to change the form, first store a placeholder such as \"x\""
	for _, name := range p.fields {
		if raw := v.JSON(name); raw[0] != '"' && raw[0] != 'n' {
			return engine.Errorf(engine.InvalidSecret, advice, "the field %s is not text", name)
		}
	}
	return p.parts(v, func(what, secret, public string) error {
		if err := m.keeps(secret, public, v.IsBinary()); err != nil {
			return engine.Errorf(engine.InvalidSecret, advice, "the form would change: %s %w", what, err)
		}
		return nil
	})
}

// Next returns the current value with new secrets in it. Each field gets its own,
// but for the second one of a key pair.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	m, err := makerFor(r)
	if err != nil {
		return engine.Value{}, err
	}
	p, err := placeIn(r, r.Current, m)
	if err != nil {
		return engine.Value{}, err
	}
	if err := p.keeps(r.Current, m); err != nil {
		return engine.Value{}, err
	}
	next := r.Current
	if len(p.fields) == 0 {
		secret, _, err := m.make(r)
		if b, ok := m.(random); r.Current.IsBinary() || ok && b.encoding == "binary" {
			return engine.BinaryValue([]byte(secret)), err
		}
		return engine.StringValue(secret), err
	}
	if b, ok := m.(random); ok && b.encoding == "binary" {
		return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, "set "+encodingOption+" to base64, base64url or hex", "a field cannot hold bytes")
	}
	for i := 0; i < len(p.fields); i++ {
		secret, public, err := m.make(r)
		if err != nil {
			return engine.Value{}, err
		}
		next = next.With(p.fields[i], secret)
		if p.pair && i+1 < len(p.fields) {
			i++
			next = next.With(p.fields[i], public)
		}
	}
	return next, nil
}

// DryRun checks the new value as it will be read.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.Verify(ctx, r, r.Pending)
}

// Needs says that nothing is needed.
func (*Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Note = "none: there is no target"
	return nil
}

// Set has nothing to do: there is no target.
func (*Engine) Set(context.Context, *engine.Request) error { return nil }

// Verify checks that the value has the form: it can be read as its kind, and a key
// pair belongs together. The error has the cause InvalidSecret.
func (e *Engine) Verify(_ context.Context, r *engine.Request, v engine.Value) error {
	m, err := makerFor(r)
	if err != nil {
		return err
	}
	p, err := placeIn(r, v, m)
	if err != nil {
		return err
	}
	const advice = "compare the value with the options " + kindOption + " and " + encodingOption
	return p.parts(v, func(what, secret, public string) error {
		if p.pair && len(p.fields) == 2 && public == "" {
			return engine.Errorf(engine.InvalidSecret, advice, "the field %s is empty", p.fields[1])
		}
		if err := m.check(secret, public); err != nil {
			return engine.Errorf(engine.InvalidSecret, advice, "%s %w", what, err)
		}
		return nil
	})
}
