package enginetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// finish runs finishSecret with a time limit and returns its observation.
func (w *world) finish(t *testing.T, token string, within time.Duration) (seen rotation.Observation, err error) {
	t.Helper()
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{w.h.Engine()},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return w.API, nil },
		Getenv:  func(name string) string { return w.Env[name] },
		Log:     slog.New(slog.NewJSONHandler(w, nil)), Observe: func(o rotation.Observation) { seen = o },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err = r.Handle(ctx, rotation.Event{Step: rotation.FinishSecret, SecretID: w.arn, ClientRequestToken: token})
	return seen, err
}

// ends fails the test unless the error has the cause and names the state of the target.
func ends(t *testing.T, err error, cause engine.Cause, state string) {
	t.Helper()
	if engine.CauseOf(err) != cause || err == nil || !strings.Contains(err.Error(), "; "+state) {
		t.Errorf("finishSecret: %v, want %s and %q", err, cause, state)
	}
}

// TestPromotionThatIsDeniedRestoresTheTarget: once the promotion is allowed, the rotation finishes.
func TestPromotionThatIsDeniedRestoresTheTarget(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 3)
	w.wire.on("UpdateSecretVersionStage", denied)
	seen, err := w.finish(t, token, 30*time.Second)
	w.wire.set(nil)
	ends(t, err, engine.SecretsManagerFailed, "the target is restored")
	if seen.CurrentRefused || seen.Rotated || seen.Gap != 0 {
		t.Errorf("observed %+v", seen)
	}
	w.opens("AWSCURRENT", true)
	w.opens("AWSPENDING", false)
	seen, err = w.finish(t, token, 30*time.Second)
	if err != nil || seen.Gap == 0 || seen.Gap > seen.Window || !seen.Rotated {
		t.Errorf("observed %+v, %v", seen, err)
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}

// TestRetryThatIsDeniedRestoresTheTarget: an attempt that died after the change is like one that goes on.
func TestRetryThatIsDeniedRestoresTheTarget(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 0)
	w.must(w.gap(token), "a death in the gap")
	w.wire.on("UpdateSecretVersionStage", denied)
	_, err := w.finish(t, token, 30*time.Second)
	w.wire.set(nil)
	ends(t, err, engine.SecretsManagerFailed, "the target is restored")
	w.opens("AWSCURRENT", true)
	if _, err = w.finish(t, token, 30*time.Second); err != nil {
		t.Error(err)
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}

// TestPromotionThatIsUnknownRollsForward: restoring the target would lock clients out if the label moves after all.
func TestPromotionThatIsUnknownRollsForward(t *testing.T) {
	for name, answer := range map[string]func(func() (*http.Response, error)) (*http.Response, error){
		"no answer": func(func() (*http.Response, error)) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"an error of the service": func(func() (*http.Response, error)) (*http.Response, error) {
			resp := failure("InternalServiceError")
			resp.StatusCode = 500
			return resp, nil
		},
	} {
		w, token := begun(t, &toyHarness{server: newToyServer(t)}, 3)
		w.wire.on("UpdateSecretVersionStage", answer)
		seen, err := w.finish(t, token, 30*time.Second)
		w.wire.set(nil)
		ends(t, err, engine.SecretsManagerFailed, "the target is changed: AWSPENDING opens it")
		if !seen.CurrentRefused {
			t.Errorf("%s: the observation does not show that clients are refused", name)
		}
		w.opens("AWSPENDING", true)
		if seen, err = w.finish(t, token, 30*time.Second); err != nil || seen.CurrentRefused || !seen.Rotated {
			t.Errorf("%s: the retry: %+v, %v", name, seen, err)
		}
		if err := w.ended(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplicaThatLags: a replica refuses the new value for a while. finishSecret waits out a short lag and restores the
// target after a long one.
func TestReplicaThatLags(t *testing.T) {
	for refusals, rotated := range map[int]bool{1: true, 3: true, 4: false} {
		h := &toyHarness{server: newToyServer(t)}
		w, token := begun(t, h, 3)
		h.server.lag = refusals
		_, err := w.finish(t, token, 16*time.Second)
		if rotated != (err == nil) {
			t.Errorf("%d refusals: %v", refusals, err)
		}
		if !rotated {
			ends(t, err, engine.LoginRefused, "the target is restored")
		}
		w.opens("AWSCURRENT", true)
		if err := w.all(t.Context(), token); err != nil {
			t.Error(err)
		}
		if err := w.ended(token); err != nil {
			t.Errorf("%d refusals: %v", refusals, err)
		}
	}
}

// TestEditInTheGap: an operator edits another field of the secret, the credential, or the host at the moment of the
// promotion. The target does not get an edited password: a writer who may not read the secret could have chosen it.
func TestEditInTheGap(t *testing.T) {
	other := newToyServer(t)
	port := testserver.Proxy(t, other.listen.Addr().String()).Port
	for what, edit := range map[string]func(v engine.Value) engine.Value{
		"a field":      func(v engine.Value) engine.Value { return v.With("note", "edited") },
		"the password": func(v engine.Value) engine.Value { return v.With("password", "set-by-hand") },
		"the port": func(v engine.Value) engine.Value {
			user, _ := v.Text("username")
			other.mu.Lock()
			other.users[user] = &toyUser{passwords: []string{"first-password"}, right: true}
			other.mu.Unlock()
			return v.WithJSON("port", []byte(strconv.Itoa(port)))
		},
	} {
		for way, store := range map[string]func(*world, engine.Value){
			"by PutSecretValue": func(w *world, v engine.Value) { w.put(v, uuid.NewString(), "AWSCURRENT") },
			"by UpdateSecret":   (*world).update,
			"by moving labels":  (*world).replace,
		} {
			h := &toyHarness{server: newToyServer(t)}
			w, token := begun(t, h, 3)
			edited := edit(w.first)
			err := w.atPromotion(t, token, func() { store(w, edited) })
			state, opens := "the target is restored", "AWSCURRENT"
			if what == "the password" {
				state, opens = "the target is changed: AWSPENDING opens it", "AWSPENDING"
			}
			ends(t, err, engine.SecretEdited, state)
			current := w.labeled("AWSCURRENT")
			if !current.value.Equal(edited) {
				t.Errorf("%s %s: the edit was lost", what, way)
			}
			r, err := w.Rotator()
			if err != nil {
				t.Fatal(err)
			}
			if d, err := operator.Diagnose(t.Context(), r, w.arn); err != nil || d.Opens != opens {
				t.Errorf("%s %s: %s opens the target, %v", what, way, d.Opens, err)
			}
			if opens == "AWSCURRENT" {
				continue
			}
			w.opens("AWSPENDING", true)
			pending := w.labeled("AWSPENDING")
			password, _ := pending.value.Text("password")
			w.stage("AWSPENDING", token, "")
			w.update(edited.With("password", password))
			if err := w.rotate(); err != nil {
				t.Errorf("%s %s: after the advice: %v", what, way, err)
			}
		}
	}
}

// TestPasswordHistory: the target does not let the user set the old password again. A superuser sets it instead;
// without one, a labeled version opens the target, and the advice works.
func TestPasswordHistory(t *testing.T) {
	for _, superuser := range []bool{true, false} {
		h := &toyHarness{server: newToyServer(t), alternating: superuser}
		h.server.remembers = true
		w := newWorld(t, h)
		w.Env["STRATEGY"] = "single"
		token := w.begin()
		for _, step := range steps[:3] {
			if err := w.step(t.Context(), step, token); err != nil {
				t.Fatal(err)
			}
		}
		edited := w.first.With("note", "edited")
		err := w.atPromotion(t, token, func() { w.update(edited) })
		if superuser {
			ends(t, err, engine.SecretEdited, "the target is restored")
			w.opens("AWSCURRENT", true)
			continue
		}
		ends(t, err, engine.SecretEdited, "the target is changed: AWSPENDING opens it")
		w.opens("AWSPENDING", true)
		// Follow the advice literally.
		pending := w.labeled("AWSPENDING")
		if !strings.Contains(err.Error(), "copy the credential of version "+pending.id+" to AWSCURRENT") {
			t.Errorf("advice: %v", err)
		}
		password, _ := pending.value.Text("password")
		w.update(edited.With("password", password))
		if p, found := w.find("AWSPENDING"); found && p.id == token {
			w.stage("AWSPENDING", token, "")
		}
		w.opens("AWSCURRENT", true)
		if err := w.rotate(); err != nil {
			t.Errorf("the next rotation: %v", err)
		}
	}
}

// TestFinishSecretNeedsTime: with less than 8 seconds left, it changes nothing.
func TestFinishSecretNeedsTime(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 3)
	_, err := w.finish(t, token, 7*time.Second)
	ends(t, err, engine.OutOfTime, "this attempt did not change the target")
	w.opens("AWSCURRENT", true)
	w.opens("AWSPENDING", false)
}

// TestChangeWhoseAnswerIsLost: the login decides.
func TestChangeWhoseAnswerIsLost(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, token := begun(t, h, 3)
	var answers atomic.Int32
	w.proxy.Filter(func(c testserver.Chunk) bool { return !c.FromServer || answers.Add(1) != 2 /* LOGIN, SET */ })
	seen, err := w.finish(t, token, 30*time.Second)
	w.proxy.Filter(nil)
	if err != nil || !seen.Rotated || answers.Load() < 3 {
		t.Errorf("observed %+v, %v after %d answers", seen, err, answers.Load())
	}
	if err := w.ended(token); err != nil {
		t.Error(err)
	}
}

// TestChangeThatIsRejected leaves the target unchanged, and the error says so.
func TestChangeThatIsRejected(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, token := begun(t, h, 3)
	pending := w.labeled("AWSPENDING")
	user, _ := pending.value.Text("username")
	password, _ := pending.value.Text("password")
	h.server.remembers = true
	h.server.users[user].old = []string{password}
	_, err := w.finish(t, token, 30*time.Second)
	ends(t, err, engine.PolicyRejected, "the target is unchanged: AWSCURRENT opens it")
	if !errors.Is(err, engine.PolicyRejected) || !strings.Contains(err.Error(), "rotatorctl recover --yes") {
		t.Errorf("advice: %v", err)
	}
	w.opens("AWSCURRENT", true)
}

// TestVersionSkew: another program's finishSecret, which only moves labels, runs after this program's setSecret. check
// and recover report it, and recover resolves it.
func TestVersionSkew(t *testing.T) {
	w, token := begun(t, &toyHarness{server: newToyServer(t)}, 3)
	before := w.labeled("AWSCURRENT")
	w.stage("AWSCURRENT", before.id, token)
	w.opens("AWSCURRENT", false)
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for f := range operator.Check(t.Context(), r, w.arn) {
		told = told || f.Check == "clients" && strings.Contains(f.Message, "refuses AWSCURRENT but accepts AWSPREVIOUS")
	}
	if !told {
		t.Errorf("check: %+v", slices.Collect(operator.Check(t.Context(), r, w.arn)))
	}
	d, err := operator.Recover(t.Context(), r, w.arn)
	if err != nil || !d.CurrentRefused || d.Opens != "AWSPREVIOUS" {
		t.Errorf("recover: %+v, %v", d, err)
	}
	w.opens("AWSCURRENT", true)
}

// TestRefusedLoginsOfTestSecret: there are only two, because targets lock accounts after a few.
func TestRefusedLoginsOfTestSecret(t *testing.T) {
	h := &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}}
	w, token := begun(t, h, 2)
	h.server.lag = 100
	logins := 0
	h.engine.verified = func() { logins++ }
	if err := w.step(t.Context(), rotation.TestSecret, token); engine.CauseOf(err) != engine.LoginRefused {
		t.Errorf("testSecret: %v, want LoginRefused", err)
	}
	if logins != 2 {
		t.Errorf("%d logins were refused, want 2", logins)
	}
}
