package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

// TestRotationSurvivesFaults runs the function's binary with a high rate of each kind of fault, and logs in
// with AWSCURRENT after each rotation.
func TestRotationSurvivesFaults(t *testing.T) {
	binary := built.Function(t)
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	rates := map[sim.Fault]float64{}
	for _, k := range sim.AllFaults {
		rates[k] = 0.1
	}
	rates[sim.Slow] = 0.02 // each takes a second
	faults := sim.NewFaults(20260203, rates)
	t.Logf("faults: %s", faults)
	simulator := sim.New(sim.Options{Faults: faults, RetryDelay: 100 * time.Millisecond, MaxAttempts: 100})
	server := httptest.NewServer(simulator.Handler())
	t.Cleanup(server.Close)
	function, err := lambdasim.New(binary, lambdasim.Options{ARN: functionARN, Timeout: 20 * time.Second, Env: []string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL, "CA_BUNDLE=" + pg.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { function.Close() })
	simulator.RegisterFunction(functionARN, function)

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	login := func(user, password string) error {
		c, err := pgx.ParseConfig(pg.URL("postgres"))
		if err != nil {
			return err
		}
		c.User, c.Password = user, password
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	admin, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	user := testserver.Unique("u_")
	if _, err := admin.Exec(ctx, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-password'"); err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(map[string]any{
		"engine": "postgres", "host": pg.Host, "port": pg.Port, "username": user, "password": "first-password",
	})
	if err != nil {
		t.Fatal(err)
	}
	// The faults also affect the test.
	client := clientAt(server.URL)
	eager := func(o *secretsmanager.Options) { o.RetryMaxAttempts = 10 }
	secret := &secretsmanager.CreateSecretInput{Name: aws.String("app"), SecretString: aws.String(string(value))}
	if _, err := client.CreateSecret(ctx, secret, eager); err != nil {
		t.Fatal(err)
	}
	last := "first-password"
	// Which step a fault hits is random, but twenty rotations without a hit are not.
	for n := 0; n < 3 || n < 20 && simulator.Stats().Retried == 0; n++ {
		token := fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
		_, err := client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId: aws.String("app"), ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN),
		}, eager)
		// The answer may be lost, and the rotation may end before the SDK retries.
		if _, done := errors.AsType[*types.ResourceExistsException](err); err != nil && !done {
			t.Fatal(err)
		}
		if err := simulator.WaitRotation(ctx, "app"); err != nil {
			t.Fatalf("rotation %d: %v", n, err)
		}
		var out *secretsmanager.GetSecretValueOutput
		for out == nil || *out.VersionId != token { // for as long as reads are stale
			in := &secretsmanager.GetSecretValueInput{SecretId: aws.String("app")}
			if out, err = client.GetSecretValue(ctx, in, eager); err != nil {
				t.Fatal(err)
			}
		}
		var now struct{ Password string }
		if err := json.Unmarshal([]byte(aws.ToString(out.SecretString)), &now); err != nil {
			t.Fatal(err)
		}
		if err := login(user, now.Password); err != nil {
			t.Errorf("rotation %d: AWSCURRENT does not open the server: %v", n, err)
		}
		if now.Password == last {
			t.Errorf("rotation %d: the password is the old one", n)
		}
		if login(user, last) == nil {
			t.Errorf("rotation %d: the old password still opens the server", n)
		}
		last = now.Password
	}
	s := simulator.Stats()
	t.Logf("%+v", s)
	if s.Retried == 0 {
		t.Error("no attempt was repeated: the faults did nothing")
	}
}
