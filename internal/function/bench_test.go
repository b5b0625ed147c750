package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

// goal reports a figure and fails the benchmark if it exceeds the goal, which does not depend on the machine. A failed
// benchmark prints only its errors.
func goal(b *testing.B, figure float64, unit string, most float64) {
	b.Helper()
	b.ReportMetric(figure, unit)
	if figure > most {
		b.Errorf("%.2f %s; the goal is at most %.1f", figure, unit, most)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkStart measures how long a fresh process of the function takes to ask for its first event, compared with a
// bare function, and the function's size. It alternates between the two, so a busy machine slows both. The goal is at
// most 1.3 times the bare function.
func BenchmarkStart(b *testing.B) {
	binary, bare := built.Function(b), built.Command(b, "example.com/rotator/internal/dev/bare")
	ca, err := testserver.NewCA()
	if err != nil {
		b.Fatal(err)
	}
	env := []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=http://127.0.0.1:1", "CA_BUNDLE=" + string(ca.PEM)}
	start := func(binary string) (took time.Duration) {
		f, err := lambdasim.New(binary, lambdasim.Options{Env: env, Ready: func(d time.Duration) { took = d }})
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		if _, _, err := f.Invoke(b.Context(), []byte("0")); err != nil { // not an event: both return immediately
			b.Fatal(err)
		}
		return took
	}
	_, _ = start(binary), start(bare) // the first runs read the files from disk
	var ours, others []time.Duration
	for b.Loop() {
		ours, others = append(ours, start(binary)), append(others, start(bare))
	}
	slices.Sort(ours)
	slices.Sort(others)
	median := len(ours) / 2
	b.ReportMetric(0, "ns/op") // hide the average of both
	b.ReportMetric(ms(ours[0]), "fastest-ms")
	b.ReportMetric(ms(ours[median]), "median-ms")
	b.ReportMetric(ms(others[0]), "bare-fastest-ms")
	b.ReportMetric(ms(others[median]), "bare-median-ms")
	b.ReportMetric(ms(ours[median])/ms(others[median]), "times-bare")
	info, err := os.Stat(binary)
	if err != nil {
		b.Fatal(err)
	}
	goal(b, float64(info.Size())/1e6, "MB", 21.4)
}

// measured is the function's binary, with a real PostgreSQL and a simulated Secrets Manager.
type measured struct {
	*testing.B
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	client *secretsmanager.Client
	binary string
	env    []string
	calls  atomic.Int64
	slow   time.Duration // the duration of a call to Secrets Manager
}

func measure(b *testing.B, slow time.Duration) *measured {
	b.Helper()
	pg, err := testserver.StartPostgres(b.Context(), testserver.PostgresOptions{Config: "log_connections = on"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = pg.Stop() })
	m := &measured{B: b, pg: pg, sim: sim.New(sim.Options{MaxAttempts: 1}), binary: built.Function(b), slow: slow}
	handler := m.sim.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.calls.Add(1)
		time.Sleep(m.slow)
		handler.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	// The benchmark's calls do not count.
	direct := httptest.NewServer(handler)
	b.Cleanup(direct.Close)
	m.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: &direct.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	m.env = []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL, "CA_BUNDLE=" + pg.CAFile}
	return m
}

// function starts a fresh process.
func (m *measured) function() *lambdasim.Function {
	m.Helper()
	f, err := lambdasim.New(m.binary, lambdasim.Options{ARN: functionARN, Env: m.env})
	if err != nil {
		m.Fatal(err)
	}
	m.sim.RegisterFunction(functionARN, f)
	return f
}

// role creates a user of PostgreSQL and returns its secret's value.
func (m *measured) role() map[string]any {
	m.Helper()
	name := testserver.Unique("bench_")
	conn, err := pgx.Connect(m.Context(), m.pg.URL("postgres"))
	if err == nil {
		_, err = conn.Exec(m.Context(), "CREATE ROLE "+name+" LOGIN PASSWORD 'first-password'")
		_ = conn.Close(m.Context())
	}
	if err != nil {
		m.Fatal(err)
	}
	return m.value(name, "first-password")
}

func (m *measured) value(user, password string) map[string]any {
	return map[string]any{"engine": "postgres", "host": m.pg.Host, "port": m.pg.Port, "username": user,
		"password": password}
}

// secret creates a secret and returns its ARN.
func (m *measured) secret(value map[string]any) string {
	m.Helper()
	text, _ := json.Marshal(value) // texts and numbers never fail
	out, err := m.client.CreateSecret(m.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String(testserver.Unique("bench-")), SecretString: aws.String(string(text))})
	if err != nil {
		m.Fatal(err)
	}
	return *out.ARN
}

func (m *measured) rotate(arn string) {
	m.Helper()
	_, err := m.client.RotateSecret(m.Context(),
		&secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)})
	if err == nil {
		err = m.sim.WaitRotation(m.Context(), arn)
	}
	if err != nil {
		m.Fatal(err)
	}
}

func (m *measured) log() string {
	m.Helper()
	log, err := m.pg.Logs()
	if err != nil {
		m.Fatal(err)
	}
	return log
}

// BenchmarkRotation measures the rotations of new secrets, each in a fresh process.
func BenchmarkRotation(b *testing.B) {
	b.Run("single", func(b *testing.B) {
		m := measure(b, 0)
		m.rotations(12, 4, func() string { return m.secret(m.role()) })
	})
	b.Run("alternating", func(b *testing.B) {
		m := measure(b, 0)
		superuser := m.secret(m.value(m.pg.User, m.pg.Password))
		m.rotations(15, 5, func() string {
			value := m.role()
			value["masterarn"] = superuser
			return m.secret(value)
		})
	})
}

// rotations rotates a new secret for each iteration, and reports what a rotation costs.
func (m *measured) rotations(mostCalls, mostLogins float64, secret func() string) {
	var calls, logins, refused int
	var peak float64
	for m.Loop() {
		m.StopTimer()
		arn, f, before := secret(), m.function(), m.log()
		m.calls.Store(0)
		m.StartTimer()
		m.rotate(arn)
		m.StopTimer()
		calls += int(m.calls.Load())
		peak = max(peak, m.peakMemory())
		_ = f.Close()
		log := strings.TrimPrefix(m.log(), before)
		wrong := strings.Count(log, "password authentication failed")
		refused += wrong
		logins += wrong + strings.Count(log, "connection authorized:")
		m.StartTimer()
	}
	n := float64(m.N)
	goal(m.B, float64(calls)/n, "calls", mostCalls)
	goal(m.B, float64(logins)/n, "logins", mostLogins)
	goal(m.B, float64(refused)/n, "refused-logins", 0)
	goal(m.B, peak, "peak-MiB", 20)
}

// peakMemory returns the peak resident set in MiB of the function's running process. The rusage of an ended process
// would include that of this process, which started it.
func (m *measured) peakMemory() float64 {
	m.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		m.Fatal(err)
	}
	for _, link := range links {
		if path, _ := os.Readlink(link); path != m.binary {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(link), "status"))
		if err != nil {
			m.Fatal(err)
		}
		var kB float64
		_, text, _ := strings.Cut(string(status), "VmHWM:")
		if _, err := fmt.Sscan(text, &kB); err != nil {
			m.Fatal(err)
		}
		return kB / 1024
	}
	m.Fatal("the function's process has ended")
	return 0
}

// BenchmarkGap rotates a single user while a client logs in with AWSCURRENT over and over, and reports for how long the
// client was refused. Steps and calls take as long as on AWS. The goal is less than 100 ms.
func BenchmarkGap(b *testing.B) {
	m := measure(b, 20*time.Millisecond)
	f := m.function()
	defer f.Close()
	m.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			time.Sleep(500 * time.Millisecond)
			return f.Invoke(ctx, payload)
		}))
	var longest time.Duration
	for b.Loop() {
		arn := m.secret(m.role())
		rotated, watched := make(chan struct{}), make(chan time.Duration)
		go func() { watched <- m.watch(arn, rotated) }()
		m.rotate(arn)
		close(rotated)
		longest = max(longest, <-watched)
	}
	b.ReportMetric(ms(longest), "refused-ms")
}

// watch logs in with AWSCURRENT until the rotation has ended and a login is accepted. It returns the longest time
// without an accepted login.
func (m *measured) watch(arn string, rotated <-chan struct{}) (longest time.Duration) {
	since := time.Time{} // the start of the current run of refusals
	for {
		select {
		case <-rotated:
			if since.IsZero() {
				return longest
			}
		default:
		}
		switch accepted := m.opens(arn); {
		case m.Failed():
			return longest
		case !accepted && since.IsZero():
			since = time.Now()
		case accepted && !since.IsZero():
			longest = max(longest, time.Since(since))
			since = time.Time{}
		}
	}
}

// opens reports whether the server accepts AWSCURRENT.
func (m *measured) opens(arn string) bool {
	got, err := m.client.GetSecretValue(m.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	var v struct{ Username, Password string }
	if err == nil {
		err = json.Unmarshal([]byte(*got.SecretString), &v)
	}
	if err == nil {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(m.Context(), m.pg.URLFor(v.Username, v.Password, "postgres")); err == nil {
			return conn.Close(m.Context()) == nil
		}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "28P01" {
		m.Error(err)
	}
	return false
}
