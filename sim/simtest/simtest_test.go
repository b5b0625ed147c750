package simtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/sim"
	"example.com/rotator/sim/simtest"
)

// t is the example's testing.T. It prints what a test reports.
var t = &printing{}

type printing struct{ testing.TB }

func (*printing) Helper()                   {}
func (*printing) Cleanup(func())            {} // the process ends
func (*printing) Context() context.Context  { return context.Background() }
func (*printing) Error(args ...any)         { fmt.Println(args...) }
func (*printing) Errorf(f string, a ...any) { fmt.Printf(f+"\n", a...) }
func (*printing) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (*printing) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// recorder keeps what a server reports, for tests of the reports.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Errorf(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }

func TestRotation(t *testing.T) { testRotation(t) }

func TestAFailureIsRetriedAndReported(t *testing.T) {
	function := &rotation{}
	calls := 0
	r := &recorder{TB: t}
	s := simtest.StartWith(r, func(ctx context.Context, e simtest.Event) error {
		if e.Step == "setSecret" {
			if calls++; calls < 3 {
				return errors.New("the target is down")
			}
		}
		if lc, ok := lambdacontext.FromContext(ctx); !ok || lc.InvokedFunctionArn != simtest.Function {
			return errors.New("no Lambda context")
		}
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		return function.handle(ctx, e)
	}, sim.Options{MaxAttempts: 2})
	function.client = s.Client
	arn := s.Create("app", "one")
	before := s.Labels("app")
	begin := s.Clock.Now()
	if err := s.Rotate("app"); err == nil || !strings.Contains(err.Error(), "the target is down") ||
		!strings.Contains(err.Error(), "setSecret") {
		t.Errorf("got %v", err)
	}
	if waited := s.Clock.Now().Sub(begin); waited != 100*time.Second {
		t.Errorf("the clock has moved by %v", waited)
	}
	s.WantRotated(arn, before)
	s.WantLabels(arn, before)
	if len(r.said) != 2 || !strings.Contains(r.said[0], "is not rotated") ||
		!strings.Contains(r.said[1], "AWSPENDING") {
		t.Errorf("reported: %q", r.said)
	}
	failed := 0
	history, err := s.Sim.History("app")
	if err != nil {
		r.Fatal(err)
	}
	for _, p := range history {
		if p.Event == "RotationFailed" {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d failures in the history", failed)
	}
}

func TestHandlersThatEndBadly(t *testing.T) {
	for name, c := range map[string]struct {
		handler any
		options sim.Options
		want    string
	}{
		"panic": {func() { panic("no way") }, sim.Options{MaxAttempts: 1}, "no way"},
		"typed": {func() error {
			return messages.InvokeResponse_Error{Type: "Mine", Message: "said"}
		}, sim.Options{MaxAttempts: 1}, `"errorType":"Mine"`},
		"timeout": {func(ctx context.Context) {
			<-ctx.Done()
		}, sim.Options{MaxAttempts: 1}, "timed out"},
		"crash": {func(ctx context.Context) {
			<-ctx.Done()
		}, sim.Options{MaxAttempts: 1, Faults: sim.NewFaults(0, map[sim.Fault]float64{sim.Crash: 1})}, "signal: killed"},
		"invoker": {sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) {
			return []byte("mine"), "Unhandled", nil
		}), sim.Options{MaxAttempts: 1}, "mine"},
		"nothing": {func() {}, sim.Options{MaxAttempts: 1}, "is not AWSCURRENT"},
	} {
		t.Run(name, func(t *testing.T) {
			s := simtest.StartWith(t, c.handler, c.options)
			if name == "timeout" {
				s.Timeout = 10 * time.Millisecond
			}
			s.Create("app", "one")
			if err := s.Rotate("app"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
}

func TestTheEnvironmentLeadsToTheSimulator(t *testing.T) {
	t.Setenv("AWS_PROFILE", "mine")
	t.Setenv("AWS_SESSION_TOKEN", "mine")
	s := simtest.Start(t, func() {})
	s.Setenv()
	if os.Getenv("AWS_ENDPOINT_URL_STS") != s.URL {
		t.Error("no endpoint")
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN"} {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is %q, not absent", name, value)
		}
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	arn := s.Create("app", "one")
	out, err := secretsmanager.NewFromConfig(cfg).DescribeSecret(t.Context(),
		&secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil || *out.ARN != arn {
		t.Errorf("got %v, %v", out, err)
	}
}
