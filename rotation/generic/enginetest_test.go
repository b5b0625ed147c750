package generic_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/generic"
)

// harness has no target: opening a value checks its format with another program.
type harness struct {
	env    map[string]string
	first  string
	fields []string
	open   func(v engine.Value) error
}

// fielded is the engine with the fields that its options name, for the suite.
type fielded struct {
	*generic.Engine
	fields []string
}

func (e fielded) Kind() engine.Kind {
	k := e.Engine.Kind()
	k.SecretFields = e.fields
	return k
}

func TestEngineWithABarePassword(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Harness { return barePassword() })
}

func barePassword() *harness {
	return &harness{env: map[string]string{"ENGINE": "generic"}, first: "initial-Passw0rd",
		open: func(v engine.Value) error {
			if len(v.Reveal()) < 16 {
				return engine.LoginRefused
			}
			return nil
		}}
}

func TestEngineWithKeysInFields(t *testing.T) {
	first := engine.StringValue(`{"engine":"generic","owner":"ci"}`).With("sign", newKey(t)).With("encrypt", newKey(t))
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return &harness{
			env:    map[string]string{"ROTATOR_GENERIC_KIND": "ed25519", "ROTATOR_GENERIC_FIELD": "sign, encrypt"},
			first:  string(first.Reveal()),
			fields: []string{"sign", "encrypt"},
			open: func(v engine.Value) error {
				for _, field := range []string{"sign", "encrypt"} {
					if key, _ := v.Text(field); !readable(t, key) {
						return engine.LoginRefused
					}
				}
				return nil
			},
		}
	})
}

func (h *harness) Engine() engine.Engine { return fielded{generic.New(), h.fields} }

func (h *harness) Target() string { return "" }

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{Overlap: true, Env: h.env} }

func (h *harness) New(context.Context, string, int) (value, superuser engine.Value, err error) {
	return engine.StringValue(h.first), superuser, nil
}

func (h *harness) Open(_ context.Context, v engine.Value) error { return h.open(v) }

func (h *harness) Restore(context.Context, engine.Value) error { return errors.ErrUnsupported }

// readable reports whether OpenSSL can read a private key.
func readable(t testing.TB, key string) bool {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("openssl", "pkey", "-pubout")
	command.Stdin = strings.NewReader(key)
	return command.Run() == nil
}

// newKey generates a private key with OpenSSL.
func newKey(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("openssl", "genpkey", "-algorithm", "ed25519").Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	return string(out)
}
