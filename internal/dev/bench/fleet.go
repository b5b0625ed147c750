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
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/sim"
)

// fleet prints what rotatorctl's commands cost for a thousand and for ten thousand secrets. A hundred functions rotate
// them, half of them functions of an AWS template.
func fleet(ctx context.Context) error {
	commands := []string{"list", "list --migrate", "check --name s", "rotate --name s --yes"}
	sizes := []int{1000, 10000}
	costs := make(map[string][]work)
	for _, n := range sizes {
		f := &fleetBench{sim: sim.New(sim.Options{MaxAttempts: 1, History: 8})}
		if err := f.fill(ctx, n); err != nil {
			return err
		}
		server := httptest.NewServer(f.count(f.sim.Handler()))
		for _, command := range commands {
			w, err := f.run(ctx, server.URL, command)
			if err != nil {
				server.Close()
				return fmt.Errorf("rotatorctl %s, %d secrets: %w", command, n, err)
			}
			costs[command] = append(costs[command], w)
		}
		server.Close()
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "rotatorctl\tsecrets\tcalls\ttime\tmemory\tbegun and written in a second, at most")
	for _, command := range commands {
		for i, c := range costs[command] {
			fmt.Fprintf(w, "%s\t%d\t%d\t%.1f s\t%.1f MiB\t%d, %d\n",
				command, sizes[i], c.calls, c.took.Seconds(), c.memory, c.rotations, c.writes)
		}
		a, b := costs[command][0], costs[command][1]
		fmt.Fprintf(w, "\tgrowth\t%.1f\t%.1f\t%.1f\t\n",
			float64(b.calls)/float64(a.calls), b.took.Seconds()/a.took.Seconds(), b.memory/a.memory)
	}
	return w.Flush()
}

// fleetBench is a simulator with many secrets.
type fleetBench struct {
	sim *sim.Sim

	mu    sync.Mutex
	calls []call
}

// call is one call to Secrets Manager or Lambda.
type call struct {
	at        time.Time
	operation string
}

// work is what a command took.
type work struct {
	calls             int
	took              time.Duration
	memory            float64 // MiB
	rotations, writes int     // in a second, at most
}

// configured is a rotation function with a configuration.
type configured struct {
	sim.InvokerFunc
	configuration sim.Configuration
}

func (c configured) Configuration() sim.Configuration { return c.configuration }

// fill creates the secrets, for the engine generic. It calls the simulator directly.
func (f *fleetBench) fill(ctx context.Context, n int) error {
	at := func(h http.Handler) *secretsmanager.Client {
		return secretsmanager.New(secretsmanager.Options{
			Region: "us-east-1", HTTPClient: &http.Client{Transport: direct{h}},
			Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
		})
	}
	counted := at(f.count(f.sim.Handler()))
	const functions = 100
	arn := func(i int) string { return fmt.Sprintf("%s-%03d", functionARN, i%functions) }
	for i := range functions {
		c := sim.Configuration{Runtime: "provided.al2023", Handler: "bootstrap"}
		if i%2 == 0 {
			c = sim.Configuration{Runtime: "python3.12", Handler: "lambda_function.lambda_handler",
				Description: "SecretsManagerRDSMySQLRotationSingleUser"}
		}
		f.sim.RegisterFunction(arn(i), configured{func(ctx context.Context, payload []byte) ([]byte, string, error) {
			return []byte("null"), "", rotate(ctx, counted, payload)
		}, c})
	}
	client := at(f.sim.Handler())
	for i := range n {
		out, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
			Name: aws.String(fmt.Sprintf("s%05d", i)), SecretString: aws.String("first-password"),
			Tags: []types.Tag{{Key: aws.String("rotator:engine"), Value: aws.String("generic")}},
		})
		if err != nil {
			return err
		}
		if _, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId: out.ARN, RotationLambdaARN: aws.String(arn(i)), RotateImmediately: aws.Bool(false),
			RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		}); err != nil {
			return err
		}
		if err := f.sim.WaitRotation(ctx, *out.ARN); err != nil {
			return err
		}
	}
	return nil
}

// rotate makes the writes of a rotation.
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

// count records each call.
func (f *fleetBench) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/history/") { // a path of the simulator only
			operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
			f.mu.Lock()
			f.calls = append(f.calls, call{time.Now(), operation})
			f.mu.Unlock()
		}
		h.ServeHTTP(w, r)
	})
}

// run runs rotatorctl and measures it. The calls include those of the functions.
func (f *fleetBench) run(ctx context.Context, url, arguments string) (work, error) {
	f.calls = nil
	binary, err := filepath.Abs(filepath.Join("build", "rotatorctl"))
	if err != nil {
		return work{}, err
	}
	c := exec.CommandContext(ctx, binary, append(strings.Fields(arguments), "--json")...)
	c.Env = []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + url, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "HOME=" + os.Getenv("HOME")}
	var stderr strings.Builder
	c.Stderr = &stderr
	begin := time.Now()
	if err := c.Start(); err != nil {
		return work{}, err
	}
	stop, peak := make(chan struct{}), make(chan float64)
	go func() { peak <- watch(c.Process.Pid, stop) }()
	err = c.Wait()
	w := work{took: time.Since(begin)}
	close(stop)
	w.memory = <-peak
	if err != nil {
		return w, fmt.Errorf("%w\n%s", err, &stderr)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.rotations = most(f.calls, "RotateSecret")
	w.writes = most(f.calls, "PutSecretValue", "UpdateSecretVersionStage")
	w.calls = len(f.calls)
	return w, nil
}

// watch returns the largest resident set in MiB that a process has until stop is closed. The kernel keeps the maximum,
// so only what happens after the last reading is missed.
func watch(pid int, stop <-chan struct{}) (peak float64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if kB, err := residentSet(fmt.Sprintf("/proc/%d", pid)); err == nil {
			peak = kB / 1024
		}
		select {
		case <-stop:
			return peak
		case <-tick.C:
		}
	}
}

// most returns the most calls of some operations in any one second.
func most(calls []call, operations ...string) (peak int) {
	var window []time.Time
	for _, c := range calls {
		for _, o := range operations {
			if c.operation == o {
				window = append(window, c.at)
			}
		}
		for len(window) > 0 && c.at.Sub(window[0]) >= time.Second {
			window = window[1:]
		}
		peak = max(peak, len(window))
	}
	return peak
}
