package enginetest

import (
	"context"
	"errors"
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
func recovery(t testing.TB, h Harness) {
	// A rotation was abandoned after any of its steps, or in the gap of finishSecret, as AWS
	// documents it: canceled, and AWSPENDING removed. The working credential may then have no
	// label.
	for last := range 4 {
		w := newWorld(t, h)
		token := w.begin()
		if last == 3 {
			w.must(w.gap(token), "a rotation up to the gap")
		}
		for _, step := range steps[:(last+1)%4] {
			w.must(w.step(context.Background(), step, token), "%s", step)
		}
		w.cancel()
		w.stage("AWSPENDING", token, "")
		next := w.begin()
		w.at("after a rotation abandoned after %s", steps[last])
		w.must(w.all(context.Background(), next), "the next rotation")
		w.must(w.ended(next), "after the next rotation")
	}
	// A version that was reserved and never filled does no harm once its label is gone.
	w := newWorld(t, h)
	token := w.begin()
	if err := w.step(context.Background(), rotation.SetSecret, token); !errors.Is(err, engine.VersionNotStaged) {
		t.Fatalf("setSecret without a pending value: %v, want VersionNotStaged", err)
	}
	w.stage("AWSPENDING", token, "")
	w.made--
	w.must(w.rotate(), "after an empty AWSPENDING")
	foreign(w)
	// Somebody restored the previous credential at the target by hand. Versions older than
	// AWSPREVIOUS are not needed, so neither is the right to list them.
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if operation == "ListSecretVersionIds" {
			return failure("AccessDeniedException"), nil
		}
		return send()
	})
	err := h.Restore(context.Background(), w.direct(w.labeled("AWSPREVIOUS").value))
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	w.must(err, "the harness cannot restore a credential")
	next := w.begin()
	w.must(w.all(context.Background(), next), "after the previous credential was restored by hand")
	w.must(w.ended(next), "after the previous credential was restored by hand")
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
	for at := 1; ; at++ {
		w := newWorld(t, h)
		w.must(w.gap(w.begin()), "a rotation up to the gap")
		recover := func(ctx context.Context) error {
			r, err := w.rotator()
			if err == nil {
				_, err = operator.Recover(ctx, r, w.arn)
			}
			return err
		}
		where, err := w.crash(at, recover)
		w.at("recover cut at point %d, %s", at, where)
		if where == "" {
			w.must(err, "recover without a crash")
		}
		w.must(w.notLockedOut(), "after it")
		if where != "" {
			w.must(recover(context.Background()), "the retry")
		}
		w.opens("AWSCURRENT", true)
		if where == "" {
			figure(t, "recover %s %s: %d points, 0 lock-outs", w.kind.Names[0], w.strategy(), at-1)
			return
		}
	}
}

// preflight sends testSecret alone with a copy of the current value, as RotateSecret does with
// RotateImmediately=false.
func preflight(t testing.TB, h Harness) {
	w := newWorld(t, h)
	var failure error
	try := func() {
		_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
			SecretId: &w.arn, RotationLambdaARN: aws.String(functionARN), RotateImmediately: aws.Bool(false),
			ClientRequestToken: aws.String(uuid.NewString()),
		})
		w.must(err, "RotateSecret")
		_ = w.sim.WaitRotation(context.Background(), w.arn)
	}
	w.sim.RegisterFunction(functionARN, invoker(func(ctx context.Context, token string) error {
		failure = w.step(ctx, rotation.TestSecret, token)
		return failure
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
