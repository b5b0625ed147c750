package generic_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
	enginetest.Run(t, func(*testing.T) enginetest.Harness {
		return &harness{env: map[string]string{"ENGINE": "generic"}, first: "initial-Passw0rd",
			open: func(v engine.Value) error {
				if len(v.Reveal()) < 16 {
					return engine.LoginRefused
				}
				return nil
			}}
	})
}

func TestEngineWithAKeyPairInFields(t *testing.T) {
	private, public := keyPair(t)
	first := engine.StringValue(`{"engine":"generic","owner":"ci"}`).With("private_key", private).
		With("public_key", public)
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		return &harness{
			env: map[string]string{"ROTATOR_GENERIC_KIND": "ed25519",
				"ROTATOR_GENERIC_FIELD": "private_key, public_key"},
			first:  string(first.Reveal()),
			fields: []string{"private_key", "public_key"},
			open: func(v engine.Value) error {
				private, _ := v.Text("private_key")
				public, _ := v.Text("public_key")
				if got := publicOf(t, private); got == "" || got != strings.TrimSpace(public) {
					return engine.LoginRefused
				}
				return nil
			},
		}
	})
}

func (h *harness) Env() map[string]string { return h.env }

func (h *harness) Engine() engine.Engine { return fielded{generic.New(), h.fields} }

func (h *harness) Target() string { return "" }

func (h *harness) Overlap() bool { return true }

func (h *harness) New(context.Context, string, int) (value, superuser engine.Value, err error) {
	return engine.StringValue(h.first), superuser, nil
}

func (h *harness) Open(_ context.Context, v engine.Value) error { return h.open(v) }

func (h *harness) Restore(context.Context, engine.Value) error { return errors.ErrUnsupported }

// publicOf returns the public key that OpenSSL derives from a private key, or "" if it fails.
func publicOf(t testing.TB, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "pkey", "-pubout", "-in", path).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// keyPair generates a key pair with OpenSSL.
func keyPair(t testing.TB) (private, public string) {
	t.Helper()
	out, err := exec.Command("openssl", "genpkey", "-algorithm", "ed25519").Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	return string(out), publicOf(t, string(out))
}
