package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// begun returns a world with a rotation that has completed the first n steps.
func begun(t *testing.T, h Harness, n int) (w *world, token string) {
	t.Helper()
	w = newWorld(t, h)
	token = w.begin()
	for _, step := range steps[:n] {
		if err := w.step(t.Context(), step, token); err != nil {
			t.Fatal(err)
		}
	}
	return w, token
}

// opens fails the check unless the target accepts the version with a label or, if want is false, refuses it.
func (w *world) opens(label string, want bool) {
	w.t.Helper()
	if ok := w.open(w.labeled(label).value); ok != want {
		w.errorf("%s is accepted %v, want %v", label, ok, want)
	}
}

// TestEditWhileCreateSecretRuns: the operator changes the credential, at the target and in the
// secret, after createSecret has read the current value and before it stores the next, with a
// sealed password and with one too short for a seal.
func TestEditWhileCreateSecretRuns(t *testing.T) {
	for _, length := range []int{32, 16} {
		for _, way := range []string{"UpdateSecret", "labels"} {
			t.Run(fmt.Sprintf("%s/%d", way, length), func(t *testing.T) {
				h := &toyHarness{server: newToyServer(t)}
				w := newWorld(t, h)
				w.Env["PASSWORD_LENGTH"] = strconv.Itoa(length)
				token := w.begin()
				byHand := w.first.With("password", "changed-by-hand")
				w.wire.set(func(operation string, send sender) (*http.Response, error) {
					if operation == "PutSecretValue" {
						if err := h.Restore(context.Background(), byHand); err != nil {
							t.Fatal(err)
						}
						edit := w.replace
						if way == "UpdateSecret" {
							edit = w.update
						}
						edit(byHand)
					}
					return send()
				})
				var err error
				for _, step := range steps {
					err = w.step(t.Context(), step, token)
					w.wire.set(nil)
					if err != nil {
						break
					}
				}
				current := w.labeled("AWSCURRENT")
				if p, _ := current.value.Text("password"); p != "changed-by-hand" ||
					engine.CauseOf(err) != engine.SecretEdited {
					t.Errorf("the edit is kept %v: %v", p == "changed-by-hand", err)
				}
				if length == 32 {
					return // AWSPENDING stays; the error advises removing it
				}
				if err := w.rotate(); err != nil {
					t.Errorf("the next rotation: %v", err)
				}
			})
		}
	}
}

// atPromotion runs finishSecret and calls do between the change at the target and the promotion.
func (w *world) atPromotion(t *testing.T, token string, do func()) error {
	t.Helper()
	done := false
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if operation == "UpdateSecretVersionStage" && !done {
			done = true
			if ok := w.open(w.first); ok != w.continuous() {
				t.Errorf("at the promotion AWSCURRENT is accepted %v: nothing was changed", ok)
			}
			do()
		}
		return send()
	})
	err := w.step(t.Context(), rotation.FinishSecret, token)
	w.wire.set(nil)
	if !done {
		t.Errorf("finishSecret did not reach the promotion: %v", err)
	}
	return err
}

// TestRollbackDuringARotation: after any step, or in the gap of finishSecret, an operator restores
// the previous credential at the target and moves AWSCURRENT to it, as AWS documents.
func TestRollbackDuringARotation(t *testing.T) {
	for after, when := range []string{"after createSecret", "after setSecret", "after testSecret", "in the gap"} {
		h := &toyHarness{server: newToyServer(t)}
		w, _ := begun(t, h, 4) // now there is a previous version
		before := w.labeled("AWSCURRENT")
		w.first = before.value
		token := w.begin()
		rollBack := func() {
			previous := w.labeled("AWSPREVIOUS")
			if err := h.Restore(t.Context(), previous.value); err != nil {
				t.Fatal(err)
			}
			w.stage("AWSCURRENT", before.id, previous.id)
		}
		var err error
		for i, step := range steps[:3] {
			if err = w.step(t.Context(), step, token); err != nil {
				break
			}
			if i == after {
				rollBack()
			}
		}
		switch {
		case after == 3:
			err = w.atPromotion(t, token, rollBack)
		case err == nil:
			err = w.step(t.Context(), rotation.FinishSecret, token)
		}
		current := w.labeled("AWSCURRENT")
		if !w.open(current.value) {
			t.Errorf("rolled back %s: AWSCURRENT is refused; the rotation returned %v", when, err)
		}
		if current.id == token {
			t.Errorf("rolled back %s: the rollback was overwritten", when)
		}
	}
}

// TestLabelTakenDuringFinishSecret: `rotatorctl recover --yes` runs after finishSecret has read
// everything, and finishSecret dies after the change. The next step, whichever it is, finds that
// only the unlabeled version opens the target.
func TestLabelTakenDuringFinishSecret(t *testing.T) {
	for _, next := range steps {
		w, token := begun(t, &toyHarness{server: newToyServer(t)}, 3)
		ctx, kill := context.WithCancel(t.Context())
		n, there, free := 0, make(chan struct{}), make(chan struct{})
		hook := func(operation string, send sender) (*http.Response, error) {
			if operation == "UpdateSecretVersionStage" {
				kill()
				return nil, io.ErrUnexpectedEOF
			}
			resp, err := send()
			if n++; n == 3 { // describe, pending, current
				close(there)
				<-free
			}
			return resp, err
		}
		w.wire.set(hook)
		end := make(chan error, 1)
		go func() { end <- w.step(ctx, rotation.FinishSecret, token) }()
		<-there
		w.wire.set(nil)
		r, err := w.Rotator()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := operator.Recover(t.Context(), r, w.arn); err != nil {
			t.Errorf("recover: %q, %v", d.Action, err)
		}
		w.wire.set(hook)
		close(free)
		if err := <-end; err == nil {
			t.Error("finishSecret did not die")
		}
		w.wire.set(nil)
		kill()
		if err := w.notLockedOut(); err == nil {
			t.Error("a labeled version opens the target: the test does not show what it is for")
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

// TestAbandonedRotationStaysAbandoned: AWSCURRENT opens the target, so no step puts the label back.
func TestAbandonedRotationStaysAbandoned(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 1)
	w.stage("AWSPENDING", token, "")
	for _, step := range steps[1:] {
		if err := w.step(t.Context(), step, token); engine.CauseOf(err) != engine.VersionNotStaged {
			t.Errorf("%s: %v, want VersionNotStaged", step, err)
		}
	}
	if err := w.rotate(); err != nil {
		t.Error(err)
	}
}

// TestAbandonedWhileCreateSecretIsRepeated: the operator removes the label of a stored value while
// createSecret runs again. The error names that cause.
func TestAbandonedWhileCreateSecretIsRepeated(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 1)
	removed := false
	w.wire.on("PutSecretValue", func(send sender) (*http.Response, error) {
		if !removed {
			removed = true
			w.stage("AWSPENDING", token, "")
		}
		return send()
	})
	err := w.step(t.Context(), rotation.CreateSecret, token)
	WantCause(t, err, engine.VersionNotStaged, "not staged as AWSPENDING")
}

// TestRecoverEndsARotationWhoseValueWorks: if the target also accepts the old credential, as Active
// Directory does for an hour, recover still promotes the new one.
func TestRecoverEndsARotationWhoseValueWorks(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}}, 2)
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := operator.Recover(t.Context(), r, w.arn); err != nil || d.Version != token {
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

// TestLabelIsNotPutBackOverAnEdit: the operator abandons the rotation and writes a password to the secret before
// setting it at the target.
func TestLabelIsNotPutBackOverAnEdit(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, token := begun(t, h, 0)
	if err := w.gap(token); err != nil {
		t.Fatal(err)
	}
	byHand := w.first.With("password", "changed-by-hand")
	w.stage("AWSPENDING", token, "")
	w.update(byHand)
	for _, step := range steps[2:] {
		if err := w.step(t.Context(), step, token); engine.CauseOf(err) != engine.VersionNotStaged {
			t.Errorf("%s: %v, want VersionNotStaged", step, err)
		}
	}
	if err := h.Restore(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	if err := w.rotate(); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
}

// TestLabelIsNotPutBackOnAFinishedRotation: a late event does not move it, even if the target was restored from a
// backup of that time.
func TestLabelIsNotPutBackOnAFinishedRotation(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, old := begun(t, h, 4)
	ended := w.labeled("AWSCURRENT")
	for range 2 {
		if err := w.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Restore(t.Context(), ended.value); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if err := w.step(t.Context(), step, old); engine.CauseOf(err) != engine.VersionNotStaged {
			t.Errorf("%s: %v, want VersionNotStaged", step, err)
		}
	}
	if err := w.rotate(); err != nil {
		t.Error(err)
	}
}

// TestRecoverKeepsAnEdit: only the credential was edited, and the target accepts it in addition to the pending value.
func TestRecoverKeepsAnEdit(t *testing.T) {
	h := &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}}
	w, token := begun(t, h, 2)
	user, _ := w.first.Text("username")
	h.server.mu.Lock()
	h.server.users[user].passwords = append(h.server.users[user].passwords, "changed-by-hand")
	h.server.mu.Unlock()
	w.replace(w.first.With("password", "changed-by-hand"))
	if err := w.step(t.Context(), rotation.FinishSecret, token); engine.CauseOf(err) != engine.SecretEdited {
		t.Errorf("finishSecret: %v, want SecretEdited", err)
	}
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	d, err := operator.Recover(t.Context(), r, w.arn)
	current := w.labeled("AWSCURRENT")
	if password, _ := current.value.Text("password"); password != "changed-by-hand" || err != nil {
		t.Errorf("%q, %v: the edit was lost", d.Action, err)
	}
	if err := w.rotate(); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
}

// TestOldVersionThatCannotBeRead: a version whose key the secret no longer uses does not hide an
// older one that opens the target.
func TestOldVersionThatCannotBeRead(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, _ := begun(t, h, 4)
	for range 2 {
		if err := w.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	all := w.versions()
	denied := ""
	for _, v := range all {
		if len(v.labels) == 0 && !v.value.Equal(w.first) {
			denied = v.id
		}
	}
	if err := h.Restore(t.Context(), w.first); err != nil {
		t.Fatal(err)
	}
	w.wire.set(unreadable(denied, "AccessDeniedException"))
	if err := w.rotate(); err != nil || denied == "" {
		t.Error(err)
	}
}

// TestSuperuserThatIsRotatedInTheMiddle: during a step, the value read before is refused, and the new one is read.
func TestSuperuserThatIsRotatedInTheMiddle(t *testing.T) {
	h := newLent(t)
	w, token := begun(t, h, 0)
	arn, _ := w.first.Text("masterarn")
	done := false
	h.engine.verified = func() {
		if done {
			return
		}
		done = true
		h.server.mu.Lock()
		h.server.users["admin"].passwords = []string{"admin-new"}
		h.server.mu.Unlock()
		got, err := w.Client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
		if err == nil {
			_, err = w.Client.UpdateSecret(context.Background(), &secretsmanager.UpdateSecretInput{SecretId: &arn,
				SecretString: aws.String(strings.Replace(*got.SecretString, "admin-password", "admin-new", 1))})
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := w.step(t.Context(), rotation.CreateSecret, token); err != nil || !done {
		t.Error(err)
	}
}

// TestReadsThatAreBehind: a stale read of AWSCURRENT, at the beginning or after the pending value
// is stored, does not count as an edit.
func TestReadsThatAreBehind(t *testing.T) {
	for _, after := range []string{"DescribeSecret", "PutSecretValue"} {
		w := newWorld(t, &toyHarness{server: newToyServer(t)})
		w.Env["PASSWORD_LENGTH"] = "16" // no seal
		var behind []byte
		w.wire.set(func(operation string, send sender) (*http.Response, error) {
			resp, err := send()
			if err == nil && operation == "GetSecretValue" && behind == nil {
				behind, err = io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(bytes.NewReader(behind))
			}
			return resp, err
		})
		if err := w.rotate(); err != nil {
			t.Fatal(err)
		}
		token := w.begin()
		armed, spent := false, false
		w.wire.set(func(operation string, send sender) (*http.Response, error) {
			resp, err := send()
			if armed && !spent && err == nil && operation == "GetSecretValue" {
				spent = true
				resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(behind)), int64(len(behind))
				resp.Header.Del("X-Amz-Crc32")
			}
			armed = armed || operation == after
			return resp, err
		})
		for _, step := range steps {
			if err := w.step(t.Context(), step, token); err != nil {
				t.Fatalf("after %s: %s: %v", after, step, err)
			}
		}
		if err := w.ended(token); err != nil || !spent {
			t.Errorf("after %s: %v", after, err)
		}
	}
}

// TestLabelIsNotPutBackOverARollback: the operator abandons the rotation and moves AWSCURRENT to an older version
// before restoring its credential at the target.
func TestLabelIsNotPutBackOverARollback(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, _ := begun(t, h, 4)
	token := w.begin()
	if err := w.gap(token); err != nil {
		t.Fatal(err)
	}
	previous := w.labeled("AWSPREVIOUS")
	current := w.labeled("AWSCURRENT")
	w.stage("AWSPENDING", token, "")
	w.stage("AWSCURRENT", current.id, previous.id)
	for _, step := range steps {
		if err := w.step(t.Context(), step, token); engine.CauseOf(err) != engine.VersionNotStaged {
			t.Errorf("%s: %v, want VersionNotStaged", step, err)
		}
	}
	if err := h.Restore(t.Context(), previous.value); err != nil {
		t.Fatal(err)
	}
	if err := w.rotate(); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
}

// TestRecoverRevokesWhatItAbandons: the target has issued the pending credential, and an edit prevents its promotion.
func TestRecoverRevokesWhatItAbandons(t *testing.T) {
	h := &mintingHarness{toyHarness{server: newToyServer(t)}}
	w, _ := begun(t, h, 2)
	w.replace(w.first.With("note", "edited"))
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := operator.Recover(t.Context(), r, w.arn); err != nil ||
		!strings.Contains(d.Action, "removed AWSPENDING") {
		t.Fatalf("%q, %v", d.Action, err)
	}
	current := w.labeled("AWSCURRENT")
	if strays, err := h.Strays(t.Context(), []engine.Value{current.value}); err != nil || len(strays) > 0 {
		t.Errorf("the target still has %v, %v", strays, err)
	}
	if err := w.rotate(); err != nil {
		t.Error(err)
	}
}

// TestCheckSeesThatARotationWillFinish: createSecret has stored a value, which the target does not have yet.
func TestCheckSeesThatARotationWillFinish(t *testing.T) {
	for name, h := range map[string]Harness{
		"single user": &toyHarness{server: newToyServer(t)}, "superuser": newLent(t),
	} {
		w, token := begun(t, h, 1)
		r, err := w.Rotator()
		if err != nil {
			t.Fatal(err)
		}
		for f := range operator.Check(t.Context(), r, w.arn) {
			finishes := f.State == operator.OK && strings.Contains(f.Message, "version "+token+" can be set")
			if f.Check == "rotation" && !finishes {
				t.Errorf("%s: %+v", name, f)
			}
		}
		for _, step := range steps[1:] {
			if err := w.step(t.Context(), step, token); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestSuperuserByName: AWS's templates accept a name in masterarn, because they pass it to Secrets Manager.
func TestSuperuserByName(t *testing.T) {
	w := newWorld(t, newLent(t))
	arn, _ := w.first.Text("masterarn")
	d, err := w.Client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		t.Fatal(err)
	}
	w.store(w.first.With("masterarn", *d.Name))
	if err := w.rotate(); err != nil {
		t.Fatal(err)
	}
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	needs, err := operator.Needs(t.Context(), r, w.arn)
	names := func(p engine.Permission) bool { return slices.Equal(p.Resources, []string{arn}) }
	if err != nil || !slices.ContainsFunc(needs.Permissions, names) {
		t.Errorf("%+v, %v", needs.Permissions, err)
	}
}
