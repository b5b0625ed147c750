package redis

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/sim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// account is a simulated Secrets Manager whose function uses the engine.
type account struct {
	*fixture
	sim    *sim.Sim
	client *secretsmanager.Client
	env    map[string]string
}

func newAccount(f *fixture) *account {
	f.t.Helper()
	a := &account{fixture: f, sim: sim.New(sim.Options{MaxAttempts: 1}), env: map[string]string{}}
	server := httptest.NewServer(a.sim.Handler())
	f.t.Cleanup(server.Close)
	a.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	// The tests send the events themselves.
	a.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	return a
}

func (a *account) secret(v engine.Value) string {
	a.t.Helper()
	out, err := a.client.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{
		Name: aws.String(testserver.Unique("s-")), SecretString: aws.String(string(v.Reveal()))})
	if err != nil {
		a.t.Fatal(err)
	}
	return *out.ARN
}

func (a *account) rotator() *rotation.Rotator {
	a.t.Helper()
	r, err := rotation.New(rotation.Config{
		Engines: []engine.Engine{a.engine},
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return a.client, nil },
		Getenv:  func(name string) string { return a.env[name] },
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// rotate runs all steps and returns the new password.
func (a *account) rotate(arn string) (string, error) {
	a.t.Helper()
	ctx, token := enginetest.Within(a.t), uuid.NewString()
	if _, err := a.client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN)}); err != nil {
		a.t.Fatal(err)
	}
	_ = a.sim.WaitRotation(ctx, arn) // it fails as intended
	r := a.rotator()
	for _, step := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret,
		rotation.TestSecret, rotation.FinishSecret} {
		if err := r.Handle(ctx, rotation.Event{Step: step, SecretID: arn, ClientRequestToken: token}); err != nil {
			return "", err
		}
	}
	out, err := a.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		a.t.Fatal(err)
	}
	password, _ := engine.StringValue(*out.SecretString).Text("password")
	return password, nil
}

// A user without the right to change itself is rotated by an administrator with only the rights that the engine's
// page lists.
func TestAdministratorRotatesAPlainUser(t *testing.T) {
	a := newAccount(newFixture(t, testserver.Redis, testserver.RedisOptions{}))
	admin := a.user("+ping", "+info", "+cluster|nodes", "+acl|getuser", "+acl|setuser", "+acl|dryrun", "+acl|save",
		"+config|get", "+config|rewrite")
	user := a.user("+get", "~app:*")
	superuser := a.secret(a.value(admin, "first-"+admin))
	arn := a.secret(a.value(user, "first-"+user).With("masterarn", superuser))
	second, err := a.rotate(arn)
	if err != nil {
		t.Fatal(err)
	}
	a.wantPasswords(user, "first-"+user, second)
	third, err := a.rotate(arn)
	if err != nil {
		t.Fatal(err)
	}
	a.wantPasswords(user, second, third)
	// The administrator rotates its own secret.
	if _, err := a.rotate(superuser); err != nil {
		t.Error(err)
	}
	// A name alone does not entitle a secret to the administrator's powers.
	victim := a.user("+get")
	if _, err := a.rotate(a.secret(a.value(victim, "a-guess").With("masterarn", superuser))); !errors.Is(err,
		engine.LoginRefused) {
		t.Errorf("a secret without the user's password: %v", err)
	}
	a.wantPasswords(victim, "first-"+victim)
}

// A superuser does not change itself, even if the operator lets it set passwords that no version has.
func TestSuperuserIsNotChangedByASecretThatNamesIt(t *testing.T) {
	a := newAccount(newFixture(t, testserver.Redis, testserver.RedisOptions{}))
	admin := a.user("+@all", "~*", "&*")
	superuser := a.secret(a.value(admin, "first-"+admin))
	a.env["RECOVER_BY_SUPERUSER"] = "true"
	_, err := a.rotate(a.secret(a.value(admin, "a-guess").With("masterarn", superuser)))
	enginetest.WantCause(t, err, engine.TakeoverRefused, "administrator")
	a.wantPasswords(admin, "first-"+admin)
}

// A node that is gone blocks the rotation, and a check reports it.
func TestCheckReportsANodeThatIsGone(t *testing.T) {
	nodes, user := newCluster(t)
	if err := nodes[2].Halt(); err != nil {
		t.Fatal(err)
	}
	a := newAccount(nodes[0])
	arn := a.secret(a.value(user, "first").With("masterarn", a.secret(a.value(a.User, a.Password))))
	var causes []engine.Cause
	for f := range operator.Check(enginetest.Within(t), a.rotator(), arn) {
		if f.Cause != "" {
			causes = append(causes, f.Cause)
		}
	}
	if !slices.Contains(causes, engine.Unreachable) {
		t.Errorf("%q", causes)
	}
	if err := nodes[2].Resume(enginetest.Within(t)); err != nil {
		t.Fatal(err)
	}
}
