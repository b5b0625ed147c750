// Package simtest runs a rotation function against a simulated AWS Secrets Manager inside a Go test, similar to
// net/http/httptest. The clock moves only when the test moves it: a year of rotations takes milliseconds.
package simtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/sim"
)

const (
	region  = "us-east-1"
	account = "123456789012"
	// Function is the ARN of the function that Start registers.
	Function = "arn:aws:lambda:" + region + ":" + account + ":function:rotation"
)

// Event is what Secrets Manager passes to a rotation function.
type Event struct {
	Step, ClientRequestToken, RotationToken string
	SecretID                                string `json:"SecretId"`
}

// Server is a simulator that runs for the duration of a test.
type Server struct {
	URL    string // the endpoint of Secrets Manager and STS
	Client *secretsmanager.Client
	// Clock is the simulator's clock, which starts on 2026-01-01. Advance moves it and waits for all rotations that fall
	// due on the way.
	Clock   *sim.ManualClock
	Sim     *sim.Sim      // for registering more functions, roles and policies
	Timeout time.Duration // of functions, in real time; by default a minute

	t     testing.TB
	retry time.Duration
}

// Start starts a simulator whose rotation function is handler: any function that lambda.Start
// accepts, a lambda.Handler, or a sim.Invoker. The simulator stops when the test ends.
func Start(t testing.TB, handler any) *Server { return StartWith(t, handler, sim.Options{}) }

// StartWith is Start with options, except the region, the account and the clock.
func StartWith(t testing.TB, handler any, o sim.Options) *Server {
	t.Helper()
	clock := sim.NewManualClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	o.Clock, o.Region, o.Account, o.RetryDelay = clock, region, account, cmp.Or(o.RetryDelay, 100*time.Second)
	s := &Server{Clock: clock, Sim: sim.New(o), Timeout: time.Minute, t: t, retry: o.RetryDelay}
	server := httptest.NewServer(s.Sim.Handler())
	t.Cleanup(func() {
		s.Sim.Stop()
		server.Close()
	})
	s.URL = server.URL
	s.Client = secretsmanager.NewFromConfig(s.Config())
	invoker, ok := handler.(sim.Invoker)
	if !ok {
		invoker = &function{s, lambda.NewHandler(handler)}
	}
	s.Sim.RegisterFunction(Function, invoker)
	return s
}

// Config returns a configuration whose clients call the simulator.
func (s *Server) Config() aws.Config {
	return aws.Config{Region: region, BaseEndpoint: &s.URL,
		Credentials: credentials.NewStaticCredentialsProvider(account, "simulated", "")}
}

// Setenv sets the environment variables that point every AWS SDK and the AWS CLI at the simulator, for a function that
// loads its configuration from the environment. Like testing.T.Setenv, it cannot be used in parallel tests.
func (s *Server) Setenv() {
	s.t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.URL, "AWS_ENDPOINT_URL_STS": s.URL, "AWS_REGION": region,
		"AWS_DEFAULT_REGION": region, "AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "simulated",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
	} {
		s.t.Setenv(name, value) // which also restores it
		if value == "" {        // botocore takes an empty AWS_PROFILE for a profile's name
			_ = os.Unsetenv(name)
		}
	}
}

// Create creates a secret and returns its ARN.
func (s *Server) Create(name, value string) string {
	s.t.Helper()
	out, err := s.Client.CreateSecret(s.t.Context(),
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		s.t.Fatalf("simtest: create %s: %v", name, err)
	}
	return aws.ToString(out.ARN)
}

// Rotate rotates a secret with its configured function, or with Function, and waits for the end,
// moving the clock between attempts. It returns the error of the last attempt.
func (s *Server) Rotate(secret string) error {
	s.t.Helper()
	arn := Function
	if set := aws.ToString(s.describe(secret).RotationLambdaARN); set != "" {
		arn = set
	}
	if _, err := s.Client.RotateSecret(s.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &secret, RotationLambdaARN: &arn,
	}); err != nil {
		return err
	}
	return s.Wait(secret)
}

// Wait waits until no rotation of a secret is running, moving the clock between attempts, and returns the error of the
// last attempt.
func (s *Server) Wait(secret string) error {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		s.Clock.Advance(0)
		if err := s.Sim.WaitRotation(over, secret); !errors.Is(err, context.Canceled) {
			return err
		}
		s.Clock.Advance(s.retry)
	}
}

// Labels returns the version of each staging label of a secret.
func (s *Server) Labels(secret string) map[string]string {
	s.t.Helper()
	labels := make(map[string]string)
	for version, attached := range s.describe(secret).VersionIdsToStages {
		for _, l := range attached {
			labels[l] = version
		}
	}
	return labels
}

// WantLabels reports an error unless a secret has exactly these labels on the given versions.
func (s *Server) WantLabels(secret string, want map[string]string) {
	s.t.Helper()
	if got := s.Labels(secret); !maps.Equal(got, want) {
		s.t.Errorf("simtest: %s has the labels %v, want %v", secret, got, want)
	}
}

// WantRotated reports an error unless a rotation has completed since before, the result of an earlier call of Labels:
// AWSCURRENT is on a new version, AWSPREVIOUS is where AWSCURRENT was, and AWSPENDING is gone or on AWSCURRENT.
func (s *Server) WantRotated(secret string, before map[string]string) {
	s.t.Helper()
	got := s.Labels(secret)
	pending, ok := got["AWSPENDING"]
	if got["AWSCURRENT"] == before["AWSCURRENT"] || got["AWSPREVIOUS"] != before["AWSCURRENT"] ||
		ok && pending != got["AWSCURRENT"] {
		s.t.Errorf("simtest: %s is not rotated: its labels are %v, and were %v", secret, got, before)
	}
}

// Value returns the value of the version with a label.
func (s *Server) Value(secret, label string) string {
	s.t.Helper()
	out, err := s.Client.GetSecretValue(s.t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: &secret, VersionStage: &label})
	if err != nil {
		s.t.Fatalf("simtest: get %s of %s: %v", label, secret, err)
	}
	if out.SecretBinary != nil {
		return string(out.SecretBinary)
	}
	return aws.ToString(out.SecretString)
}

func (s *Server) describe(secret string) *secretsmanager.DescribeSecretOutput {
	s.t.Helper()
	out, err := s.Client.DescribeSecret(s.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &secret})
	if err != nil {
		s.t.Fatalf("simtest: describe %s: %v", secret, err)
	}
	return out
}

// function is a handler in this process, so it cannot be killed. On a timeout or a Crash fault, its context ends, its
// result is ignored, and the rotation waits until it returns.
type function struct {
	server  *Server
	handler lambda.Handler
}

// Invoke implements sim.Invoker.
func (f *function) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.server.Timeout)
	defer cancel()
	request := uuid.NewString()
	defer func() {
		if p := recover(); p != nil {
			body, functionError, err = sim.Failed(fmt.Sprintf("%T", p), fmt.Sprint(p))
		}
	}()
	body, err = f.handler.Invoke(lambdacontext.NewContext(ctx,
		&lambdacontext.LambdaContext{AwsRequestID: request, InvokedFunctionArn: Function}), payload)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return sim.Failed("Sandbox.Timedout", "RequestId: "+request+" Error: Task timed out")
	case ctx.Err() != nil:
		return sim.Failed("Runtime.ExitError", "RequestId: "+request+" Error: Runtime exited with error: signal: killed")
	case err == nil:
		return body, "", nil
	}
	if response, ok := errors.AsType[messages.InvokeResponse_Error](err); ok {
		return sim.Failed(response.Type, response.Message)
	}
	kind := reflect.TypeOf(err)
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	return sim.Failed(kind.Name(), err.Error())
}
