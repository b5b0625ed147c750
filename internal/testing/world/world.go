// Package world provides secrets in the simulator and a rotator with a test's engines, for tests of
// an engine and the machine together.
package world

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/uuid"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

// Function is the ARN of the function that rotates the secrets.
const Function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// World is a simulator and a rotation function.
type World struct {
	URL           string // the simulator's
	Sim           *sim.Sim
	Client        *secretsmanager.Client // the operator's
	API           *secretsmanager.Client // the function's; Client by default
	Env           map[string]string      // the function's variables
	Log           io.Writer              // the function's log
	RotationToken engine.Value           // the rotation token of every step
	// Engines returns the engines of a new process.
	Engines func() []engine.Engine

	t testing.TB
}

// New returns a world that exists until the end of the test.
func New(t testing.TB, engines ...engine.Engine) *World {
	t.Helper()
	w := &World{Env: map[string]string{}, Log: io.Discard, RotationToken: engine.StringValue(uuid.NewString()), t: t,
		Sim: sim.New(sim.Options{MaxAttempts: 1}), Engines: func() []engine.Engine { return engines }}
	server := httptest.NewServer(w.Sim.Handler())
	t.Cleanup(server.Close)
	w.URL = server.URL
	w.Client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	w.API = w.Client
	// The test runs the steps itself.
	w.Sim.RegisterFunction(Function, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
		return nil, "Unhandled", nil
	}))
	return w
}

// Rotator returns a new rotator without any state, as in a new process.
func (w *World) Rotator() (*rotation.Rotator, error) {
	return rotation.New(rotation.Config{
		Engines: w.Engines(),
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return w.API, nil },
		Getenv:  func(name string) string { return w.Env[name] },
		Log:     slog.New(slog.NewJSONHandler(w.Log, nil)),
	})
}

// Secret creates a secret and returns its ARN.
func (w *World) Secret(name string, v engine.Value) string {
	w.t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: &name, ClientRequestToken: aws.String(uuid.NewString())}
	in.SecretString, in.SecretBinary = stored(v)
	out, err := w.Client.CreateSecret(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ARN
}

// stored returns a value as Secrets Manager stores it.
func stored(v engine.Value) (text *string, binary []byte) {
	if v.IsBinary() {
		return nil, v.Reveal()
	}
	return aws.String(string(v.Reveal())), nil
}

// Put stores a version as a writer of the secret does. If id is "", it uses a new id.
func (w *World) Put(arn string, v engine.Value, id string, labels ...string) {
	w.t.Helper()
	if err := w.TryPut(arn, v, cmp.Or(id, uuid.NewString()), labels...); err != nil {
		w.t.Fatal(err)
	}
}

// TryPut is Put for a version that may exist.
func (w *World) TryPut(arn string, v engine.Value, id string, labels ...string) error {
	in := &secretsmanager.PutSecretValueInput{SecretId: &arn, VersionStages: labels, ClientRequestToken: &id}
	in.SecretString, in.SecretBinary = stored(v)
	_, err := w.Client.PutSecretValue(w.t.Context(), in)
	return err
}

// Tag sets a secret's tags, given as pairs of a name without the prefix rotator: and a value.
func (w *World) Tag(arn string, pairs ...string) {
	w.t.Helper()
	in := &secretsmanager.TagResourceInput{SecretId: &arn}
	for i := 0; i < len(pairs); i += 2 {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String("rotator:" + pairs[i]), Value: &pairs[i+1]})
	}
	if _, err := w.Client.TagResource(w.t.Context(), in); err != nil {
		w.t.Fatal(err)
	}
}

// Get returns the version with a label.
func (w *World) Get(arn, label string) engine.Value {
	w.t.Helper()
	out, err := w.Client.GetSecretValue(w.t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: &arn, VersionStage: &label})
	if err != nil {
		w.t.Fatal(err)
	}
	return engine.StringValue(aws.ToString(out.SecretString))
}

// Begin starts a rotation without running a step and returns its id.
func (w *World) Begin(arn string) string {
	w.t.Helper()
	id, _ := w.rotate(arn) // it fails as intended
	return id
}

// rotate has Secrets Manager rotate a secret. It returns the rotation's id and how it ended.
func (w *World) rotate(arn string) (id string, ended error) {
	w.t.Helper()
	id = uuid.NewString()
	if _, err := w.Client.RotateSecret(w.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &arn, ClientRequestToken: &id, RotationLambdaARN: aws.String(Function),
	}); err != nil {
		w.t.Fatal(err)
	}
	return id, w.Sim.WaitRotation(w.t.Context(), arn)
}

// Steps runs the given steps of a rotation, or all.
func (w *World) Steps(arn, id string, steps ...rotation.Step) error {
	if steps == nil {
		steps = []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret}
	}
	for _, s := range steps {
		if err := w.Step(w.t.Context(), arn, id, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// Step runs one step in a new rotator.
func (w *World) Step(ctx context.Context, arn, id string, step rotation.Step) error {
	r, err := w.Rotator()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return r.Handle(ctx, rotation.Event{Step: step, SecretID: arn, ClientRequestToken: id, RotationToken: w.RotationToken})
}

// Rotate runs a whole rotation.
func (w *World) Rotate(arn string) error { return w.Steps(arn, w.Begin(arn)) }

// RotateBy runs a whole rotation in which Secrets Manager calls a function.
func (w *World) RotateBy(f sim.Invoker, arn string) error {
	w.t.Helper()
	w.Sim.RegisterFunction(Function, f)
	_, err := w.rotate(arn)
	return err
}
