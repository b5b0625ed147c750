package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// TestMalformedTagFailsTheFirstStep: createSecret and check report a malformed rotator:strategy tag,
// before the target is changed.
func TestMalformedTagFailsTheFirstStep(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	w.Tag(w.arn, "strategy", "singel")
	r, err := w.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	failed := false
	for f := range operator.Check(t.Context(), r, w.arn) {
		failed = failed || f.State == operator.Failed
	}
	if !failed {
		t.Error("check reports no failure")
	}
	token := w.begin()
	if err := w.step(t.Context(), rotation.CreateSecret, token); engine.CauseOf(err) != engine.InvalidConfiguration {
		t.Errorf("createSecret: %v, want InvalidConfiguration", err)
	}
}

// TestStrategyTagCountsInTestSecret: every step follows the tag.
func TestStrategyTagCountsInTestSecret(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	w.Env["STRATEGY"] = "alternating"
	w.Tag(w.arn, "strategy", "single")
	token := w.begin()
	for _, s := range steps {
		err := w.step(t.Context(), s, token)
		current := w.labeled("AWSCURRENT")
		ok := w.open(current.value)
		t.Logf("%s: AWSCURRENT opens %v; %v", s, ok, err)
		if err != nil {
			t.Errorf("%s: %v (AWSCURRENT opens the target: %v)", s, err, ok)
			break
		}
	}
}

func TestUndecryptablePreviousDoesNotHideOlderVersion(t *testing.T) {
	h := &toyHarness{server: newToyServer(t)}
	w, _ := begun(t, h, 4)
	if err := w.rotate(); err != nil {
		t.Fatal(err)
	}
	previous := w.labeled("AWSPREVIOUS")
	if err := h.Restore(t.Context(), w.first); err != nil { // a backup from the time of the first version
		t.Fatal(err)
	}
	w.wire.set(unreadable(previous.id, "DecryptionFailure"))
	if err := w.rotate(); err != nil {
		t.Errorf("%v", err)
	}
}

// unreadable answers with an error for a version, as AWS does if its key is disabled or denied.
func unreadable(id, code string) hook {
	return func(operation string, send sender) (*http.Response, error) {
		resp, err := send()
		if err != nil || operation != "GetSecretValue" {
			return resp, err
		}
		if bytes.Contains(body(resp), []byte(`"VersionId":"`+id)) {
			return failure(code), nil
		}
		return resp, nil
	}
}

func TestUndecryptablePreviousDoesNotStopMinter(t *testing.T) {
	h := &mintingHarness{toyHarness{server: newToyServer(t)}}
	w, _ := begun(t, h, 4)
	previous := w.labeled("AWSPREVIOUS")
	w.wire.set(unreadable(previous.id, "DecryptionFailure"))
	if err := w.rotate(); err != nil {
		t.Errorf("%v", err)
	}
}

// quotingAltHarness alternates users of an engine whose errors quote the statement.
type quotingAltHarness struct{ toyHarness }

func (h *quotingAltHarness) Engine() engine.Engine { return quoting{h.engine} }

// TestRehearsalInTestSecretShowsNoValue covers RotateImmediately=false.
func TestRehearsalInTestSecretShowsNoValue(t *testing.T) {
	w := newWorld(t, &quotingAltHarness{toyHarness{server: newToyServer(t), alternating: true}})
	token := w.begin()
	// What RotateImmediately=false does: a copy of AWSCURRENT as AWSPENDING, and testSecret alone.
	w.put(w.first, token, "AWSPENDING")
	err := w.step(t.Context(), rotation.TestSecret, token)
	t.Logf("error: %v", err)
	if err == nil || !strings.Contains(err.Error(), "'[redacted]'") {
		t.Errorf("the error shows the password that was tried")
	}
}

// TestPromotionWhoseAnswerIsLost: the rotation is counted.
func TestPromotionWhoseAnswerIsLost(t *testing.T) {
	h := &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}}
	w, token := begun(t, h, 3)
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		resp, err := send()
		if operation == "UpdateSecretVersionStage" && err == nil && resp.StatusCode == 200 {
			resp.Body.Close()
			return nil, errors.New("the answer is lost")
		}
		return resp, err
	})
	seen, err := w.finish(t, token, 30*time.Second)
	w.wire.set(nil)
	if current := w.labeled("AWSCURRENT"); err != nil || !seen.Rotated || current.id != token {
		t.Errorf("observed %+v, %v; AWSCURRENT is on version %s", seen, err, current.id)
	}
}

// TestOvertakenStepSucceeds: a retry of the step has already finished the rotation.
func TestOvertakenStepSucceeds(t *testing.T) {
	for n, name := range []rotation.Step{1: rotation.SetSecret, 3: rotation.FinishSecret} {
		if name == "" {
			continue
		}
		w, token := begun(t, &toyHarness{server: newToyServer(t)}, n)
		first := true
		w.wire.set(func(operation string, send sender) (*http.Response, error) {
			resp, err := send()
			if first {
				first = false
				w.wire.set(nil)
				for _, s := range steps[n:] {
					if err := w.step(context.Background(), s, token); err != nil {
						t.Error(err)
					}
				}
				// Secrets Manager removes the label when the rotation is over.
				if p, found := w.find("AWSPENDING"); found {
					w.stage("AWSPENDING", p.id, "")
				}
			}
			return resp, err
		})
		err := w.step(t.Context(), name, token)
		w.wire.set(nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.ended(token); err != nil {
			t.Error(err)
		}
	}
}

// TestPendingOfAWSTemplate: a rotation that AWS's template began is finished if the target has the
// new password, although Python escapes non-ASCII characters. Otherwise nothing distinguishes that
// value from one that a writer of the secret chose.
func TestPendingOfAWSTemplate(t *testing.T) {
	for _, set := range []bool{true, false} {
		h := &toyHarness{server: newToyServer(t)}
		w := newWorld(t, h)
		w.update(engine.StringValue(strings.Replace(string(w.first.Reveal()), `"engine"`, `"note":"für","engine"`, 1)))
		cur := w.labeled("AWSCURRENT")
		token := w.begin()
		// json.dumps escapes non-ASCII characters.
		pending := engine.StringValue(
			strings.Replace(string(cur.value.With("password", "0123456789abcdefABCDEF0123456789").Reveal()), "für",
				`f\u00fcr`, 1))
		w.put(pending, token, "AWSPENDING")
		if set {
			if err := h.Restore(t.Context(), pending); err != nil {
				t.Fatal(err)
			}
			if err := w.all(t.Context(), token); err != nil {
				t.Errorf("%v", err)
			}
			continue
		}
		WantCause(t, w.all(t.Context(), token), engine.SecretEdited, "remove AWSPENDING")
		w.stage("AWSPENDING", token, "")
		if err := w.rotate(); err != nil {
			t.Errorf("after the advice: %v", err)
		}
	}
}

// TestTooLittleTimeForTheTargetIsOutOfTime: nothing is wrong with routes or security groups.
func TestTooLittleTimeForTheTargetIsOutOfTime(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	token := w.begin()
	w.proxy.Filter(func(c testserver.Chunk) bool {
		if c.FromServer {
			time.Sleep(2 * time.Second)
		}
		return true
	})
	for _, left := range []time.Duration{1500 * time.Millisecond, 30 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), left)
		r, _ := w.Rotator()
		err := r.Handle(ctx, rotation.Event{Step: rotation.CreateSecret, SecretID: w.arn, ClientRequestToken: token})
		cancel()
		t.Logf("%s left: %v", left, err)
		if left < 2*time.Second && engine.CauseOf(err) != engine.OutOfTime {
			t.Errorf("cause %s, want OutOfTime", engine.CauseOf(err))
		}
	}
}

// TestInvalidSettingsFailAtStart: the error has the right cause.
func TestInvalidSettingsFailAtStart(t *testing.T) {
	for name, value := range map[string]string{
		"STRATEGY": "singel", "USERNAME_CHARACTER_LIMIT": "16 chars", "PASSWORD_LENGTH": "x",
	} {
		w := newWorld(t, &toyHarness{server: newToyServer(t)})
		w.Env[name] = value
		if _, err := w.Rotator(); err == nil || engine.CauseOf(err) != engine.InvalidConfiguration {
			t.Errorf("%s=%q: %v, want InvalidConfiguration", name, value, err)
		}
	}
	if _, err := rotation.New(rotation.Config{}); engine.CauseOf(err) != engine.InvalidConfiguration {
		t.Errorf("an empty Config: %v, want InvalidConfiguration", err)
	}
}

type cannotRevoke struct{ toyMinter }

func (e cannotRevoke) Revoke(context.Context, *engine.Request) error {
	return engine.Errorf(engine.LoginRefused, "", "the session is over")
}

type cannotRevokeHarness struct{ mintingHarness }

func (h *cannotRevokeHarness) Engine() engine.Engine { return cannotRevoke{toyMinter{h.engine}} }

// TestFailedRevocationIsNoRefusedLogin: the ladder stops, and only one credential is created.
func TestFailedRevocationIsNoRefusedLogin(t *testing.T) {
	h := &cannotRevokeHarness{mintingHarness{toyHarness{server: newToyServer(t)}}}
	h.engine.flaw = "mints twice" // it does not look for strays, so all of them are visible
	w := newWorld(t, h)
	if err := w.rotate(); err != nil {
		t.Fatal(err)
	}
	user, _ := w.first.Text("username")
	before := len(h.server.users[user].passwords)
	token := w.begin()
	w.wire.on("PutSecretValue", denied)
	err := w.step(t.Context(), rotation.CreateSecret, token)
	made := len(h.server.users[user].passwords) - before
	t.Logf("%v; credentials made: %d", err, made)
	if made != 1 || errors.Is(err, engine.LoginRefused) {
		t.Errorf("made %d credentials, cause %v", made, engine.CauseOf(err))
	}
}

// TestOldCredentialStaysAtItsHost: to learn AWSPREVIOUS's password, someone who may write the secret points the port of
// AWSCURRENT at a server that refuses every login.
func TestOldCredentialStaysAtItsHost(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	var logins, leaked atomic.Int64
	port := testserver.Hostile(t, nil, func(conn net.Conn) {
		line := make([]byte, 200)
		n, _ := conn.Read(line)
		if bytes.Contains(line[:n], []byte("first-password")) {
			leaked.Add(1)
		}
		logins.Add(1)
		_, _ = io.WriteString(conn, "NO\n")
	})
	trap := w.first.WithJSON("port", fmt.Append(nil, port)).With("password", "a-guess").With("ssl", "false")
	w.update(trap)
	if err := w.rotate(); !errors.Is(err, engine.LoginRefused) {
		t.Errorf("%v, want LoginRefused", err)
	}
	if logins.Load() == 0 || leaked.Load() > 0 {
		t.Errorf("%d logins at the forged port, %d with the real password", logins.Load(), leaked.Load())
	}
}

// TestOldPlaceGetsNoCredential: someone who may write the secret puts another port into an old version. The target
// refuses the current version, so the ladder reaches the old one.
func TestOldPlaceGetsNoCredential(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	var came atomic.Bool
	port := testserver.Hostile(t, nil, func(net.Conn) { came.Store(true) })
	w.replace(w.first.With("password", "Refused-Passw0rd-1"))
	const forged = "0123456789abcdef0123456789abcdef"
	w.put(w.first.With("password", "Older-Passw0rd-1").WithJSON("port", fmt.Append(nil, port)), forged, "edited")
	w.stage("AWSPREVIOUS", w.labeled("AWSPREVIOUS").id, forged)
	// The version that lost its label opens the target.
	if err := w.rotate(); err != nil || came.Load() {
		t.Errorf("%v; the place that the old version names was asked: %v", err, came.Load())
	}
}

// TestOldCredentialAtTheSamePlace: a port as a number or as text, or a host in a different case, is the same place.
func TestOldCredentialAtTheSamePlace(t *testing.T) {
	w := newWorld(t, &toyHarness{server: newToyServer(t)})
	host, _ := w.first.Text("host")
	port, _ := w.first.Text("port")
	edited := w.first.With("port", port).With("host", strings.ToUpper(host)).With("password", "a-guess")
	w.update(edited)
	if err := w.rotate(); err != nil {
		t.Error(err)
	}
	w.opens("AWSCURRENT", true)
}
