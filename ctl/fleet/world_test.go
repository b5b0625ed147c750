package fleet

import (
	"context"
	"encoding/json"
	"fmt"
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
	mine    = "123456789012"
	theirs  = "210987654321"
	arnHead = "arn:aws:lambda:us-east-1:" + mine + ":function:"
)

// world is a simulator and a client of the real SDK.
type world struct {
	*testing.T
	sim    *sim.Sim
	clock  *sim.ManualClock
	client *secretsmanager.Client
	direct doer // calls the simulator without a connection, which could be reset under load

	mu    sync.Mutex
	calls map[string]int // by operation
}

func newWorld(t *testing.T, o sim.Options) *world {
	t.Helper()
	w := &world{T: t, calls: make(map[string]int)}
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

func (w *world) as(account string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String("http://simulator"), HTTPClient: w.direct, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account, "x", ""),
	})
}

func (w *world) functions(account string) *lambda.Client {
	return lambda.New(lambda.Options{
		BaseEndpoint: aws.String("http://simulator"), HTTPClient: w.direct, Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account, "x", ""),
	})
}

// count returns the number of calls of an operation since the last count.
func (w *world) count(operation string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.calls[operation]
	delete(w.calls, operation)
	return n
}

// secret creates a secret with tags, given as KEY, VALUE, ..., and returns its ARN.
func (w *world) secret(name, value string, tags ...string) string {
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
func (w *world) schedule(arn, function string) {
	w.Helper()
	_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
		SecretId: &arn, RotationLambdaARN: aws.String(arnHead + function), RotateImmediately: aws.Bool(false),
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
func (w *world) function(name string, c sim.Configuration, do func(step) error) {
	w.sim.RegisterFunction(arnHead+name, registered{c, do})
}

type step struct{ Step, SecretId, ClientRequestToken string }

type registered struct {
	configuration sim.Configuration
	do            func(step) error
}

func (f registered) Configuration() sim.Configuration { return f.configuration }

func (f registered) Invoke(_ context.Context, payload []byte) ([]byte, string, error) {
	var e step
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, "", err
	}
	return []byte("null"), "", f.do(e)
}

func nothing(step) error { return nil }

// rotates is a function that rotates a secret without a target.
func (w *world) rotates(e step) error {
	ctx := context.Background()
	switch e.Step {
	case "createSecret":
		_, err := w.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken,
			SecretString:  aws.String(fmt.Sprintf(`{"password":"for %s"}`, e.ClientRequestToken)),
			VersionStages: []string{"AWSPENDING"},
		})
		return err
	case "finishSecret":
		v, err := w.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId})
		if err != nil {
			return err
		}
		_, err = w.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"),
			MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: v.VersionId,
		})
		return err
	}
	return nil
}

var kinds = []engine.Kind{
	{Names: []string{"postgres", "aurora-postgresql"}, CloneSuffix: "_clone"},
	{Names: []string{"mysql"}, CloneSuffix: "_clone"},
	{Names: []string{"generic"}},
	{Names: []string{"timestream-influxdb"}, SuperuserField: "adminSecretArn"},
}

func (w *world) list(f Filter) Listing {
	w.Helper()
	l, err := List(w.Context(), w.client, f, w.clock.Now())
	if n, err := l.ReadFunctions(w.Context(), w.functions); n > 0 {
		w.Fatal(err)
	}
	if err != nil {
		w.Fatal(err)
	}
	return l
}
