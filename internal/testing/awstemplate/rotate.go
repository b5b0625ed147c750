package awstemplate

import (
	"maps"
	"net"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/sim/lambdasim"
)

// excluded is in the variable EXCLUDE_CHARACTERS.
const excluded = `/@"'\,;:`

// Function is the function's binary for one engine's test.
type Function struct {
	t      *testing.T
	env    map[string]string
	binary string
}

// New builds the binary, which runs with the variables in env. If env is nil, the machine runs in this process instead,
// for targets without a network address.
func New(t *testing.T, env map[string]string) *Function {
	t.Helper()
	f := &Function{t: t, env: env}
	if env != nil {
		f.binary = built.Function(t)
	}
	return f
}

// Rotate rotates a template's secret twice, for a user created by h, and checks that only its credential changes. names
// are pairs of a text in the names of the template's fields and what this secret has instead. It does not use h's
// variables: with the template's alone, the secret's format must say enough.
func (f *Function) Rotate(template string, h enginetest.Harness, names ...string) {
	f.t.Helper()
	f.t.Run(strings.Join(append([]string{template}, names...), " "), func(t *testing.T) {
		if Forms[template] == "" {
			t.Fatal("AWS has no such template")
		}
		f.rotate(t, template, h, strings.NewReplacer(names...))
	})
}

func (f *Function) rotate(t *testing.T, template string, h enginetest.Harness, names *strings.Replacer) {
	host, text, err := net.SplitHostPort(h.Target())
	port, _ := strconv.Atoi(text)
	if err != nil {
		host = "localhost" // the target has no network address
	}
	v, superuser, err := h.New(t.Context(), host, port)
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t, h.Engine())
	if !superuser.IsZero() {
		arn := w.Secret("superuser", secret(strings.Replace(template, "MultiUser", "SingleUser", 1), superuser))
		v = v.With("masterarn", arn).With("adminSecretArn", arn)
	}
	before := engine.StringValue(names.Replace(string(secret(template, v).Reveal())))
	arn := w.Secret("secret", before)
	if b, ok := h.(enginetest.Bound); ok {
		if err := b.Bind(t.Context(), arn, v); err != nil {
			t.Fatal(err)
		}
	}
	w.Env["EXCLUDE_CHARACTERS"], w.Env["PASSWORD_LENGTH"] = excluded, "24"
	maps.Copy(w.Env, f.env)
	rotate := w.Rotate
	if f.binary != "" {
		rotate = func(arn string) error { return w.RotateBy(f.process(t, w), arn) }
	}
	for range 2 { // which makes it the first user's again
		if err := rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	now := w.Get(arn, "AWSCURRENT")
	was, is := string(before.Reveal()), string(now.Reveal())
	field := "password"
	if before.IsObject() {
		for _, other := range []string{"awsSeamlessDomainPassword", "token"} {
			if v.JSON(other) != nil {
				field = other
			}
		}
		was, _ = before.Text(names.Replace(field))
		is, _ = now.Text(names.Replace(field))
		if !now.EqualBut(before, names.Replace(field), "tokenId") {
			t.Errorf("more than the %s has changed", field)
		}
		now = v.With(field, is)
	}
	if is == was || is == "" || field != "token" && (len(is) != 24 || strings.ContainsAny(is, excluded)) {
		t.Errorf("the %s is not a new one that follows the policy", field)
	}
	if err := h.Open(t.Context(), now); err != nil {
		t.Error(err)
	}
}

// process runs the binary with a world's variables.
func (f *Function) process(t *testing.T, w *world.World) *lambdasim.Function {
	env := []string{"SECRETS_MANAGER_ENDPOINT=" + w.URL}
	for name, value := range w.Env {
		env = append(env, name+"="+value)
	}
	p, err := lambdasim.New(f.binary, lambdasim.Options{Env: env, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
