package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

// edits changes the secret like an operator, in every possible way, between any two steps and at the moment of the
// promotion. The edit must be kept, and a rotation that fails must say why.
func edits(t testing.TB, h Harness) {
	for way, do := range map[string]func(*world, engine.Value){
		"by PutSecretValue": func(w *world, v engine.Value) { w.put(v, "", "AWSCURRENT") },
		"by UpdateSecret":   (*world).update,
		"by moving labels":  (*world).replace,
	} {
		for after := range steps {
			w := newWorld(t, h)
			if !w.first.IsObject() || len(w.kind.SecretFields) == 0 {
				return // there is no other field to edit
			}
			when := fmt.Sprintf("after %s", steps[after])
			if after == 3 {
				when = "in the middle of finishSecret"
			}
			w.at("an edit %s %s", way, when)
			w.edited(after, func() { do(w, w.first.With("note", "an operator's words")) })
		}
	}
}

// edited rotates and calls edit after a step, or before the promotion if that is the last step.
func (w *world) edited(after int, edit func()) {
	token := w.begin()
	var failure error
	for i, step := range steps {
		if i == 3 && after == 3 {
			// The operator's edit arrives before the promotion.
			w.wire.on("UpdateSecretVersionStage", func(send sender) (*http.Response, error) {
				edit()
				return send()
			})
		}
		failure = w.step(context.Background(), step, token)
		w.wire.set(nil)
		if failure != nil {
			break
		}
		if i == after {
			edit()
		}
	}
	current := w.labeled("AWSCURRENT")
	w.must(w.honest(failure), "the error")
	ok := w.open(current.value)
	if w.h.Traits().Remembers && after == 3 {
		// The target did not take the old credential back, and the error says so.
		if ok || failure == nil ||
			!strings.Contains(failure.Error(), "the target is changed: AWSPENDING opens it") {
			w.errorf("AWSCURRENT is accepted %v; the rotation returned %v", ok, failure)
		}
		w.must(w.notLockedOut(), "the target keeps the new credential")
	} else if !ok {
		w.errorf("locked out: AWSCURRENT is refused; the rotation returned %v", failure)
	}
	if note, _ := current.value.Text("note"); note == "" {
		w.errorf("the edit was lost")
	}
	if failure != nil && !errors.Is(failure, engine.SecretEdited) && !errors.Is(failure, engine.VersionNotStaged) {
		w.errorf("the rotation fails with %v", failure)
	}
	// Whatever the outcome, the next rotation succeeds.
	if p, found := w.find("AWSPENDING"); found && p.id != current.id {
		w.stage("AWSPENDING", p.id, "")
	}
	w.must(w.rotate(), "the next rotation")
	current = w.labeled("AWSCURRENT")
	if note, _ := current.value.Text("note"); note == "" || !w.open(current.value) {
		w.errorf("the next rotation lost the edit, or AWSCURRENT is refused")
	}
}
