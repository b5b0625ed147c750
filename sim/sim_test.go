package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
)

const lambda = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

var begin = time.Date(2026, 2, 3, 10, 30, 0, 0, time.UTC)

// bench is a service with a clock that the test moves, and a client of the real SDK.
type bench struct {
	*testing.T
	*Sim
	clock  *ManualClock
	url    string
	server *httptest.Server
	client *sm.Client
	traced []Progress // guarded by the Sim's lock
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{T: t, clock: NewManualClock(begin)}
	if o.Clock == nil {
		o.Clock = b.clock
	}
	if o.Trace == nil {
		o.Trace = func(p Progress) { b.traced = append(b.traced, p) }
	}
	b.Sim = New(o)
	server := httptest.NewServer(b.Sim.Handler())
	t.Cleanup(server.Close)
	b.url, b.server = server.URL, server
	b.client = b.as("test")
	return b
}

// trace returns all steps and events as JSON.
func (b *bench) trace() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := json.Marshal(b.traced)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// as returns a client with an access key. It does not retry: tests see every response.
func (b *bench) as(key string) *sm.Client {
	return sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

// patient makes the SDK retry without pauses.
func patient(o *sm.Options) {
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.RateLimiter = 20, ratelimit.None
		r.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

// count returns how many secrets the default account has.
func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.secrets)
}

// id returns a token of the length that the API requires.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

var ctx = context.Background()

// create creates a secret with version id(1).
func (b *bench) create(name string) string {
	b.Helper()
	out, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: &name, SecretString: aws.String("one"), ClientRequestToken: aws.String(id(1)),
	})
	if err != nil {
		b.Fatal(err)
	}
	return *out.ARN
}

// put stores a value under id(n).
func (b *bench) put(name string, n int, value string, labels ...string) []string {
	b.Helper()
	out, err := b.client.PutSecretValue(ctx, &sm.PutSecretValueInput{
		SecretId: &name, SecretString: &value, ClientRequestToken: aws.String(id(n)), VersionStages: labels,
	})
	if err != nil {
		b.Fatal(err)
	}
	return out.VersionStages
}

// stages returns the labels of each version, such as "1:[AWSCURRENT] 2:[AWSPENDING]".
func (b *bench) stages(name string) string {
	b.Helper()
	out, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &name})
	if err != nil {
		b.Fatal(err)
	}
	var all []string
	for v, l := range out.VersionIdsToStages {
		slices.Sort(l)
		n := strings.TrimLeft(v[len(v)-12:], "0")
		all = append(all, fmt.Sprint(n, ":", l))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (b *bench) wantStages(name, want string) {
	b.Helper()
	if got := b.stages(name); got != want {
		b.Errorf("the labels are\n%s\nnot\n%s", got, want)
	}
}

// refused fails the test unless err is an API error with this code and a text that begins with text.
func refused(t testing.TB, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, not %s: %s", err, code, text)
	}
	if api.ErrorCode() != code || !strings.HasPrefix(api.ErrorMessage(), text) {
		t.Fatalf("got %s: %q, not %s: %q", api.ErrorCode(), api.ErrorMessage(), code, text)
	}
}

// request is what Secrets Manager sends to a function.
type request struct{ Step, SecretId, ClientRequestToken, RotationToken string }

// function returns a rotation function that treats the secret as AWS's template does, without a
// target. It first calls each, which may fail the invocation.
func (b *bench) function(each func(request) error) InvokerFunc {
	return func(ctx context.Context, payload []byte) ([]byte, string, error) {
		var r request
		if err := json.Unmarshal(payload, &r); err != nil {
			return nil, "", err
		}
		err := each(r)
		if err == nil {
			err = b.template(ctx, b.client, r, "")
		}
		if err != nil {
			body, _ := json.Marshal(map[string]string{"errorType": "Error", "errorMessage": err.Error()})
			return body, "Unhandled", nil
		}
		return []byte("null"), "", nil
	}
}

func (b *bench) template(ctx context.Context, c *sm.Client, r request, proof string) error {
	switch r.Step {
	case "createSecret":
		_, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{
			SecretId: &r.SecretId, VersionId: &r.ClientRequestToken, VersionStage: aws.String(pending),
		})
		if err == nil {
			return nil
		}
		in := &sm.PutSecretValueInput{
			SecretId: &r.SecretId, ClientRequestToken: &r.ClientRequestToken,
			SecretString: aws.String("made for " + r.ClientRequestToken), VersionStages: []string{pending},
		}
		if proof != "" {
			in.RotationToken = &proof
		}
		_, err = c.PutSecretValue(ctx, in)
		return err
	case "finishSecret":
		d, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &r.SecretId})
		if err != nil {
			return err
		}
		for v, l := range d.VersionIdsToStages {
			if slices.Contains(l, current) && v != r.ClientRequestToken {
				_, err = c.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{
					SecretId: &r.SecretId, VersionStage: aws.String(current), MoveToVersionId: &r.ClientRequestToken,
					RemoveFromVersionId: &v,
				})
			}
		}
		return err
	}
	return nil
}

// rotate starts a rotation with token id(n).
func (b *bench) rotate(name string, n int, change ...func(*sm.RotateSecretInput)) error {
	in := &sm.RotateSecretInput{
		SecretId: &name, ClientRequestToken: aws.String(id(n)), RotationLambdaARN: aws.String(lambda),
	}
	for _, f := range change {
		f(in)
	}
	_, err := b.client.RotateSecret(ctx, in)
	return err
}

// settle moves the clock by d, which also waits for everything that runs.
func (b *bench) settle(d time.Duration) {
	b.clock.Advance(d)
}

func TestTheSimulatorDoesNotImportTheRotationFunction(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(out)) {
		if strings.HasPrefix(name, "example.com/rotator/rotation") ||
			strings.HasPrefix(name, "example.com/rotator/cmd") {
			t.Errorf("the simulator needs %s", strings.TrimSpace(name))
		}
	}
}
