package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// stage is a PostgreSQL server and the simulated Secrets Manager.
type stage struct {
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	url    string
	client *secretsmanager.Client
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{pg: testserver.SharedPostgres(t, testserver.PostgresOptions{}),
		sim: sim.New(sim.Options{MaxAttempts: 1})}
	t.Setenv("PGSSLROOTCERT", s.pg.CAFile)
	server := httptest.NewServer(s.sim.Handler())
	t.Cleanup(server.Close)
	s.url = server.URL
	s.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: &s.url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	return s
}

// function registers the rotation function.
func (s *stage) function(t *testing.T) {
	t.Helper()
	function, err := lambdasim.New(built.Function(t), lambdasim.Options{ARN: functionARN, Log: t.Output(),
		Env: []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.url, "CA_BUNDLE=" + s.pg.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { function.Close() })
	s.sim.RegisterFunction(functionARN, function)
}

// secret stores a login with these fields and the server's address, and returns the ARN.
func (s *stage) secret(t *testing.T, fields map[string]any) string {
	t.Helper()
	fields["engine"], fields["host"], fields["port"] = "postgres", s.pg.Host, s.pg.Port
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.client.CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique("db_")),
			SecretString: aws.String(string(text))})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

// user creates a user with a password.
func (s *stage) user(t *testing.T) string {
	t.Helper()
	user := testserver.Unique("app_")
	if _, err := s.pg.Connect(t, "postgres").Exec(t.Context(),
		"CREATE ROLE "+user+" LOGIN PASSWORD 'first-password'"); err != nil {
		t.Fatal(err)
	}
	return user
}

// counter counts the lines that the application prints.
type counter struct{ atomic.Int64 }

func (c *counter) Write(line []byte) (int, error) {
	c.Add(1)
	return len(line), nil
}

// TestARotationCostsNoError runs the application while its secret is rotated three times. It opens a connection for
// every query, so it logs in during all steps of each rotation.
func TestARotationCostsNoError(t *testing.T) {
	s := newStage(t)
	s.function(t)
	superuser := s.secret(t, map[string]any{"username": s.pg.User, "password": s.pg.Password})
	for name, fields := range map[string]map[string]any{
		"single user":       {},
		"alternating users": {"masterarn": superuser},
	} {
		t.Run(name, func(t *testing.T) {
			fields["username"], fields["password"] = s.user(t), "first-password"
			c := &connector{secrets: s.client, secretID: s.secret(t, fields)}
			db := sql.OpenDB(c)
			defer db.Close()
			db.SetMaxIdleConns(-1)
			ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
			defer stop()
			var queries counter
			end := make(chan error, 1)
			go func() { end <- run(ctx, db, 0, &queries) }()
			// query waits until the application has made three more queries.
			query := func() {
				t.Helper()
				for until := queries.Load() + 3; queries.Load() < until; {
					select {
					case err := <-end:
						t.Fatalf("the application ended: %v", err)
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
			query()
			for range 3 {
				if _, err := s.client.RotateSecret(ctx,
					&secretsmanager.RotateSecretInput{SecretId: &c.secretID,
						RotationLambdaARN: aws.String(functionARN)}); err != nil {
					t.Fatal(err)
				}
				if err := s.sim.WaitRotation(ctx, c.secretID); err != nil {
					t.Fatal(err)
				}
				query()
			}
			stop()
			if err := <-end; err != nil {
				t.Error(err)
			}
			// With two users, the second rotation ends the first password.
			if c.now.Password == "first-password" {
				t.Error("the application was never refused")
			}
		})
	}
}

// TestAWrongPasswordIsAnError: if AWSCURRENT is refused and no rotation changes it, the application waits no longer
// than its context allows, and shows no password.
func TestAWrongPasswordIsAnError(t *testing.T) {
	s := newStage(t)
	arn := s.secret(t, map[string]any{"username": s.user(t), "password": "wrong-password"})
	db := sql.OpenDB(&connector{secrets: s.client, secretID: arn})
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("%v", err)
	}
}
