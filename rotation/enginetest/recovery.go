package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	simulated "example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/sim"
)

// recovery begins rotations in states from which other rotation functions never recover.
func recovery(t testing.TB, h Harness) {
	// An operator abandoned a rotation in the gap of finishSecret, as AWS documents: canceled it and removed AWSPENDING.
	// The working credential may then have no label.
	w := newWorld(t, h)
	token := w.begin()
	w.must(w.gap(token), "a rotation up to the gap")
	w.cancel()
	w.stage("AWSPENDING", token, "")
	w.complete(w.begin(), "after a rotation abandoned in the gap")
	// A version that was reserved and never filled does no harm once its label is gone.
	w = newWorld(t, h)
	token = w.begin()
	if err := w.step(context.Background(), rotation.SetSecret, token); !errors.Is(err, engine.VersionNotStaged) {
		t.Fatalf("setSecret without a pending value: %v, want VersionNotStaged", err)
	}
	w.stage("AWSPENDING", token, "")
	w.made--
	w.must(w.rotate(), "after an empty AWSPENDING")
	foreign(w)
	// An operator restored the previous credential at the target by hand. Versions older than AWSPREVIOUS are not
	// needed, so neither is the right to list them.
	w.wire.on("ListSecretVersionIds", denied)
	err := h.Restore(context.Background(), w.direct(w.labeled("AWSPREVIOUS").value))
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	w.must(err, "the harness cannot restore a credential")
	w.complete(w.begin(), "after the previous credential was restored by hand")
}

// foreign leaves AWSPENDING on a version that no rotation created. No step acts on it, and once the
// label is gone the next rotation succeeds.
func foreign(w *world) {
	left := uuid.NewString()
	w.put(w.first, left, "AWSPENDING")
	token := uuid.NewString()
	for _, step := range steps {
		if err := w.step(context.Background(), step, token); !errors.Is(err, engine.VersionNotStaged) {
			w.errorf("%s while another version is AWSPENDING: %v, want VersionNotStaged", step, err)
		}
	}
	w.must(w.notLockedOut(), "after a foreign AWSPENDING")
	w.stage("AWSPENDING", left, "")
	w.made++ // the version that was left
	w.must(w.rotate(), "after a foreign AWSPENDING")
}

// repair crashes Recover at every point, after a finishSecret that died between the change and the
// promotion. Nothing may get worse, and running Recover again must complete the repair.
func repair(t testing.TB, h Harness) {
	crashes(t, h, "recover", func(w *world) (func(context.Context) error, func() error) {
		w.must(w.gap(w.begin()), "a rotation up to the gap")
		recover := func(ctx context.Context) error {
			r, err := w.Rotator()
			if err == nil {
				_, err = operator.Recover(ctx, r, w.arn)
			}
			return err
		}
		return recover, func() error {
			if !w.open(w.labeled("AWSCURRENT").value) {
				return errors.New("AWSCURRENT does not open the target")
			}
			return nil
		}
	})
}

// preflight runs only testSecret, with a copy of the current value, as RotateSecret does with RotateImmediately=false.
func preflight(t testing.TB, h Harness) {
	w := newWorld(t, h)
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
	if len(w.kind.SecretFields) == 0 || w.h.Target() == "" {
		return
	}
	// A credential that the target refuses is reported.
	w.put(w.first.With(w.kind.SecretFields[0], "not-the-password-1A!"), uuid.NewString(), "AWSCURRENT")
	if try(); failure == nil {
		t.Error("testSecret of a wrong credential succeeds")
	}
}

// leftBehind abandons rotations at every point and rotates again. Every credential that the target then has must be in
// a labeled version of the secret.
func leftBehind(t testing.TB, h Harness) {
	if _, ok := h.(Minted); !ok {
		return
	}
	for n := range steps {
		w := newWorld(t, h)
		w.at("canceled after %d steps", n)
		token := w.begin()
		for _, step := range steps[:n] {
			_ = w.step(context.Background(), step, token)
		}
		w.abandon(token)
	}
	for _, operation := range []string{"PutSecretValue", "GetSecretValue"} {
		w := newWorld(t, h)
		w.at("createSecret fails at %s", operation)
		token := w.begin()
		w.wire.on(operation, func(sender) (*http.Response, error) { return nil, errors.New("refused by the suite") })
		for range 3 { // as Secrets Manager retries
			_ = w.step(context.Background(), rotation.CreateSecret, token)
		}
		w.wire.set(nil)
		w.abandon(token)
	}
}

// abandon cancels a rotation and removes its label, like an operator. The next rotations must revoke what it left.
func (w *world) abandon(token string) {
	w.cancel()
	w.stage("AWSPENDING", token, "")
	for range 2 { // the first may keep the credential of the version that it replaces
		w.must(w.rotate(), "the next rotation")
	}
	var labeled []engine.Value
	for _, v := range w.versions() {
		if slices.Contains(v.labels, "AWSCURRENT") || slices.Contains(v.labels, "AWSPREVIOUS") {
			labeled = append(labeled, v.value)
		}
	}
	strays, err := w.h.(Minted).Strays(context.Background(), labeled)
	w.must(err, "the harness")
	if len(strays) > 0 {
		w.errorf("the target still has %v", strays)
	}
}
