package db2

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

func TestADb2SecretIsRefusedWithTheReasonAndNothingIsStored(t *testing.T) {
	simulator := sim.New(sim.Options{MaxAttempts: 1})
	server, err := sim.Serve(simulator, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{New(engine.TLSPolicy{})},
		Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return client, nil },
		Getenv:  func(string) string { return "" },
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	function := "arn:aws:lambda:us-east-1:123456789012:function:rotator"
	simulator.RegisterFunction(function, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	for _, name := range []string{"db2", "db2-se", "db2-ae"} {
		value := `{"engine":"` + name + `","host":"h","username":"app","password":"Old-password1","masterarn":"arn:aws:secretsmanager:us-east-1:123456789012:secret:m-AbCdEf"}`
		secret, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
		if err != nil {
			t.Fatal(err)
		}
		token := "01234567-89ab-cdef-0123-456789abcdef"
		if _, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: secret.ARN, ClientRequestToken: &token, RotationLambdaARN: &function}); err != nil {
			t.Fatal(err)
		}
		_ = simulator.WaitRotation(ctx, *secret.ARN) // it has failed, as is meant
		err = r.Handle(ctx, rotation.Event{Step: rotation.CreateSecret, SecretID: *secret.ARN, ClientRequestToken: token})
		if !errors.Is(err, engine.InvalidSecret) || !strings.Contains(err.Error(), "client library") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: secret.ARN, VersionId: &token}); err == nil {
			t.Errorf("%s: a value was stored", name)
		}
	}
}
