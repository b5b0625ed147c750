package ctl

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

const (
	mine   = "123456789012"
	theirs = "210987654321"
)

// account is a simulator and a client of the real SDK.
type account struct {
	*testing.T
	sim    *sim.Sim
	clock  *sim.ManualClock
	client *secretsmanager.Client
	direct doer // calls the simulator without a connection, which could be reset under load

	mu    sync.Mutex
	calls map[string]int // by operation
}

func newAccount(t *testing.T, o sim.Options) *account {
	t.Helper()
	w := &account{T: t, calls: make(map[string]int)}
	if o.Clock == nil {
		w.clock = sim.NewManualClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		o.Clock = w.clock
	}
	w.sim = sim.New(o)
	h := w.sim.Handler()
	w.direct = func(r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		w.calls[r.Header.Get("X-Amz-Target")+r.URL.Path]++
		w.mu.Unlock()
		if r.Body == nil {
			r.Body = http.NoBody
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Result(), nil
	}
	w.client = w.as(mine)
	return w
}

// doer is an HTTP client.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

func (w *account) as(account string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String("http://simulator"), HTTPClient: w.direct, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account, "x", ""),
	})
}

func (w *account) functions(account string) *lambda.Client {
	return lambda.New(lambda.Options{
		BaseEndpoint: aws.String("http://simulator"), HTTPClient: w.direct, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account, "x", ""),
	})
}

// count returns the number of calls of an operation since the last count.
func (w *account) count(operation string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.calls[operation]
	delete(w.calls, operation)
	return n
}

// secret creates a secret with tags, given as KEY, VALUE, ..., and returns its ARN.
func (w *account) secret(name, value string, tags ...string) string {
	w.Helper()
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}
	if value == "" {
		in.SecretString = nil
	}
	for i := 0; i < len(tags); i += 2 {
		in.Tags = append(in.Tags, types.Tag{Key: &tags[i], Value: &tags[i+1]})
	}
	out, err := w.client.CreateSecret(context.Background(), in)
	if err != nil {
		w.Fatal(err)
	}
	return *out.ARN
}

// schedule makes a function rotate a secret every thirty days.
func (w *account) schedule(arn, function string) {
	w.Helper()
	_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
		SecretId: &arn, RotationLambdaARN: aws.String(functionHead + function), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := w.sim.WaitRotation(context.Background(), arn); err != nil {
		w.Log(err) // of the function
	}
}

// function registers a function.
func (w *account) function(name string, c sim.Configuration, do func(step) error) {
	invoke := func(_ context.Context, payload []byte) ([]byte, string, error) {
		var e step
		if err := json.Unmarshal(payload, &e); err != nil {
			return nil, "", err
		}
		return []byte("null"), "", do(e)
	}
	w.sim.RegisterFunction(functionHead+name, lambdaFunction{invoke, c})
}

func nothing(step) error { return nil }

// rotates is a function that rotates a secret without a target.
func (w *account) rotates(e step) error { return rotateLikeTemplate(context.Background(), w.client, e) }

var kinds = []engine.Kind{
	{Names: []string{"postgres", "aurora-postgresql"}, CloneSuffix: "_clone"},
	{Names: []string{"mysql"}, CloneSuffix: "_clone"},
	{Names: []string{"generic"}},
	{Names: []string{"timestream-influxdb"}, SuperuserField: "adminSecretArn"},
}

func (w *account) list(f filter) []secret {
	w.Helper()
	secrets, err := listSecrets(w.Context(), w.client, f, w.clock.Now())
	if err != nil {
		w.Fatal(err)
	}
	if n, err := readFunctions(w.Context(), w.functions(mine), secrets); n > 0 || err != nil {
		w.Fatal(n, err)
	}
	return secrets
}
