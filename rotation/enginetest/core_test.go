package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	simulated "example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

// lent is a toy engine whose credentials the superuser changes.
type lent struct{ toyEngine }

func (e lent) Kind() engine.Kind {
	k := e.toyEngine.Kind()
	k.CloneSuffix, k.SuperuserField = "", "masterarn"
	return k
}

// lentHarness creates users for lent.
type lentHarness struct{ toyHarness }

func (h *lentHarness) Engine() engine.Engine { return lent{h.engine} }

func newLent(t *testing.T) *lentHarness {
	return &lentHarness{toyHarness{server: newToyServer(t), alternating: true}}
}

// victim creates a user whose password no secret's owner knows.
func (s *toyServer) victim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users["victim"] = &toyUser{passwords: []string{"only-the-victim-knows"}, right: true}
}

func (s *toyServer) untouched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(s.users["victim"].passwords, []string{"only-the-victim-knows"})
}

// TestSuperuserActsForNoUserOnItsName: someone who may write and rotate a secret must not be able to choose another
// user's password, either by filling the pending version or by naming the other user after createSecret.
func TestSuperuserActsForNoUserOnItsName(t *testing.T) {
	for _, name := range []string{"from the beginning", "after createSecret"} {
		t.Run(name, func(t *testing.T) {
			h := newLent(t)
			h.server.victim()
			w := newWorld(t, h)
			forged := w.first.With("username", "victim")
			current := func() {
				w.replace(forged.With("password", "a-guess"))
			}
			if name == "from the beginning" {
				current()
			}
			token := w.begin()
			w.put(forged.With("password", "chosen-by-the-forger"), token, "AWSPENDING")
			var err error
			for i, step := range steps {
				err = w.step(context.Background(), step, token)
				if err != nil && i > 0 {
					break // a forger may call setSecret whatever createSecret returns
				}
				if i == 0 && name != "from the beginning" {
					current()
				}
			}
			if err == nil || !h.server.untouched() {
				t.Errorf("the rotation ends with %v; the victim's password is untouched: %v", err, h.server.untouched())
			}
		})
	}
}

// TestEngineForSuperusersOnlyPasses: proving that the user belongs to the secret does not prevent
// retries after any step.
func TestEngineForSuperusersOnlyPasses(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	Run(t, func(t *testing.T) Harness { return newLent(t) })
}

// TestCredentialChangedByHandIsKept: if an operator changes the user's credential at the target and in the secret
// during a rotation, no promotion replaces it with one that no longer works.
func TestCredentialChangedByHandIsKept(t *testing.T) {
	for after := range steps {
		h := &toyHarness{server: newToyServer(t)}
		w, token := begun(t, h, min(after+1, 3))
		edit := func() {
			byHand := w.first.With("password", "changed-by-hand")
			if err := h.Restore(context.Background(), byHand); err != nil {
				t.Fatal(err)
			}
			w.replace(byHand)
		}
		var failure error
		if after == 3 {
			failure = w.atPromotion(t, token, edit)
		} else {
			edit()
		}
		for _, step := range steps[min(after+1, 3):] {
			if failure == nil {
				failure = w.step(context.Background(), step, token)
			}
		}
		if !w.open(w.labeled("AWSCURRENT").value) {
			t.Errorf("after %s: AWSCURRENT is refused; the rotation ends with %v", steps[after], failure)
		}
		if failure != nil && !errors.Is(failure, engine.SecretEdited) && !errors.Is(failure, engine.LoginRefused) {
			t.Errorf("after %s: the rotation fails with %v", steps[after], failure)
		}
	}
}

// quoting is a toy whose rehearsal fails with an error that quotes its value, as servers quote failed statements.
type quoting struct{ toyEngine }

func (e quoting) DryRun(_ context.Context, r *engine.Request) error {
	password, _ := r.Pending.Text("password")
	return engine.Errorf(engine.PolicyRejected, "", "syntax error near SET PASSWORD '%s'", password)
}

type quotingHarness struct {
	toyHarness
}

func (h *quotingHarness) Engine() engine.Engine { return quoting{h.engine} }

// TestErrorOfARehearsalShowsNoValue: the value must not be shown, even though it is not stored.
func TestErrorOfARehearsalShowsNoValue(t *testing.T) {
	w := newWorld(t, &quotingHarness{toyHarness{server: newToyServer(t)}})
	token := w.begin()
	err := w.step(context.Background(), rotation.CreateSecret, token)
	if !errors.Is(err, engine.PolicyRejected) || !strings.Contains(err.Error(), "'[redacted]'") ||
		!strings.Contains(w.log.String(), "'[redacted]'") {
		t.Error("the error of the rehearsal is not PolicyRejected with the value left out") // do not print the error
	}
}

// shortHarness configures passwords that are too short for a seal.
type shortHarness struct{ toyHarness }

func (h *shortHarness) Traits() Traits {
	return Traits{Env: map[string]string{"PASSWORD_LENGTH": "20"}}
}

// TestOvertakenStepsAreNoEdits: a step that continues after a retry has promoted the version finds
// its work done, whether or not the value has a seal.
func TestOvertakenStepsAreNoEdits(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	for _, alternating := range []bool{false, true} {
		h := &shortHarness{toyHarness{server: newToyServer(t), alternating: alternating}}
		t.Logf("alternating %v", alternating)
		overtaken(t, h, 1)
	}
}

// TestTagsDoNotEndTheOverlap: a tag changes the passwords' length, and thereby the place of the seal. The target keeps
// both passwords, so setSecret makes the change.
func TestTagsDoNotEndTheOverlap(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t), engine: toyEngine{ask: true, overlap: true}})
	w.Tag(w.arn, "password-length", "40")
	token := w.begin()
	for _, step := range steps[:2] {
		if err := w.step(t.Context(), step, token); err != nil {
			t.Fatal(err)
		}
	}
	for _, label := range []string{"AWSCURRENT", "AWSPENDING"} {
		if !w.open(w.labeled(label).value) {
			t.Errorf("after setSecret, the target refuses %s", label)
		}
	}
	for _, step := range steps[2:] {
		if err := w.step(t.Context(), step, token); err != nil {
			t.Error(err)
		}
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}

// TestTagger tags the secret like someone who can neither read nor write it. No password becomes weaker, and the
// function's own settings stay in force.
func TestTagger(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	w.Tag(w.arn, "recover-by-superuser", "true", "adopt-pairs", "true", "allow-plaintext-fallback", "true",
		"rotation-role-arn", "arn:aws:iam::123456789012:role/x", "engine", "generic")
	token := w.begin()
	w.must(errors.Join(w.all(t.Context(), token), w.ended(token)), "tags that must have no effect")
	w.Tag(w.arn, "password-length", "8", "require-each-included-type", "false")
	failure := w.rotate()
	if engine.CauseOf(failure) != engine.InvalidConfiguration || failure == nil {
		t.Errorf("a tag for a password of 8 characters: the rotation returned %v, want InvalidConfiguration", failure)
	}
}

// TestRotateImmediatelyFalse: Secrets Manager then runs only testSecret, which leaves no version and reports a wrong
// credential.
func TestRotateImmediatelyFalse(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	var failure error
	try := func() {
		_, err := w.Client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
			SecretId: &w.arn, RotationLambdaARN: aws.String(simulated.Function), RotateImmediately: aws.Bool(false),
			ClientRequestToken: aws.String(uuid.NewString()),
		})
		w.must(err, "RotateSecret")
		_ = w.Sim.WaitRotation(context.Background(), w.arn)
	}
	w.Sim.RegisterFunction(simulated.Function, sim.InvokerFunc(
		func(ctx context.Context, payload []byte) (_ []byte, functionError string, _ error) {
			var e rotation.Event
			if err := json.Unmarshal(payload, &e); err != nil {
				return nil, "", err
			}
			if failure = w.step(ctx, rotation.TestSecret, e.ClientRequestToken); failure != nil {
				functionError = "Unhandled"
			}
			return []byte("null"), functionError, nil
		}))
	try()
	w.must(failure, "testSecret of a secret that can be rotated")
	if all := w.versions(); len(all) != 1 {
		t.Errorf("the test left %d versions", len(all))
	}
	w.put(w.first.With("password", "not-the-password-1A!"), uuid.NewString(), "AWSCURRENT")
	if try(); failure == nil {
		t.Error("testSecret of a wrong credential succeeds")
	}
}
