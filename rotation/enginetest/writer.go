package enginetest

import (
	"testing"

	"example.com/rotator/rotation/engine"
)

// forgery is what someone who may write the secret, but not read it, writes to it.
type forgery struct {
	name    string
	steps   int  // how many steps run before the forgery
	current bool // AWSCURRENT is also written, and the pending value has its seal
}

var forgeries = []forgery{
	{"a pending value before createSecret", 0, false},
	{"AWSCURRENT and a pending value with its seal, before createSecret", 0, true},
	{"AWSCURRENT and a pending value with its seal, after createSecret", 1, true},
}

// writer writes values of its choice to the secret. The target must never accept them, and must still accept the
// secret's first credential.
func writer(t testing.TB, h Harness) {
	for _, f := range forgeries {
		w := newWorld(t, h)
		_, minted := h.Engine().(engine.Minter)
		if minted || w.kind.NoTarget || !w.kind.Passwords.Seals() || len(w.kind.SecretFields) != 1 {
			return // values of this engine have no seal
		}
		w.at("%s", f.name)
		w.forged(f)
	}
}

func (w *world) forged(f forgery) {
	token := w.begin()
	for _, step := range steps[:f.steps] {
		w.must(w.step(w.t.Context(), step, token), "%s", step)
	}
	field := w.kind.SecretFields[0]
	key := "a guess"
	var chosen []engine.Value
	if f.current {
		key = "Chosen-by-the-writer-1"
		chosen = append(chosen, w.first.With(field, key))
		w.update(chosen[0])
	}
	current := w.labeled("AWSCURRENT")
	pending := current.value.With(field, w.kind.Passwords.New(current.id, key))
	chosen = append(chosen, pending)
	if err := w.TryPut(w.arn, pending, token, "AWSPENDING"); f.steps == 0 {
		w.must(err, "store the pending value")
	}
	for _, step := range steps {
		_ = w.step(w.t.Context(), step, token)
	}
	w.unharmed(chosen...)
}

// unharmed checks that the target accepts the secret's first credential and none that a forger chose.
func (w *world) unharmed(chosen ...engine.Value) {
	w.t.Helper()
	for _, v := range chosen {
		if w.open(v) {
			w.errorf("the target accepts what the forger chose")
		}
	}
	if !w.open(w.first) {
		w.errorf("the target no longer accepts the first credential")
	}
}
