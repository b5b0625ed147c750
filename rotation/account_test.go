package rotation_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/ldap"
	"example.com/rotator/rotation/mongodb"
	"example.com/rotator/rotation/rabbitmq"
	"example.com/rotator/sim"
)

// refusing has the Kind of an engine and a target that refuses everything, and records the values
// it is shown.
type refusing struct {
	engine.Engine
	shown []engine.Value
}

func (r *refusing) Next(_ context.Context, req *engine.Request) (engine.Value, error) {
	return engine.NextPassword(r.Kind(), req), nil
}

func (r *refusing) Verify(_ context.Context, _ *engine.Request, v engine.Value) error {
	r.shown = append(r.shown, v)
	return engine.Errorf(engine.LoginRefused, "", "refused")
}

// A version's credential is shown only at the place and for the account that this version names.
func TestCredentialIsNotCombinedWithAnotherVersionsPlace(t *testing.T) {
	tls := engine.TLSPolicy{}
	for name, c := range map[string]struct {
		engine  engine.Engine
		current string
		field   string
		other   string
	}{
		"LDAP's dn":              {ldap.New(tls), `{"engine":"ldap","host":"h","username":"app","dn":"uid=app,dc=a"}`, "dn", `"uid=app,dc=b"`},
		"LDAP's port":            {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a","port":636}`, "port", `3269`},
		"LDAP's engine":          {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a"}`, "engine", `"ad"`},
		"MongoDB's srv":          {mongodb.New(tls), `{"engine":"mongodb","host":"h","username":"app"}`, "srv", `true`},
		"MongoDB's dbname":       {mongodb.New(tls), `{"engine":"mongodb","host":"h","username":"app","dbname":"a"}`, "dbname", `"b"`},
		"RabbitMQ's API":         {rabbitmq.New(tls), `{"engine":"rabbitmq","host":"h","username":"app","managementPort":15671}`, "managementPort", `15672`},
		"RabbitMQ's engine":      {rabbitmq.New(tls), `{"engine":"rabbitmq","host":"h","username":"app"}`, "engine", `"amazonmq"`},
		"RabbitMQ's plain text":  {rabbitmq.New(tls), `{"engine":"rabbitmq","host":"h","username":"app"}`, "ssl", `false`},
		"nothing but a password": {ldap.New(tls), `{"engine":"ldap","host":"h","username":"uid=app,dc=a"}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			simulator := sim.New(sim.Options{MaxAttempts: 1})
			server, err := sim.Serve(simulator, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
			e := &refusing{Engine: c.engine}
			r, err := rotation.New(rotation.Config{Engines: []engine.Engine{e}, Log: slog.New(slog.DiscardHandler),
				Secrets: func(context.Context, string) (rotation.SecretsManager, error) { return client, nil }})
			if err != nil {
				t.Fatal(err)
			}
			const function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
			simulator.RegisterFunction(function, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
			current := engine.StringValue(c.current).With("password", "second-password")
			older := current.With("password", "first-password")
			if c.field != "" {
				older = older.WithJSON(c.field, []byte(c.other))
			}
			out, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique("account/")), SecretString: aws.String(string(older.Reveal()))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: out.ARN, SecretString: aws.String(string(current.Reveal()))}); err != nil {
				t.Fatal(err)
			}
			token := uuid.NewString()
			if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: out.ARN, ClientRequestToken: &token, RotationLambdaARN: aws.String(function)}); err != nil {
				t.Fatal(err)
			}
			_ = simulator.WaitRotation(t.Context(), *out.ARN)
			e.shown = nil
			err = r.Handle(t.Context(), rotation.Event{Step: rotation.CreateSecret, SecretID: *out.ARN, ClientRequestToken: token})
			enginetest.WantCause(t, err, engine.LoginRefused, "AWSCURRENT")
			passwords := ""
			for _, v := range e.shown {
				p, _ := v.Text("password")
				passwords += fmt.Sprint(p, " ")
			}
			want := "second-password "
			if c.field == "" {
				want += "first-password "
			}
			if passwords != want {
				t.Errorf("shown: %s", passwords)
			}
		})
	}
}
