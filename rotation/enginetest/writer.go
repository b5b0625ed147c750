package enginetest

import (
	"errors"
	"fmt"
	"testing"

	"example.com/rotator/rotation/engine"
)

// forgery is what somebody who may write the secret, but not read it, writes to it.
type forgery struct {
	name    string
	steps   int  // run before it
	current bool // AWSCURRENT is also written, and the pending value has its seal
}

var forgeries = []forgery{
	{"a pending value before createSecret", 0, false},
	{"AWSCURRENT and a pending value with its seal, before createSecret", 0, true},
	{"AWSCURRENT and a pending value with its seal, after createSecret", 1, true},
}

// writer writes values of its choice to the secret. The target never accepts them, and still
// accepts its own credential.
func writer(t testing.TB, h Harness) error {
	var errs []error
	for _, f := range forgeries {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		_, minted := h.Engine().(engine.Minter)
		if minted || w.kind.NoTarget || !w.kind.Passwords.Seals() || len(w.kind.SecretFields) != 1 {
			return nil // values of this engine have no seal
		}
		if err := w.forged(f); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

func (w *world) forged(f forgery) error {
	token, err := w.begin()
	if err != nil {
		return err
	}
	for _, step := range steps[:f.steps] {
		if err := w.step(w.t.Context(), step, token); err != nil {
			return err
		}
	}
	field := w.kind.SecretFields[0]
	current, err := w.labeled("AWSCURRENT")
	if err != nil {
		return err
	}
	chosen := []engine.Value{}
	if f.current {
		forged := current.value.With(field, "Chosen-by-the-writer-1")
		chosen = append(chosen, forged)
		if err := w.update(forged); err != nil {
			return err
		}
		if current, err = w.labeled("AWSCURRENT"); err != nil {
			return err
		}
	}
	key, _ := current.value.Text(field)
	if !f.current {
		key = "a guess"
	}
	pending := current.value.With(field, w.kind.Passwords.New(current.id, key))
	chosen = append(chosen, pending)
	if err := w.put(pending, token, "AWSPENDING"); err != nil && f.steps == 0 {
		return err
	}
	for _, step := range steps {
		_ = w.step(w.t.Context(), step, token)
	}
	for _, v := range chosen {
		if ok, err := w.open(v); err != nil || ok {
			return fmt.Errorf("the target accepts what the writer chose: %v, %w", ok, err)
		}
	}
	if ok, err := w.open(w.first); err != nil || !ok {
		return fmt.Errorf("the target no longer accepts the first credential: %v, %w", ok, err)
	}
	return nil
}
