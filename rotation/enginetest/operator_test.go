package enginetest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"example.com/rotator/rotation"
)

// TestEditWhileCreateSecretRuns: the operator changes the credential, at the target and
// in the secret, after createSecret has read the current value and before it stores the
// next; with a password that has a seal, and with one that is too short for it.
func TestEditWhileCreateSecretRuns(t *testing.T) {
	for _, length := range []int{32, 16} {
		for _, way := range []string{"UpdateSecret", "labels"} {
			t.Run(fmt.Sprintf("%s/%d", way, length), func(t *testing.T) {
				h := &toyHarness{server: newToyServer(t)}
				w, err := newWorld(t, h)
				if err != nil {
					t.Fatal(err)
				}
				w.env["PASSWORD_LENGTH"] = strconv.Itoa(length)
				token, err := w.begin()
				if err != nil {
					t.Fatal(err)
				}
				byHand := w.first.With("password", "changed-by-hand")
				w.wire.set(func(operation string, send func() (*http.Response, error)) (*http.Response, error) {
					if operation == "PutSecretValue" {
						if err := h.Restore(context.Background(), byHand); err != nil {
							t.Fatal(err)
						}
						edit := w.replace
						if way == "UpdateSecret" {
							edit = w.update
						}
						if err := edit(byHand); err != nil {
							t.Fatal(err)
						}
					}
					return send()
				})
				for _, step := range steps {
					err = w.step(t.Context(), step, token)
					w.wire.set(nil)
					if err != nil {
						break
					}
				}
				current, _ := w.labelled("AWSCURRENT")
				if p, _ := current.value.Text("password"); p != "changed-by-hand" || rotation.CauseOf(err) != rotation.SecretEdited {
					t.Errorf("the edit is kept %v: %v", p == "changed-by-hand", err)
				}
				if err := w.rotate(); err != nil && length == 16 {
					t.Errorf("the rotation after it: %v", err)
				}
			})
		}
	}
}

// TestRollbackDuringARotation: the operator rolls back after any step: he gives
// the target the previous credential and moves AWSCURRENT to it, as AWS says to.
func TestRollbackDuringARotation(t *testing.T) {
	for after := range steps[:3] {
		h := &toyHarness{server: newToyServer(t)}
		w, err := newWorld(t, h)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.rotate(); err != nil { // so that there is a previous one
			t.Fatal(err)
		}
		token, err := w.begin()
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range steps {
			err = w.step(t.Context(), step, token)
			if err != nil {
				break
			}
			if i == after {
				previous, _ := w.labelled("AWSPREVIOUS")
				current, _ := w.labelled("AWSCURRENT")
				if err := h.Restore(t.Context(), previous.value); err != nil {
					t.Fatal(err)
				}
				if err := w.stage("AWSCURRENT", current.id, previous.id); err != nil {
					t.Fatal(err)
				}
			}
		}
		current, _ := w.labelled("AWSCURRENT")
		if ok, err := w.open(current.value); !ok {
			t.Errorf("rolled back after %s: AWSCURRENT is accepted: %v, %v", steps[after], ok, err)
		}
		if current.id == token {
			t.Errorf("rolled back after %s: the roll-back was overwritten", steps[after])
		}
	}
}

// TestLabelTakenBesideSetSecret: setSecret has read all that it reads when an operator's
// `rotatorctl recover --yes` comes and goes. The next step finds that only the version
// which has lost its label opens the target; where setSecret's answer is lost, that is
// its own repetition.
func TestLabelTakenBesideSetSecret(t *testing.T) {
	for _, next := range []rotation.Step{rotation.SetSecret, rotation.TestSecret} {
		w, err := newWorld(t, &toyHarness{server: newToyServer(t)})
		if err != nil {
			t.Fatal(err)
		}
		token, err := w.begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.step(t.Context(), rotation.CreateSecret, token); err != nil {
			t.Fatal(err)
		}
		n, there, free := 0, make(chan struct{}), make(chan struct{})
		w.wire.set(func(_ string, send func() (*http.Response, error)) (*http.Response, error) {
			resp, err := send()
			if n++; n == 3 { // describe, pending, current
				close(there)
				<-free
			}
			return resp, err
		})
		end := make(chan error, 1)
		go func() { end <- w.step(context.Background(), rotation.SetSecret, token) }()
		<-there
		w.wire.set(nil)
		r, err := w.rotator()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := r.Recover(t.Context(), w.arn); err != nil {
			t.Errorf("recover: %q, %v", d.Action, err)
		}
		close(free)
		if err := <-end; err != nil {
			t.Error(err)
		}
		if err := w.step(t.Context(), next, token); err != nil {
			t.Errorf("%s: %v", next, err)
		}
		if err := w.notLockedOut(); err != nil {
			t.Error(err)
		}
		for _, step := range steps {
			if err := w.step(t.Context(), step, token); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		if err := w.ended(token); err != nil {
			t.Error(err)
		}
	}
}

// TestRotationThatWasGivenUpStaysSo, where AWSCURRENT opens the target.
func TestRotationThatWasGivenUpStaysSo(t *testing.T) {
	w, err := newWorld(t, &toyHarness{server: newToyServer(t)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.step(t.Context(), rotation.CreateSecret, token); err != nil {
		t.Fatal(err)
	}
	if err := w.stage("AWSPENDING", token, ""); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps[1:] {
		if err := w.step(t.Context(), step, token); rotation.CauseOf(err) != rotation.VersionNotStaged {
			t.Errorf("%s: %v, want VersionNotStaged", step, err)
		}
	}
	if err := w.rotate(); err != nil {
		t.Error(err)
	}
}

// TestRecoverEndsARotationWhoseValueWorks: where the target accepts the old credential
// beside the new one, as Active Directory does for an hour, that it does is no reason to
// give the new one up.
func TestRecoverEndsARotationWhoseValueWorks(t *testing.T) {
	w, err := newWorld(t, &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps[:2] {
		if err := w.step(t.Context(), step, token); err != nil {
			t.Fatal(err)
		}
	}
	r, err := w.rotator()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := r.Recover(t.Context(), w.arn); err != nil || d.Version != token {
		t.Errorf("%q, %v", d.Action, err)
	}
	for _, step := range steps {
		if err := w.step(t.Context(), step, token); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}
