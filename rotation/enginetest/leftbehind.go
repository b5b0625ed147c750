package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// leftBehind abandons rotations at every point and rotates again. Every credential that the target
// then has is in a labeled version of the secret.
func leftBehind(t testing.TB, h Harness) error {
	if _, ok := h.(Minted); !ok {
		return nil
	}
	var errs []error
	for n := 0; n < len(steps); n++ {
		if err := abandoned(t, h, func(w *world, token string) {
			for _, step := range steps[:n] {
				_ = w.step(context.Background(), step, token)
			}
		}); err != nil {
			errs = append(errs, fmt.Errorf("canceled after %d steps: %w", n, err))
		}
	}
	for _, operation := range []string{"PutSecretValue", "GetSecretValue"} {
		if err := abandoned(t, h, func(w *world, token string) {
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
		}); err != nil {
			errs = append(errs, fmt.Errorf("createSecret fails at %s: %w", operation, err))
		}
	}
	return errors.Join(errs...)
}

// abandoned begins a rotation, calls do, and abandons the rotation: the operator cancels it and
// removes the label. The next rotations revoke what it left.
func abandoned(t testing.TB, h Harness, do func(w *world, token string)) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	do(w, token)
	if err := w.cancel(); err != nil {
		return err
	}
	// Without a stored value, no version has the label.
	if v, err := w.labeled("AWSPENDING"); err == nil && !slices.Contains(v.labels, "AWSCURRENT") {
		if err := w.stage("AWSPENDING", v.id, ""); err != nil {
			return err
		}
	} else if err != nil {
		_ = w.stage("AWSPENDING", token, "")
	}
	for range 2 { // the first may keep the credential of the version that it replaces
		if err := w.rotate(); err != nil {
			return fmt.Errorf("the next rotation: %w", err)
		}
	}
	all, err := w.versions()
	if err != nil {
		return err
	}
	var labeled []engine.Value
	for _, v := range all {
		if slices.Contains(v.labels, "AWSCURRENT") || slices.Contains(v.labels, "AWSPREVIOUS") {
			labeled = append(labeled, v.value)
		}
	}
	strays, err := h.(Minted).Strays(context.Background(), labeled)
	if err == nil && len(strays) > 0 {
		err = fmt.Errorf("the target still has %v", strays)
	}
	return err
}
