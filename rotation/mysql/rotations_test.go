package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/sim"
)

// secrets is a simulated Secrets Manager with the machine and the engine, for tests of what the machine passes on.
type secrets struct {
	*fixture
	sim     *sim.Sim
	client  *secretsmanager.Client
	rotator *rotation.Rotator
	tokens  int
}

const function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

func newSecrets(t *testing.T, f *fixture) *secrets {
	t.Helper()
	s := &secrets{fixture: f, sim: sim.New(sim.Options{MaxAttempts: 1})}
	server := httptest.NewServer(s.sim.Handler())
	t.Cleanup(server.Close)
	s.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	s.sim.RegisterFunction(function,
		sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	var err error
	s.rotator, err = rotation.New(rotation.Config{Engines: []engine.Engine{f.engine},
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return s.client, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// secret stores values, the last of which is AWSCURRENT, and returns the ARN.
func (s *secrets) secret(name string, values ...engine.Value) string {
	s.t.Helper()
	created, err := s.client.CreateSecret(context.Background(),
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(values[0].Reveal()))})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range values[1:] {
		if _, err := s.client.PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{
			SecretId: created.ARN, SecretString: aws.String(string(v.Reveal()))}); err != nil {
			s.t.Fatal(err)
		}
	}
	return *created.ARN
}

// start begins a rotation whose steps the test runs, and returns its version and a function that runs a step.
func (s *secrets) start(arn string) (token string, step func(rotation.Step) error) {
	s.t.Helper()
	s.tokens++
	token = fmt.Sprintf("6f6e2b0e-0000-4000-8000-%012d", s.tokens)
	if _, err := s.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
		SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(function)}); err != nil {
		s.t.Fatal(err)
	}
	_ = s.sim.WaitRotation(context.Background(), arn)
	return token, func(step rotation.Step) error {
		return s.rotator.Handle(enginetest.Within(s.t),
			rotation.Event{Step: step, SecretID: arn, ClientRequestToken: token})
	}
}

// If AWSCURRENT is wrong, another version proves the user.
func TestUserIsProvedByTheVersionThatOpens(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		s := newSecrets(t, f)
		user, password := f.user("localhost")
		v := f.value(user, password).With("masterarn", s.secret(user+"-superuser", f.admin()))
		_, step := s.start(s.secret(user, v, v.With("password", "Written-wrong-1")))
		for _, each := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.SetSecret,
			rotation.TestSecret, rotation.FinishSecret} {
			if err := step(each); err != nil {
				t.Fatal(err)
			}
		}
		f.sameRights(user, user+"_clone", "localhost")
	})
}

// After a rotation that was abandoned after setSecret, the next one succeeds: the abandoned version, which has no
// label, has the primary password.
func TestRotationAfterAnAbandonedOneUnderRequireCurrent(t *testing.T) {
	only(t, "mysql", func(t *testing.T, f *fixture) {
		s := newSecrets(t, f)
		user, first := f.privileged()
		f.sql("ALTER USER " + account(user, "%") + " PASSWORD REQUIRE CURRENT")
		arn := s.secret(user, f.value(user, first))
		abandoned, step := s.start(arn)
		if err := errors.Join(step(rotation.CreateSecret), step(rotation.SetSecret)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &arn, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: &abandoned}); err != nil {
			t.Fatal(err)
		}
		_, step = s.start(arn)
		for _, each := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.SetSecret,
			rotation.TestSecret, rotation.FinishSecret} {
			if err := step(each); err != nil {
				t.Errorf("%s: %v", each, err)
			}
			f.opens(user, true, first)
		}
	})
}
