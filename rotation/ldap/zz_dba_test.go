//go:build repro

package ldap

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"fmt"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

func TestZScheme(t *testing.T) {
	f := newFixture(t, testserver.OpenLDAPOptions{})
	dn := f.person("strong")
	t.Log(dn)
	simulator := sim.New(sim.Options{MaxAttempts: 1})
	server, _ := sim.Serve(simulator, "127.0.0.1:0")
	defer server.Close()
	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	put := func(v engine.Value) string {
		out, err := client.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique("l")), SecretString: aws.String(string(v.Reveal()))})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ARN
	}
	r, err := rotation.New(rotation.Config{Engines: []engine.Engine{f.engine}, Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return client, nil },
		Getenv: func(n string) string { return map[string]string{"RECOVER_BY_SUPERUSER": "true"}[n] }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"openldap","host":%q,"port":%d}`, f.Host, f.Port)).With("username", user).With("password", password)
	}
	su := put(login(f.User, f.Password))
	const fn = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
	simulator.RegisterFunction(fn, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	arn := put(login(dn, "a-guess").With("masterarn", su))
	token := "6f6e2b0e-0000-4000-8000-000000000099"
	if _, err := client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(fn)}); err != nil {
		t.Fatal(err)
	}
	_ = simulator.WaitRotation(context.Background(), arn)
	for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
		t.Log(s, r.Handle(context.Background(), rotation.Event{Step: s, SecretID: arn, ClientRequestToken: token}))
	}
}
