package enginetest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// leftBehind abandons rotations at every point and rotates again. Every credential that the target
// then has is in a labeled version of the secret.
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
		w.wire.set(func(called string, send sender) (*http.Response, error) {
			if called == operation {
				return nil, errors.New("refused by the suite")
			}
			return send()
		})
		for range 3 { // as Secrets Manager retries
			_ = w.step(context.Background(), rotation.CreateSecret, token)
		}
		w.wire.set(nil)
		w.abandon(token)
	}
}

// abandon has the operator cancel a rotation and remove the label. The next rotations revoke what
// it left.
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
