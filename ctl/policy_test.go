package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/rotation/postgres"
	"example.com/rotator/sim"
)

const roleARN = "arn:aws:iam::123456789012:role/rotator"

// world is a database, and a simulator whose function has a role.
type world struct {
	sim    *sim.Sim
	url    string
	engine engine.Engine
	env    map[string]string
	last   error
	// value builds a secret's value, and exec runs a statement.
	value func(user, password, master string) string
	exec  func(string)
}

func newWorld(t *testing.T) *world {
	w := &world{sim: sim.New(sim.Options{MaxAttempts: 1}), env: map[string]string{}}
	server := httptest.NewServer(w.sim.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	tokens := sts.New(sts.Options{
		BaseEndpoint: &w.url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})
	in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("rotator")}
	out, err := tokens.AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	k := out.Credentials
	role := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &w.url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken),
	})
	invoke := func(ctx context.Context, payload []byte) ([]byte, string, error) {
		var e rotation.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return nil, "", err
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if w.last = w.rotator(role).Handle(ctx, e); w.last != nil {
			return []byte(w.last.Error()), "Unhandled", nil
		}
		return []byte("null"), "", nil
	}
	w.sim.RegisterFunction(functionARN, sim.InvokerFunc(invoke))
	return w
}

func (w *world) rotator(c *secretsmanager.Client) *rotation.Rotator {
	r, err := rotation.New(rotation.Config{Engines: []engine.Engine{w.engine}, Log: slog.New(slog.DiscardHandler),
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return c, nil },
		Getenv:  func(name string) string { return w.env[name] }})
	if err != nil {
		panic(err) // the test's configuration is valid
	}
	return r
}

func (w *world) secret(t *testing.T, value string) string {
	t.Helper()
	out, err := clientAt(w.url).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String(testserver.Unique("s")), SecretString: &value,
		KmsKeyId: aws.String("arn:aws:kms:us-east-1:123456789012:key/1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

func (w *world) rotate(t *testing.T, arn string) error {
	t.Helper()
	in := &secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)}
	if _, err := clientAt(w.url).RotateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	_ = w.sim.WaitRotation(t.Context(), arn)
	return w.last
}

func (w *world) put(t *testing.T, d document) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.PutPolicy(roleARN, string(text)); err != nil {
		t.Fatal(err)
	}
}

// needed is what a rotation needs.
type needed struct {
	engine.Needs
	Policies []principalPolicy
}

func (w *world) needs(t *testing.T, arn string) needed {
	t.Helper()
	n, err := operator.Needs(t.Context(), w.rotator(clientAt(w.url)), arn)
	if err != nil {
		t.Fatal(err)
	}
	return needed{n, policiesOf(n, "")}
}

func postgresWorld(t *testing.T, o testserver.PostgresOptions) (*world, *testserver.PostgresServer) {
	w, pg := newWorld(t), testserver.SharedPostgres(t, o)
	w.engine = postgres.New(engine.TLSPolicy{ExtraCAs: pg.CA.PEM})
	conn := pg.Connect(t, "postgres")
	w.exec = func(s string) {
		t.Helper()
		if _, err := conn.Exec(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	w.value = func(user, password, master string) string {
		return fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q,"masterarn":%q}`,
			pg.Host, pg.Port, user, password, master)
	}
	return w, pg
}

// TestPolicyIsMinimal: a rotation succeeds with the printed policy, and fails if any one action that is not optional is
// missing.
func TestPolicyIsMinimal(t *testing.T) {
	w, pg := postgresWorld(t, testserver.PostgresOptions{})
	fresh := func() (string, document) {
		user := testserver.Unique("u_")
		w.exec("CREATE ROLE " + user + " LOGIN PASSWORD 'first-password'")
		master := w.secret(t, w.value(pg.User, pg.Password, ""))
		arn := w.secret(t, w.value(user, "first-password", master))
		p := w.needs(t, arn)
		if len(p.Policies) != 1 || p.Policies[0].Principal != functionsRole {
			t.Fatalf("the principals are %+v", p.Policies)
		}
		return arn, p.Policies[0].Policy
	}
	arn, whole := fresh()
	w.put(t, whole)
	if err := w.rotate(t, arn); err != nil {
		t.Fatalf("with the whole policy: %v", err)
	}
	removed := 0
	for i, s := range whole.Statement {
		for j, action := range s.Action {
			t.Run(s.Sid+"/"+action, func(t *testing.T) {
				arn, d := fresh()
				d.Statement[i].Action = slices.Delete(d.Statement[i].Action, j, j+1)
				if len(d.Statement[i].Action) == 0 {
					d.Statement = slices.Delete(d.Statement, i, i+1)
				}
				w.put(t, d)
				err := w.rotate(t, arn)
				switch optional := strings.HasPrefix(s.Sid, "Optional"); {
				case optional && err != nil:
					t.Errorf("it is needed: %v", err)
				case !optional && !errors.Is(err, engine.SecretsManagerFailed):
					t.Errorf("without it: %v, want SecretsManagerFailed", err)
				}
			})
			removed++
		}
	}
	if removed < 9 {
		t.Errorf("the policy has only %d actions", removed)
	}
}
