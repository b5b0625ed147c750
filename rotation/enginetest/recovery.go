package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/google/uuid"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// recovery begins rotations in states that other rotation functions never get out of.
func recovery(t testing.TB, h Harness) error {
	// A rotation was abandoned after any of its steps, or in the gap of finishSecret, as AWS
	// documents it: canceled, and AWSPENDING removed. The working credential may then have no
	// label.
	for last := range 4 {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		token, err := w.begin()
		if err != nil {
			return err
		}
		if last == 3 {
			err = w.gap(token)
		}
		for _, step := range steps[:(last+1)%4] {
			err = errors.Join(err, w.step(context.Background(), step, token))
		}
		if err != nil {
			return err
		}
		if err := w.cancel(); err != nil {
			return err
		}
		if err := w.stage("AWSPENDING", token, ""); err != nil {
			return err
		}
		next, err := w.begin()
		if err != nil {
			return err
		}
		if err := w.all(context.Background(), next); err != nil {
			return fmt.Errorf("after a rotation abandoned after %s: %w", steps[last], err)
		}
		if err := w.ended(next); err != nil {
			return fmt.Errorf("after a rotation abandoned after %s: %w", steps[last], err)
		}
	}
	// A version that was reserved and never filled does no harm once its label is gone.
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	if err := w.step(context.Background(), rotation.SetSecret, token); !errors.Is(err, engine.VersionNotStaged) {
		return fmt.Errorf("setSecret without a pending value: %v, want VersionNotStaged", err)
	}
	if err := w.stage("AWSPENDING", token, ""); err != nil {
		return err
	}
	w.made--
	if err := w.rotate(); err != nil {
		return fmt.Errorf("after an empty AWSPENDING: %w", err)
	}
	if err := foreign(w); err != nil {
		return err
	}
	// Somebody restored the previous credential at the target by hand. Versions older than
	// AWSPREVIOUS are not needed, so neither is the right to list them.
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if operation == "ListSecretVersionIds" {
			return failure("AccessDeniedException"), nil
		}
		return send()
	})
	before, err := w.labeled("AWSPREVIOUS")
	if err != nil {
		return err
	}
	if err := h.Restore(context.Background(), w.direct(before.value)); errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
		return err
	}
	next, err := w.begin()
	if err != nil {
		return err
	}
	if err := w.all(context.Background(), next); err != nil {
		return fmt.Errorf("after the previous credential was restored by hand: %w", err)
	}
	return w.ended(next)
}

// foreign leaves AWSPENDING on a version that no rotation created. No step acts on it, and once the
// label is gone the next rotation succeeds.
func foreign(w *world) error {
	left := uuid.NewString()
	if err := w.put(w.first, left, "AWSPENDING"); err != nil {
		return err
	}
	token := uuid.NewString()
	for _, step := range steps {
		err := w.step(context.Background(), step, token)
		if !errors.Is(err, engine.VersionNotStaged) {
			return fmt.Errorf("%s while another version is AWSPENDING: %v, want VersionNotStaged", step, err)
		}
	}
	if err := w.notLockedOut(); err != nil {
		return err
	}
	if err := w.stage("AWSPENDING", left, ""); err != nil {
		return err
	}
	w.made++ // the version that was left
	if err := w.rotate(); err != nil {
		return fmt.Errorf("after a foreign AWSPENDING: %w", err)
	}
	return nil
}

// repair crashes Recover at every point, after a finishSecret that died between the change and the
// promotion. Nothing may get worse, and running Recover again must complete the repair.
func repair(t testing.TB, h Harness) error {
	points, name := 0, ""
	for at := 1; ; at++ {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		name = w.kind.Names[0] + " " + w.strategy()
		token, err := w.begin()
		if err != nil {
			return err
		}
		if err := w.gap(token); err != nil {
			return err
		}
		recover := func(ctx context.Context) error {
			r, err := w.rotator()
			if err == nil {
				_, err = operator.Recover(ctx, r, w.arn)
			}
			return err
		}
		died, err := (&crash{at: at}).run(w, recover)
		if !died && err != nil {
			return fmt.Errorf("recover without a crash: %w", err)
		}
		if err := w.notLockedOut(); err != nil {
			return fmt.Errorf("recover cut at point %d: %w", at, err)
		}
		if died {
			points++
			if err := recover(context.Background()); err != nil {
				return fmt.Errorf("recover cut at point %d: the retry fails: %w", at, err)
			}
		}
		current, err := w.labeled("AWSCURRENT")
		if err != nil {
			return err
		}
		if ok, err := w.open(current.value); err != nil || !ok {
			return fmt.Errorf("recover cut at point %d and repeated: AWSCURRENT is accepted %v, %v", at, ok, err)
		}
		if !died {
			break
		}
	}
	figure(t, "recover %s: %d points, 0 lock-outs", name, points)
	return nil
}

// preflight sends testSecret alone with a copy of the current value, as RotateSecret does with
// RotateImmediately=false.
func preflight(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	var failure error
	try := func() error {
		_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
			SecretId: &w.arn, RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
			ClientRequestToken: aws.String(uuid.NewString()),
		})
		if err == nil {
			_ = w.sim.WaitRotation(context.Background(), w.arn)
		}
		return err
	}
	w.sim.RegisterFunction(functionARN, invoker(func(ctx context.Context, token string) error {
		failure = w.step(ctx, rotation.TestSecret, token)
		return failure
	}))
	if err := try(); err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("testSecret of a secret that can be rotated: %w", failure)
	}
	all, err := w.versions()
	if err != nil || len(all) != 1 {
		return fmt.Errorf("the test left %d versions, %v", len(all), err)
	}
	if len(w.kind.SecretFields) == 0 || w.h.Target() == "" {
		return nil
	}
	// A credential that the target refuses is reported.
	wrong := w.first.With(w.kind.SecretFields[0], "not-the-password-1A!")
	if err := w.put(wrong, uuid.NewString(), "AWSCURRENT"); err != nil {
		return err
	}
	if err := try(); err != nil {
		return err
	}
	if failure == nil {
		return errors.New("testSecret of a wrong credential succeeds")
	}
	return nil
}
