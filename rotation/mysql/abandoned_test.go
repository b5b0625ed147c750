//go:build mysql

package mysql_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/secretsim"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/enginetest"
)

// A rotation that was given up after setSecret is followed by one that succeeds:
// its version, which has lost its label, holds the first password.
func TestARotationAfterAnAbandonedOneUnderRequireCurrent(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		user, first := f.privileged()
		f.sql("ALTER USER " + account(user, "%") + " PASSWORD REQUIRE CURRENT")
		sim := secretsim.New(secretsim.Options{MaxAttempts: 1})
		server, err := secretsim.Serve(sim, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
		const function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
		sim.RegisterFunction(function, secretsim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
		secret, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &user, SecretString: aws.String(string(f.value(user, first).Reveal()))})
		if err != nil {
			t.Fatal(err)
		}
		r, err := rotation.New(rotation.Config{Engines: []rotation.Engine{f.engine}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return client, nil }})
		if err != nil {
			t.Fatal(err)
		}
		start := func(token string) func(rotation.Step) error {
			if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: secret.ARN, ClientRequestToken: &token, RotationLambdaARN: aws.String(function)}); err != nil {
				t.Fatal(err)
			}
			_ = sim.WaitRotation(t.Context(), *secret.ARN)
			return func(s rotation.Step) error {
				err := r.Handle(enginetest.Within(t), rotation.Event{Step: s, SecretID: *secret.ARN, ClientRequestToken: token})
				f.opens(user, true, first)
				return err
			}
		}
		const abandoned, next = "6f6e2b0e-0000-4000-8000-000000000001", "6f6e2b0e-0000-4000-8000-000000000002"
		step := start(abandoned)
		if err := errors.Join(step(rotation.CreateSecret), step(rotation.SetSecret)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: secret.ARN, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: aws.String(abandoned)}); err != nil {
			t.Fatal(err)
		}
		step = start(next)
		for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
			if err := step(s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
	})
}
