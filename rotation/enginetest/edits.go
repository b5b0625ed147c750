package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"example.com/rotator/rotation/engine"
)

// edits changes the secret, as an operator does, between any two steps and at the moment of the
// promotion, in every possible way. The edit is kept, or the rotation fails clearly.
func edits(t testing.TB, h Harness) error {
	ways := map[string]func(*world, engine.Value) error{
		"by PutSecretValue": func(w *world, v engine.Value) error { return w.put(v, uuid.NewString(), "AWSCURRENT") },
		"by UpdateSecret":   (*world).update,
		"by moving labels":  (*world).replace,
	}
	for way, do := range ways {
		for after := range steps {
			w, err := newWorld(t, h)
			if err != nil {
				return err
			}
			if !w.first.IsObject() || len(w.kind.SecretFields) == 0 {
				return nil // there is no other field to edit
			}
			edit := func() error { return do(w, w.first.With("note", "an operator's words")) }
			token, err := w.begin()
			if err != nil {
				return err
			}
			var failure error
			for i, step := range steps {
				if i == 3 && after == 3 {
					// The operator is faster than the promotion.
					w.wire.set(func(operation string, send sender) (*http.Response, error) {
						if operation == "UpdateSecretVersionStage" {
							if err := edit(); err != nil {
								return nil, err
							}
						}
						return send()
					})
				}
				failure = w.step(context.Background(), step, token)
				w.wire.set(nil)
				if failure != nil {
					break
				}
				if i == after {
					if err := edit(); err != nil {
						return err
					}
				}
			}
			where := fmt.Sprintf("an edit %s after %s", way, steps[after])
			if after == 3 {
				where = fmt.Sprintf("an edit %s in the middle of finishSecret", way)
			}
			current, err := w.labeled("AWSCURRENT")
			if err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			if err := w.honest(failure); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			ok, err := w.open(current.value)
			if m, is := h.(Remembering); is && m.Remembers() && after == 3 {
				// The target did not take the old credential back, and the error says so.
				if ok || failure == nil ||
					!strings.Contains(failure.Error(), "the target is changed: AWSPENDING opens it") {
					return fmt.Errorf("%s: AWSCURRENT is accepted %v, %v; the rotation returned %v", where, ok, err,
						failure)
				}
				ok, err = true, w.notLockedOut()
			}
			if err != nil || !ok {
				return fmt.Errorf("%s: locked out: AWSCURRENT is accepted %v, %v; the rotation returned %v", where, ok,
					err, failure)
			}
			if note, _ := current.value.Text("note"); note == "" {
				return fmt.Errorf("%s was lost", where)
			}
			if failure != nil && !errors.Is(failure, engine.SecretEdited) &&
				!errors.Is(failure, engine.VersionNotStaged) {
				return fmt.Errorf("%s: the rotation fails with %w", where, failure)
			}
			// Whatever the outcome, the next rotation succeeds.
			if p, err := w.labeled("AWSPENDING"); err == nil && p.id != current.id {
				if err := w.stage("AWSPENDING", p.id, ""); err != nil {
					return err
				}
			}
			if err := w.rotate(); err != nil {
				return fmt.Errorf("%s: the next rotation fails: %w", where, err)
			}
			if current, err = w.labeled("AWSCURRENT"); err != nil {
				return err
			}
			if ok, err := w.open(current.value); err != nil || !ok {
				return fmt.Errorf("%s: after the next rotation AWSCURRENT is accepted %v, %v", where, ok, err)
			}
			if note, _ := current.value.Text("note"); note == "" {
				return fmt.Errorf("%s was lost in the next rotation", where)
			}
		}
	}
	return nil
}
