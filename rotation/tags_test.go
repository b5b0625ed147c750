package rotation_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/generic"
	"example.com/rotator/sim"
)

// TestTagsMayOnlyStrengthen: a tag can neither make the next password guessable nor have a value
// that names a host rotated as if no system knew the credential.
func TestTagsMayOnlyStrengthen(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		tags  []string
		want  engine.Cause
	}{
		"a short alphabet": {"first-password", []string{"engine", "generic", "exclude-lowercase", "true", "exclude-numbers", "true", "exclude-punctuation", "true",
			"exclude-characters", "CDEFGHIJKLMNOPQRSTUVWXYZ", "require-each-included-type", "false"}, engine.InvalidConfiguration},
		"a short password":         {"first-password", []string{"engine", "generic", "password-length", "12"}, engine.InvalidConfiguration},
		"no punctuation":           {"first-password", []string{"engine", "generic", "exclude-punctuation", "true"}, ""},
		"a longer password":        {"first-password", []string{"engine", "generic", "password-length", "64"}, ""},
		"generic for a database's": {`{"host":"db.example.com","username":"app","password":"first-password"}`, []string{"engine", "generic", "generic-field", "password"}, engine.InvalidSecret},
		"generic by the value":     {`{"engine":"generic","host":"db.example.com","password":"first-password"}`, []string{"generic-field", "password"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			simulator := sim.New(sim.Options{MaxAttempts: 1})
			server, err := sim.Serve(simulator, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
			r, err := rotation.New(rotation.Config{Engines: []engine.Engine{generic.New()}, Log: slog.New(slog.DiscardHandler),
				Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return client, nil }})
			if err != nil {
				t.Fatal(err)
			}
			const function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
			simulator.RegisterFunction(function, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
			in := &secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique("tags/")), SecretString: &c.value}
			for i := 0; i < len(c.tags); i += 2 {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String("rotator:" + c.tags[i]), Value: &c.tags[i+1]})
			}
			out, err := client.CreateSecret(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			token := uuid.NewString()
			if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: out.ARN, ClientRequestToken: &token, RotationLambdaARN: aws.String(function)}); err != nil {
				t.Fatal(err)
			}
			_ = simulator.WaitRotation(t.Context(), *out.ARN)
			err = r.Handle(t.Context(), rotation.Event{Step: rotation.CreateSecret, SecretID: *out.ARN, ClientRequestToken: token})
			if c.want == "" && err != nil {
				t.Error(err)
			} else if c.want != "" {
				enginetest.WantCause(t, err, c.want, "")
			}
		})
	}
}
