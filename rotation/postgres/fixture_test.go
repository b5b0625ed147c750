package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/postgres"
	"example.com/rotator/sim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// world is a PostgreSQL server, a simulated Secrets Manager, and the machine with the engine between them, all in
// this process except the server.
type world struct {
	t      *testing.T
	pg     *testserver.PostgresServer
	client *secretsmanager.Client
	sim    *sim.Sim
	tls    engine.TLSPolicy
	env    map[string]string
	limit  time.Duration // of one step
	// interrupt is a step that fails before it runs.
	interrupt rotation.Step
	// topology, if set, is what RDS returns about hosts.
	topology rotation.Topology
	log      *buffer
	mu       sync.Mutex
	last     error // of the last step
}

// buffer is a log that several rotations write to.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}

func newWorld(t *testing.T, pg *testserver.PostgresServer) *world {
	t.Helper()
	w := &world{t: t, pg: pg, env: map[string]string{}, limit: 20 * time.Second, log: new(buffer), tls: engine.TLSPolicy{ExtraCAs: pg.CA.PEM}}
	w.sim = sim.New(sim.Options{MaxAttempts: 1})
	server := httptest.NewServer(w.sim.Handler())
	t.Cleanup(server.Close)
	w.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	w.sim.RegisterFunction(functionARN, sim.InvokerFunc(w.invoke))
	return w
}

func (w *world) invoke(ctx context.Context, payload []byte) ([]byte, string, error) {
	var e rotation.Event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, "", err
	}
	err := w.handle(ctx, e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last = err; err != nil {
		return []byte(err.Error()), "Unhandled", nil
	}
	return []byte("null"), "", nil
}

func (w *world) handle(ctx context.Context, e rotation.Event) error {
	if e.Step == w.interrupt {
		return errors.New("interrupted by the test")
	}
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	return w.rotator().Handle(ctx, e)
}

func (w *world) rotator() *rotation.Rotator {
	r, err := rotation.New(rotation.Config{
		Engines:  []engine.Engine{postgres.New(w.tls)},
		Secrets:  func(context.Context, string) (*secretsmanager.Client, error) { return w.client, nil },
		Getenv:   func(name string) string { return w.env[name] },
		Log:      slog.New(slog.NewJSONHandler(w.log, nil)),
		Topology: w.topology,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// countCalls counts the function's calls to Secrets Manager from now on.
func (w *world) countCalls() func() int {
	var n atomic.Int64
	counted := w.client
	w.client = secretsmanager.New(counted.Options(), func(o *secretsmanager.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			return s.Finalize.Add(middleware.FinalizeMiddlewareFunc("count", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				if middleware.GetOperationName(ctx) != "RotateSecret" {
					n.Add(1)
				}
				return next.HandleFinalize(ctx, in)
			}), middleware.Before)
		})
	})
	return func() int { return int(n.Load()) }
}

// tags builds tags from pairs of strings.
func tags(pairs ...string) []types.Tag {
	var out []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return out
}

// role creates a login with a new name and returns the name and password.
func (w *world) role(attributes string) (name, password string) {
	w.t.Helper()
	name, password = testserver.Unique("app_"), "first-Passw0rd-"+testserver.Unique("")
	w.sql("CREATE ROLE %I LOGIN PASSWORD %L "+attributes, name, password)
	return name, password
}

// sql runs statements as the administrator; %I and %L are quoted by the server.
func (w *world) sql(format string, args ...string) {
	w.t.Helper()
	conn := w.pg.Connect(w.t, "postgres")
	defer conn.Close(context.Background())
	var statement string
	if err := conn.QueryRow(context.Background(), "SELECT format($1, VARIADIC $2::text[])", format, args).Scan(&statement); err != nil {
		w.t.Fatal(err)
	}
	if _, err := conn.Exec(context.Background(), statement); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// value returns a secret's value; pairs override or add fields, whose values are JSON, and "" removes one.
func (w *world) value(user, password string, pairs ...string) string {
	q := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	fields := map[string]string{"engine": `"postgres"`, "host": q(w.pg.Host), "port": fmt.Sprint(w.pg.Port), "username": q(user), "password": q(password)}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	var out []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, q(k)+":"+fields[k])
	}
	return "{" + strings.Join(out, ",") + "}"
}

// secret stores a new secret and returns its ARN.
func (w *world) secret(value string) string {
	w.t.Helper()
	out, err := w.client.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{
		Name: aws.String(testserver.Unique("test/")), SecretString: &value})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ARN
}

// rotate runs one rotation, without retries, and returns the error of its last step.
func (w *world) rotate(arn string) error {
	w.t.Helper()
	_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = w.sim.WaitRotation(ctx, arn)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// current returns the user name and password in AWSCURRENT.
func (w *world) current(arn string) (user, password string) {
	w.t.Helper()
	out, err := w.client.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		w.t.Fatal(err)
	}
	v := engine.StringValue(*out.SecretString)
	user, _ = v.Text("username")
	password, _ = v.Text("password")
	return user, password
}

// connect logs in with an independent client and returns the connection.
func (w *world) connect(user, password string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(context.Background(), w.pg.URLFor(user, password, "postgres"))
	if err == nil {
		w.t.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

// opens fails the test unless AWSCURRENT opens the server.
func (w *world) opens(arn string) *pgx.Conn {
	w.t.Helper()
	conn, err := w.connect(w.current(arn))
	if err != nil {
		w.t.Fatalf("AWSCURRENT does not open the server: %v", err)
	}
	return conn
}

// versions counts the versions of a secret that have a value.
func (w *world) versions(arn string) int {
	w.t.Helper()
	out, err := w.client.ListSecretVersionIds(context.Background(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &arn, IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(out.Versions)
}

// wantCause fails the test unless err has the cause and advice.
func wantCause(t *testing.T, err error, cause engine.Cause, text string) {
	t.Helper()
	enginetest.WantCause(t, err, cause, text)
	if e, _ := errors.AsType[*engine.Error](err); e.Step == "" {
		t.Errorf("the error has no step: %v", err)
	}
}

// pending returns the version that is AWSPENDING and not AWSCURRENT, or "".
func (w *world) pending(arn string) string {
	w.t.Helper()
	d, err := w.client.DescribeSecret(context.Background(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		w.t.Fatal(err)
	}
	for id, labels := range d.VersionIdsToStages {
		if slices.Contains(labels, "AWSPENDING") && !slices.Contains(labels, "AWSCURRENT") {
			return id
		}
	}
	return ""
}

// abandon removes AWSPENDING, as `rotatorctl recover` does.
func (w *world) abandon(arn string) {
	w.t.Helper()
	if id := w.pending(arn); id != "" {
		if _, err := w.client.UpdateSecretVersionStage(context.Background(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: &arn, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: &id}); err != nil {
			w.t.Fatal(err)
		}
	}
}
