package enginetest

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
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
	// An operator restored the previous credential at the target by hand. Versions older than AWSPREVIOUS are not
	// needed, so neither is the right to list them.
	w.wire.on("ListSecretVersionIds", refusal)
	err := h.Restore(context.Background(), w.direct(w.labeled("AWSPREVIOUS").value))
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	w.must(err, "the harness cannot restore a credential")
	w.complete(w.begin(), "after the previous credential was restored by hand")
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
// It succeeds unless the target refuses the credential.
func preflight(t testing.TB, h Harness) {
	for _, wrong := range []bool{false, true} {
		w := newWorld(t, h)
		w.at("the credential is wrong: %v", wrong)
		value := w.first
		if wrong {
			if len(w.kind.SecretFields) == 0 || w.proxy == nil {
				return
			}
			value = value.With(w.kind.SecretFields[0], "not-the-password-1A!")
			w.put(value, "", "AWSCURRENT")
		}
		token := w.begin()
		w.put(value, token, "AWSPENDING")
		if err := w.step(context.Background(), rotation.TestSecret, token); (err != nil) != wrong {
			w.errorf("testSecret returns %v", err)
		}
	}
}

// refusal answers a call to Secrets Manager with an error.
func refusal(sender) (*http.Response, error) { return nil, errors.New("refused by the suite") }

// leftBehind abandons rotations whose createSecret fails at a call to Secrets Manager.
func leftBehind(t testing.TB, h Harness) {
	for _, operation := range []string{"PutSecretValue", "GetSecretValue"} {
		if _, ok := h.(Minted); !ok {
			return
		}
		w := newWorld(t, h)
		w.at("createSecret fails at %s", operation)
		token := w.begin()
		w.wire.on(operation, refusal)
		for range 3 { // as Secrets Manager retries
			_ = w.step(context.Background(), rotation.CreateSecret, token)
		}
		w.wire.set(nil)
		w.cancel()
		w.stage("AWSPENDING", token, "")
		w.must(w.rotate(), "the next rotation")
		w.revoked()
	}
}

// revoked rotates once more, because a rotation may keep the credential of the version that it replaces. If the
// credential is minted, the target then has none that an abandoned rotation left.
func (w *world) revoked() {
	m, ok := w.h.(Minted)
	if !ok {
		return
	}
	w.must(w.rotate(), "another rotation")
	var labeled []engine.Value
	for _, label := range []string{"AWSCURRENT", "AWSPREVIOUS"} {
		labeled = append(labeled, w.labeled(label).value)
	}
	strays, err := m.Strays(context.Background(), labeled)
	w.must(err, "the harness")
	if len(strays) > 0 {
		w.errorf("the target still has %v", strays)
	}
}
