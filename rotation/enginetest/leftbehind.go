package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// leftBehind gives rotations up at every point, and rotates again: every credential that the target
// has then is in a labelled version of the secret.
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
			errs = append(errs, fmt.Errorf("cancelled after %d steps: %w", n, err))
		}
	}
	for _, operation := range []string{"PutSecretValue", "GetSecretValue"} {
		if err := abandoned(t, h, func(w *world, token string) {
			w.wire.set(func(called string, send func() (*http.Response, error)) (*http.Response, error) {
				if called == operation {
					return nil, errors.New("refused by the suite")
				}
				return send()
			})
			for range 3 { // as Secrets Manager tries again
				_ = w.step(context.Background(), rotation.CreateSecret, token)
			}
			w.wire.set(nil)
		}); err != nil {
			errs = append(errs, fmt.Errorf("createSecret fails at %s: %w", operation, err))
		}
	}
	return errors.Join(errs...)
}

// abandoned begins a rotation, calls do, and gives it up: the operator cancels it and takes the label
// away. The next rotations end what it left.
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
	if _, err := w.client.CancelRotateSecret(context.Background(), &secretsmanager.CancelRotateSecretInput{SecretId: &w.arn}); err != nil {
		return err
	}
	// A rotation that has stored nothing has no version with the label.
	if v, err := w.labelled("AWSPENDING"); err == nil && !slices.Contains(v.labels, "AWSCURRENT") {
		if err := w.stage("AWSPENDING", v.id, ""); err != nil {
			return err
		}
	} else if err != nil {
		_ = w.stage("AWSPENDING", token, "")
	}
	for range 2 { // the first may keep the credential of the version that it leaves
		if err := w.rotate(); err != nil {
			return fmt.Errorf("the next rotation: %w", err)
		}
	}
	all, err := w.versions()
	if err != nil {
		return err
	}
	var labelled []engine.Value
	for _, v := range all {
		if slices.Contains(v.labels, "AWSCURRENT") || slices.Contains(v.labels, "AWSPREVIOUS") {
			labelled = append(labelled, v.value)
		}
	}
	strays, err := h.(Minted).Strays(context.Background(), labelled)
	if err == nil && len(strays) > 0 {
		err = fmt.Errorf("the target still has %v", strays)
	}
	return err
}
