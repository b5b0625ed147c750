//go:build repro

// Package zzworld is a reviewer's world: the simulator, one secret, the core.
package zzworld

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
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

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

type World struct {
	T       testing.TB
	Sim     *sim.Sim
	Client  *secretsmanager.Client
	Engines []engine.Engine
	Env     map[string]string
	mu      sync.Mutex
	Log     bytes.Buffer
	Wrap    func(rotation.SecretsManager) rotation.SecretsManager
	Limit   time.Duration
}

func (w *World) Write(b []byte) (int, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.Log.Write(b) }

func New(t testing.TB, engines ...engine.Engine) *World {
	w := &World{T: t, Engines: engines, Env: map[string]string{}, Limit: 30 * time.Second}
	w.Sim = sim.New(sim.Options{MaxAttempts: 1})
	server, err := sim.Serve(w.Sim, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	w.Client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL()), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	w.Sim.RegisterFunction(functionARN, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	return w
}

func (w *World) Secret(name, value string, tags ...string) string {
	in := &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: &value}
	for i := 0; i+1 < len(tags); i += 2 {
		in.Tags = append(in.Tags, types.Tag{Key: &tags[i], Value: &tags[i+1]})
	}
	out, err := w.Client.CreateSecret(context.Background(), in)
	if err != nil {
		w.T.Fatal(err)
	}
	return *out.ARN
}

func (w *World) Put(arn, value string, stages ...string) string {
	out, err := w.Client.PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &value, VersionStages: stages, ClientRequestToken: aws.String(uuid.NewString())})
	if err != nil {
		w.T.Fatal(err)
	}
	return *out.VersionId
}

func (w *World) Get(arn, stage string) string {
	out, err := w.Client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: &arn, VersionStage: &stage})
	if err != nil {
		return fmt.Sprint(err)
	}
	return aws.ToString(out.SecretString)
}

func (w *World) Begin(arn string) string {
	token := uuid.NewString()
	_, err := w.Client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN)})
	if err != nil {
		w.T.Fatal(err)
	}
	_ = w.Sim.WaitRotation(context.Background(), arn)
	return token
}

func (w *World) Rotator() *rotation.Rotator {
	r, err := rotation.New(rotation.Config{
		Engines: w.Engines,
		Secrets: func(context.Context, string) (rotation.SecretsManager, error) {
			if w.Wrap != nil {
				return w.Wrap(w.Client), nil
			}
			return w.Client, nil
		},
		Getenv: func(n string) string { return w.Env[n] },
		Log:    slog.New(slog.NewTextHandler(w, nil)),
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return r
}

func (w *World) Step(arn, token string, step rotation.Step) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.Limit)
	defer cancel()
	return w.Rotator().Handle(ctx, rotation.Event{Step: step, SecretID: arn, ClientRequestToken: token, RotationToken: engine.StringValue(uuid.NewString())})
}

func (w *World) All(arn, token string) error {
	for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
		if err := w.Step(arn, token, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (w *World) Rotate(arn string) error { return w.All(arn, w.Begin(arn)) }
