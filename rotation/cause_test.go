package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// defective is the example's engine with a defect: it panics with a text that quotes the password.
type defective struct{ gate }

func (defective) Verify(_ context.Context, _ *engine.Request, v engine.Value) error {
	password, _ := v.Text("password")
	panic("index out of range in " + password)
}

// take runs one step and returns its log and error.
func take(t *testing.T, ctx context.Context, api *secretsmanager.Client, e engine.Engine,
	event rotation.Event) (string, error) {
	t.Helper()
	var out bytes.Buffer
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{e},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return api, nil },
		Log:     slog.New(slog.NewJSONHandler(&out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Handle(ctx, event)
	return out.String(), err
}

// A panic becomes an error with a stack in the log, and neither shows the value that the panic quotes.
func TestPanicIsAnInternalErrorThatShowsNoValue(t *testing.T) {
	c, m := newController(), newManager()
	defer c.Close()
	defer m.Close()
	first, pending := c.secret(), uuid.NewString()
	created, err := m.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("gate"), SecretString: &first, ClientRequestToken: aws.String(uuid.NewString()),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.function(func(context.Context, rotation.Event) error { return errors.New("idle") })
	if _, err := m.client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: created.ARN,
		RotationLambdaARN: aws.String(exampleARN), ClientRequestToken: &pending}); err != nil {
		t.Fatal(err)
	}
	_ = m.sim.WaitRotation(t.Context(), "gate") // it fails as intended
	if _, err := m.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: created.ARN, SecretString: &first, ClientRequestToken: &pending,
		VersionStages: []string{"AWSPENDING"},
	}); err != nil {
		t.Fatal(err)
	}
	log, err := take(t, t.Context(), m.client, defective{gate{c.Client()}}, rotation.Event{
		Step: rotation.TestSecret, SecretID: *created.ARN, ClientRequestToken: pending,
	})
	if !errors.Is(err, engine.InternalError) || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("error %v, want InternalError with the panic's text", err)
	}
	if !strings.Contains(log, `"stack"`) || !strings.Contains(log, `"cause":"InternalError"`) {
		t.Errorf("the log has no stack or no cause:\n%s", log)
	}
	if strings.Contains(log+err.Error(), "first-password") {
		t.Errorf("the password is shown: %v\n%s", err, log)
	}
}

// Running out of time while waiting for Secrets Manager is distinguished from a refused call and reported before the
// invocation ends.
func TestInvocationThatEndsWhileItWaitsIsOutOfTime(t *testing.T) {
	api := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(fmt.Sprintf("http://127.0.0.1:%d", testserver.Blackhole(t))), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	log, err := take(t, ctx, api, gate{}, rotation.Event{
		Step: rotation.CreateSecret, ClientRequestToken: uuid.NewString(),
		SecretID: "arn:aws:secretsmanager:us-east-1:123456789012:secret:gate-AbCdEf",
	})
	if !errors.Is(err, engine.OutOfTime) || !strings.Contains(log, `"cause":"OutOfTime"`) {
		t.Errorf("error %v, want OutOfTime\n%s", err, log)
	}
	if ctx.Err() != nil {
		t.Error("the step ended only with the invocation, too late to report it")
	}
}

// TestPanicOfAnEngineShowsNoValue covers the operator's commands.
func TestPanicOfAnEngineShowsNoValue(t *testing.T) {
	c, m := newController(), newManager()
	defer c.Close()
	defer m.Close()
	first := c.secret()
	created, err := m.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("gate"), SecretString: &first, ClientRequestToken: aws.String(uuid.NewString()),
	})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{defective{gate{c.Client()}}},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return m.client, nil },
		Log:     slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, diagnosis := operator.Diagnose(t.Context(), r, *created.ARN)
	_, recovery := operator.Recover(t.Context(), r, *created.ARN)
	rows := slices.Collect(operator.Check(t.Context(), r, *created.ARN))
	for _, f := range rows {
		// A panic does not show how far the check got.
		if f.Check == "route" && f.State != operator.Unknown || f.Check == "server" && f.Cause != engine.InternalError {
			t.Errorf("Check: %+v", f)
		}
	}
	findings := fmt.Sprint(rows)
	for name, err := range map[string]error{"Diagnose": diagnosis, "Recover": recovery} {
		if engine.CauseOf(err) != engine.InternalError {
			t.Errorf("%s: %v, want InternalError", name, err)
		}
	}
	if !strings.Contains(findings, "InternalError") {
		t.Errorf("Check: %s", findings)
	}
	if all := fmt.Sprint(diagnosis, recovery, findings, log.String()); strings.Contains(all, "first-password") {
		t.Errorf("the password is shown: %s", all)
	}
}
