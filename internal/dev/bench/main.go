// Command bench prints what a rotation costs: calls to Secrets Manager, logins to the server, and the function's start,
// memory and size. It uses the function's real binary and a real PostgreSQL, and compares the start with that of a bare
// function. It also prints what rotatorctl's commands cost for many secrets.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	err := run(ctx)
	if err == nil {
		err = fleet(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pg, err := testserver.StartPostgres(ctx, testserver.PostgresOptions{Config: "log_connections = on"})
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop() }()
	b := &bench{pg: pg, sim: sim.New(sim.Options{MaxAttempts: 1})}
	server := httptest.NewServer(b.count(b.sim.Handler()))
	defer server.Close()
	b.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: &server.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	if b.binary, err = filepath.Abs(filepath.Join("build", "bootstrap")); err != nil {
		return err
	}
	b.env = []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL, "CA_BUNDLE=" + pg.CAFile}

	bare, err := buildBare(ctx)
	if err != nil {
		return err
	}
	defer os.Remove(bare)
	starts, err := b.starts(ctx, 41, b.binary, bare)
	if err != nil {
		return err
	}
	single, err := b.rotation(ctx, "single")
	if err != nil {
		return err
	}
	pair, err := b.rotation(ctx, "alternating")
	if err != nil {
		return err
	}
	gap, err := b.gap(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PostgreSQL, happy path\tsingle user\talternating users\tgoal (single)")
	fmt.Fprintf(w, "calls of Secrets Manager\t%d\t%d\tat most 10\n", single.calls, pair.calls)
	fmt.Fprintf(w, "logins\t%d\t%d\tat most 4\n", single.logins, pair.logins)
	fmt.Fprintf(w, "of these refused\t%d\t%d\t0\n", single.refused, pair.refused)
	fmt.Fprintf(w, "whole rotation\t%s\t%s\t\n", ms(single.took), ms(pair.took))
	fmt.Fprintf(w, "clients refused, 500 ms between the steps, 20 ms a call\t%s\t\tunder 100 ms\n", ms(gap))
	fmt.Fprintf(w, "peak memory\t%.1f MiB\t%.1f MiB\tat most 20 MiB\n", single.memory, pair.memory)
	for i, name := range []string{"start to ready", "the same of a bare function"} {
		fmt.Fprintf(w, "%s, median of %d (fastest)\t%s (%s)\t\t\n", name, len(starts[i]), ms(median(starts[i])),
			ms(slices.Min(starts[i])))
	}
	fmt.Fprintf(w, "ratio of the two\t%.2f (%.2f)\t\tat most 1.3\n", ratio(median(starts[0]), median(starts[1])),
		ratio(slices.Min(starts[0]), slices.Min(starts[1])))
	fmt.Fprintf(w, "size of the function\t%.1f MB\t\tat most 21.4 MB\n", float64(info.Size())/1e6)
	return w.Flush()
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// bench is what all measurements share.
type bench struct {
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	client *secretsmanager.Client
	binary string
	env    []string

	mu    sync.Mutex
	calls int
	slow  time.Duration // the duration of a call, to measure the gap
}

// gap rotates a single user while a client logs in with AWSCURRENT without pause, and returns for how long the client
// was refused. Steps and calls take as long as on AWS.
func (b *bench) gap(ctx context.Context) (time.Duration, error) {
	f, err := lambdasim.New(b.binary, lambdasim.Options{ARN: functionARN, Env: b.env})
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			time.Sleep(500 * time.Millisecond)
			return f.Invoke(ctx, payload)
		}))
	conn, err := pgx.Connect(ctx, b.pg.URL("postgres"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE ROLE bench_gap LOGIN PASSWORD 'first-password'"); err != nil {
		return 0, err
	}
	arn, err := b.create(ctx, "gap", map[string]any{"engine": "postgres", "host": b.pg.Host, "port": b.pg.Port,
		"username": "bench_gap", "password": "first-password"})
	if err != nil {
		return 0, err
	}
	cfg, err := pgx.ParseConfig(b.pg.URL("postgres"))
	if err != nil {
		return 0, err
	}
	// The client's calls bypass the slow wire.
	reader := secretsmanager.New(b.client.Options(), func(o *secretsmanager.Options) {
		o.HTTPClient = &http.Client{Transport: direct{b.sim.Handler()}}
	})
	b.mu.Lock()
	b.slow = 20 * time.Millisecond
	b.mu.Unlock()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		longest time.Duration
		err     error
	}
	end := make(chan outcome, 1)
	go func() {
		var o outcome
		var since time.Time
		for o.err == nil && (watching.Err() == nil || !since.IsZero()) {
			var accepted bool
			accepted, o.err = opens(ctx, reader, arn, cfg)
			switch {
			case !accepted && since.IsZero():
				since = time.Now()
			case accepted && !since.IsZero():
				o.longest = max(o.longest, time.Since(since))
				since = time.Time{}
			}
		}
		end <- o
	}()
	if _, err := b.client.RotateSecret(ctx,
		&secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)}); err != nil {
		return 0, err
	}
	err = b.sim.WaitRotation(ctx, arn)
	stop()
	o := <-end
	b.mu.Lock()
	b.slow = 0
	b.mu.Unlock()
	return o.longest, errors.Join(err, o.err)
}

// opens reads AWSCURRENT and reports whether the server accepts it.
func opens(ctx context.Context, client *secretsmanager.Client, arn string, cfg *pgx.ConnConfig) (bool, error) {
	got, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return false, err
	}
	var v struct{ Username, Password string }
	if err := json.Unmarshal([]byte(*got.SecretString), &v); err != nil {
		return false, err
	}
	cfg = cfg.Copy()
	cfg.User, cfg.Password = v.Username, v.Password
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err == nil {
		return true, conn.Close(ctx)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "28P01" {
		return false, nil
	}
	return false, err
}

// direct answers requests with a handler.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// count counts the function's calls, which are those of the rotation.
func (b *bench) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.calls++
		slow := b.slow
		b.mu.Unlock()
		time.Sleep(slow)
		h.ServeHTTP(w, r)
	})
}

// buildBare builds the bare function with the Makefile's flags and returns its path.
func buildBare(ctx context.Context) (string, error) {
	path := filepath.Join("build", "bare")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w",
		"-o", path, "./internal/dev/bench/bare")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Abs(path)
}

// starts measures how long a fresh process of each binary takes to ask for its first event. It alternates between them,
// so a busy machine slows all of them. The first start of each, which reads the file from the disk, does not count.
func (b *bench) starts(ctx context.Context, n int, binaries ...string) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(binaries))
	for try := range n + 1 {
		for i, binary := range binaries {
			var took time.Duration
			f, err := lambdasim.New(binary, lambdasim.Options{Env: b.env, Ready: func(d time.Duration) { took = d }})
			if err != nil {
				return nil, err
			}
			_, _, err = f.Invoke(ctx, []byte("0")) // not an event, so either answers immediately
			f.Close()
			if err != nil {
				return nil, err
			}
			if try > 0 {
				times[i] = append(times[i], took)
			}
		}
	}
	return times, nil
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}

// cost is what one rotation took.
type cost struct {
	calls, logins, refused int
	took                   time.Duration
	memory                 float64 // MiB
}

// rotation rotates a new secret once, in a fresh process.
func (b *bench) rotation(ctx context.Context, strategy string) (cost, error) {
	var c cost
	f, err := lambdasim.New(b.binary, lambdasim.Options{ARN: functionARN, Env: b.env})
	if err != nil {
		return c, err
	}
	b.sim.RegisterFunction(functionARN, f)
	user := "bench_" + strategy
	conn, err := pgx.Connect(ctx, b.pg.URL("postgres"))
	if err != nil {
		return c, err
	}
	if _, err := conn.Exec(ctx, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-password'"); err != nil {
		return c, err
	}
	_ = conn.Close(ctx)
	value := map[string]any{"engine": "postgres", "host": b.pg.Host, "port": b.pg.Port, "username": user,
		"password": "first-password"}
	if strategy == "alternating" {
		if value["masterarn"], err = b.create(ctx, "superuser",
			map[string]any{"engine": "postgres", "host": b.pg.Host, "port": b.pg.Port, "username": b.pg.User,
				"password": b.pg.Password}); err != nil {
			return c, err
		}
	}
	arn, err := b.create(ctx, strategy, value)
	if err != nil {
		return c, err
	}
	before, err := b.pg.Logs()
	if err != nil {
		return c, err
	}
	b.mu.Lock()
	b.calls = 0
	b.mu.Unlock()
	begin := time.Now()
	if _, err := b.client.RotateSecret(ctx,
		&secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)}); err != nil {
		return c, err
	}
	if err := b.sim.WaitRotation(ctx, arn); err != nil {
		return c, err
	}
	c.took = time.Since(begin)
	b.mu.Lock()
	c.calls = b.calls - 1 // without the call of RotateSecret above
	b.mu.Unlock()
	c.memory, err = peakMemory(b.binary)
	f.Close()
	if err != nil {
		return c, err
	}
	log, err := b.pg.Logs()
	if err != nil {
		return c, err
	}
	log = strings.TrimPrefix(log, before)
	c.logins = strings.Count(log, "connection authorized:") + strings.Count(log, "password authentication failed")
	c.refused = strings.Count(log, "password authentication failed")
	return c, nil
}

// peakMemory returns the peak resident set in MiB of a running process of the binary. The rusage of an ended process
// would include that of this process, which started it.
func peakMemory(binary string) (float64, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if path, _ := os.Readlink(link); path != binary {
			continue
		}
		kB, err := residentSet(filepath.Dir(link))
		return kB / 1024, err
	}
	return 0, fmt.Errorf("no process of %s is running", binary)
}

// residentSet returns the peak resident set in kB of the process with this directory in /proc.
func residentSet(process string) (kB float64, err error) {
	status, err := os.ReadFile(filepath.Join(process, "status"))
	if err != nil {
		return 0, err
	}
	_, text, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(text, &kB)
	return kB, err
}

func (b *bench) create(ctx context.Context, name string, value map[string]any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	out, err := b.client.CreateSecret(ctx,
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(text))})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ARN), nil
}
