// Command demo shows a rotation on this machine: a real PostgreSQL, the simulated Secrets Manager, and the function's
// real binary, once for a single user and once for alternating users. It exits with 0 only if it has proved everything
// that it prints at the end.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := run(ctx, &screen{w: os.Stdout}, filepath.Join("build", "bootstrap")); err != nil {
		fmt.Fprintf(os.Stderr, "demo failed: %v\n", err)
		os.Exit(1)
	}
}

// run shows both rotations with the function's binary.
func run(ctx context.Context, out *screen, binary string) error {
	out.title("A real PostgreSQL, a simulated Secrets Manager, the real Lambda binary")
	out.say("starting PostgreSQL")
	pg, err := startPostgres(ctx, out)
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop() }()
	out.say("PostgreSQL %d at %s, over TLS only", pg.Major, pg.Addr())

	simulator := sim.New(sim.Options{RetryDelay: time.Second, Trace: out.step})
	server := httptest.NewServer(simulator.Handler())
	defer server.Close()
	out.say("Secrets Manager at %s, in memory", server.URL)

	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	var log bytes.Buffer
	function, err := lambdasim.New(binary,
		lambdasim.Options{ARN: functionARN, Timeout: 30 * time.Second, Log: &log, Env: []string{
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL,
			"CA_BUNDLE=" + pg.CAFile,
		}})
	if err != nil {
		return fmt.Errorf("%w (run `make build`)", err)
	}
	defer function.Close()
	simulator.RegisterFunction(functionARN, function)
	out.say("function %s, as Lambda runs it", filepath.Base(binary))
	out.legend()

	s := &stage{out: out, pg: pg, sim: simulator, client: secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})}
	if err := s.singleUser(ctx); err != nil {
		return err
	}
	if err := s.alternatingUsers(ctx); err != nil {
		return err
	}
	function.Close() // this completes its log
	return s.verdict(log.String())
}

// stage holds what both acts need.
type stage struct {
	out    *screen
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	client *secretsmanager.Client
	// passwords holds the old and new passwords of the rotated secrets.
	passwords []string
}

// login is the format of the secrets.
type login struct {
	Engine    string `json:"engine"`
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Username  string `json:"username"`
	Password  string `json:"password"`
	DBName    string `json:"dbname"`
	MasterARN string `json:"masterarn,omitempty"`
}

func (s *stage) singleUser(ctx context.Context) error {
	s.out.act("Single user: one password is replaced by another", map[string]string{
		"createSecret": "stores a new password as AWSPENDING",
		"setSecret":    "changes nothing: PostgreSQL has one password a user, and clients use the old one",
		"testSecret":   "rehearses the change",
		"finishSecret": "changes the password, logs in with it, and moves AWSCURRENT",
	})
	if err := s.sql(ctx, "CREATE ROLE app LOGIN PASSWORD 'first-password'"); err != nil {
		return err
	}
	old := s.login("app", "first-password")
	if _, err := s.create(ctx, "demo/app", old); err != nil {
		return err
	}
	now, err := s.rotate(ctx, "demo/app", true)
	if err != nil {
		return err
	}
	s.out.good("the new password opens the server as %s", now.Username)
	if err := s.try(ctx, old); !refused(err) {
		return fmt.Errorf("the old password was not refused: %v", err)
	}
	s.out.good("the old password is refused")
	return nil
}

func (s *stage) alternatingUsers(ctx context.Context) error {
	s.out.act("Alternating users: both work, so no login is refused", map[string]string{
		"createSecret": "stores a new password for the second user as AWSPENDING",
		"setSecret":    "creates the second user like the first, as the superuser, and sets its password",
		"testSecret":   "logs in as the second user",
		"finishSecret": "moves AWSCURRENT",
	})
	for _, q := range []string{"CREATE ROLE shop LOGIN CREATEDB PASSWORD 'first-password'",
		"CREATE TABLE orders (id int)", "ALTER TABLE orders OWNER TO shop"} {
		if err := s.sql(ctx, q); err != nil {
			return err
		}
	}
	arn, err := s.create(ctx, "demo/superuser", s.login(s.pg.User, s.pg.Password))
	if err != nil {
		return err
	}
	old := s.login("shop", "first-password")
	old.MasterARN = arn
	if _, err := s.create(ctx, "demo/shop", old); err != nil {
		return err
	}
	now, err := s.rotate(ctx, "demo/shop", false)
	if err != nil {
		return err
	}
	s.out.good("the new password opens the server as %s", now.Username)
	if err := s.try(ctx, old); err != nil {
		return fmt.Errorf("the previous user no longer works: %w", err)
	}
	s.out.good("the previous user %s still works, until the next rotation", old.Username)
	return nil
}

// verdict shows what both rotations proved, and what to try next. log is the function's log.
func (s *stage) verdict(log string) error {
	for _, password := range s.passwords {
		if strings.Contains(log, password) {
			return errors.New("a password is in the function's log")
		}
	}
	if !strings.Contains(log, "promoted to AWSCURRENT") {
		return errors.New("the function's log does not show the rotations")
	}
	s.out.title("Proved here")
	s.out.good("the binary that Lambda would run rotated two secrets of PostgreSQL %d", s.pg.Major)
	s.out.good("single user: a login was refused only while finishSecret changed the password")
	s.out.good("alternating users: no login was refused")
	s.out.good("none of the %d passwords is in the function's log", len(s.passwords))
	s.out.title("Next")
	s.out.say("rotate a secret of your database on this machine: docs/simulator.md")
	s.out.say("deploy the function to AWS: README.md")
	return nil
}

// create stores a secret and returns its ARN.
func (s *stage) create(ctx context.Context, name string, l login) (string, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return "", err
	}
	out, err := s.client.CreateSecret(ctx,
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(text))})
	if err != nil {
		return "", err
	}
	s.out.say("secret %s for user %s", name, l.Username)
	return aws.ToString(out.ARN), nil
}

// current returns the value and version of AWSCURRENT.
func (s *stage) current(ctx context.Context, name string) (l login, version string, err error) {
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return l, "", err
	}
	return l, aws.ToString(out.VersionId), json.Unmarshal([]byte(aws.ToString(out.SecretString)), &l)
}

// rotate rotates a secret while a client uses it, explains what the client saw, logs in with the new value, and returns
// it. gap is true if changing the password ends the old one.
func (s *stage) rotate(ctx context.Context, name string, gap bool) (login, error) {
	before, version, err := s.current(ctx, name)
	if err != nil {
		return login{}, err
	}
	w := s.watch(ctx, name)
	begin := time.Now()
	_, err = s.client.RotateSecret(ctx,
		&secretsmanager.RotateSecretInput{SecretId: &name, RotationLambdaARN: aws.String(functionARN)})
	if err == nil {
		err = s.sim.WaitRotation(ctx, name)
	}
	took := time.Since(begin)
	if werr := w.end(); err == nil {
		err = werr
	}
	if err != nil {
		return login{}, fmt.Errorf("rotation of %s: %w", name, err)
	}
	s.out.say("rotated in %s", took.Round(time.Millisecond))
	if err := w.explain(s.out, version, gap); err != nil {
		return login{}, err
	}
	now, _, err := s.current(ctx, name)
	switch {
	case err != nil:
		return login{}, err
	case now.Password == before.Password:
		return login{}, errors.New("the secret still has the old password")
	}
	s.passwords = append(s.passwords, before.Password, now.Password)
	if err := s.try(ctx, now); err != nil {
		return login{}, fmt.Errorf("the new password does not open the server: %w", err)
	}
	return now, nil
}
