package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/sim"
)

// BenchmarkFleet measures commands for a thousand and for ten thousand secrets. A hundred functions rotate them; half
// are functions of an AWS template. It reports the calls to AWS, including those of the functions, the peak memory, and
// the most rotations begun and labels and values written in any one second.
func BenchmarkFleet(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "rotatorctl")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	fleets := map[int]*fleet{1000: nil, 10000: nil}
	for n := range fleets {
		fleets[n] = newFleet(b, n)
	}
	for _, command := range []string{"list", "list --migrate", "check --name s", "rotate --name s --yes"} {
		for _, n := range []int{1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(command, " ", ""), n), func(b *testing.B) {
				f := fleets[n]
				var peak float64
				f.calls = nil
				for b.Loop() {
					peak = max(peak, f.run(b, binary, command))
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				b.ReportMetric(float64(len(f.calls))/float64(b.N), "calls/op")
				b.ReportMetric(peak, "peak-MiB")
				b.ReportMetric(most(f.calls, "RotateSecret"), "begun/s")
				b.ReportMetric(most(f.calls, "PutSecretValue", "UpdateSecretVersionStage"), "written/s")
			})
		}
	}
}

// fleet is a simulator with many secrets.
type fleet struct {
	url string

	mu    sync.Mutex
	calls []call
}

// call is one call to Secrets Manager or Lambda.
type call struct {
	at        time.Time
	operation string
}

// most returns the most calls of some operations in any one second.
func most(calls []call, operations ...string) float64 {
	var window []time.Time
	peak := 0
	for _, c := range calls {
		if slices.Contains(operations, c.operation) {
			window = append(window, c.at)
		}
		for len(window) > 0 && c.at.Sub(window[0]) >= time.Second {
			window = window[1:]
		}
		peak = max(peak, len(window))
	}
	return float64(peak)
}

// configured is a rotation function with a configuration.
type configured struct {
	sim.InvokerFunc
	configuration sim.Configuration
}

func (c configured) Configuration() sim.Configuration { return c.configuration }

// direct passes requests directly to a handler.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// newFleet creates n secrets for the engine generic.
func newFleet(b *testing.B, n int) *fleet {
	b.Helper()
	ctx := b.Context()
	s := sim.New(sim.Options{MaxAttempts: 1, History: 8})
	f := &fleet{}
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/history/") { // a path of the simulator only
			f.mu.Lock()
			f.calls = append(f.calls, call{time.Now(), strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")})
			f.mu.Unlock()
		}
		s.Handler().ServeHTTP(w, r)
	})
	server := httptest.NewServer(counted)
	b.Cleanup(server.Close)
	f.url = server.URL
	client := func(h http.Handler) *secretsmanager.Client {
		return secretsmanager.New(secretsmanager.Options{
			Region: "us-east-1", HTTPClient: &http.Client{Transport: direct{h}},
			Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
		})
	}
	rotator, writer := client(counted), client(s.Handler())
	invoke := func(ctx context.Context, payload []byte) ([]byte, string, error) {
		return []byte("null"), "", rotate(ctx, rotator, payload)
	}
	const functions = 100
	arn := func(i int) string {
		return fmt.Sprintf("arn:aws:lambda:us-east-1:123456789012:function:rotator-%03d", i%functions)
	}
	for i := range functions {
		c := sim.Configuration{Runtime: "provided.al2023", Handler: "bootstrap"}
		if i%2 == 0 {
			c = sim.Configuration{Runtime: "python3.12", Handler: "lambda_function.lambda_handler",
				Description: "SecretsManagerRDSMySQLRotationSingleUser"}
		}
		s.RegisterFunction(arn(i), configured{invoke, c})
	}
	for i := range n {
		out, err := writer.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
			Name: aws.String(fmt.Sprintf("s%05d", i)), SecretString: aws.String("first-password"),
			Tags: []types.Tag{{Key: aws.String("rotator:engine"), Value: aws.String("generic")}},
		})
		if err != nil {
			b.Fatal(err)
		}
		_, err = writer.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId: out.ARN, RotationLambdaARN: aws.String(arn(i)), RotateImmediately: aws.Bool(false),
			RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		})
		if err == nil {
			err = s.WaitRotation(ctx, *out.ARN)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// rotate performs the writes of a rotation.
func rotate(ctx context.Context, client *secretsmanager.Client, payload []byte) error {
	var e struct{ Step, SecretId, ClientRequestToken string }
	if err := json.Unmarshal(payload, &e); err != nil {
		return err
	}
	switch e.Step {
	case "createSecret":
		_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken,
			SecretString: aws.String("for " + e.ClientRequestToken), VersionStages: []string{"AWSPENDING"},
		})
		return err
	case "finishSecret":
		v, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId})
		if err != nil {
			return err
		}
		_, err = client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"),
			MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: v.VersionId,
		})
		return err
	}
	return nil
}

// run runs a command and returns its peak resident set in MiB. The rusage of an ended process would include that of
// this process, which started it, so run reads the maximum that the kernel keeps until the process ends.
func (f *fleet) run(b *testing.B, binary, arguments string) (peak float64) {
	b.Helper()
	c := exec.CommandContext(b.Context(), binary, append(strings.Fields(arguments), "--json")...)
	c.Env = []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + f.url, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "HOME=" + os.Getenv("HOME")}
	var stderr strings.Builder
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid)); err == nil {
			_, text, _ := strings.Cut(string(status), "VmHWM:")
			_, _ = fmt.Sscan(text, &peak) // an ending process has none
		}
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("%s: %v\n%s", arguments, err, &stderr)
			}
			return peak / 1024
		case <-time.After(5 * time.Millisecond):
		}
	}
}
