// Command demo shows a rotation on this machine: a real PostgreSQL, the simulated
// Secrets Manager, and the function's real binary, once for a single user and
// once for alternating users. It exits with 0 only if the new password opens the
// server and the old one's fate is what it should be.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := newScreen(os.Stdout)
	out.title("A real PostgreSQL, a simulated Secrets Manager, the real Lambda binary")
	pg, err := startPostgres(ctx, out)
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop() }()
	out.say("PostgreSQL %d at %s, over TLS only", pg.Major, pg.Addr())

	simulator := sim.New(sim.Options{RetryDelay: time.Second, Watch: out.step})
	server, err := sim.Serve(simulator, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	out.say("Secrets Manager at %s, in memory", server.URL())

	binary, err := filepath.Abs(filepath.Join("build", "bootstrap"))
	if err != nil {
		return err
	}
	function, err := lambdasim.New(binary, lambdasim.Options{ARN: functionARN, Timeout: 30 * time.Second, Env: []string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL(),
		"CA_BUNDLE=" + pg.CAFile,
	}})
	if err != nil {
		return fmt.Errorf("%w (run `make build`)", err)
	}
	defer function.Close()
	simulator.RegisterFunction(functionARN, function)
	out.say("function %s, as Lambda runs it", filepath.Base(binary))

	s := &stage{out: out, pg: pg, sim: simulator, client: secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(server.URL()), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})}
	if err := s.singleUser(ctx); err != nil {
		return err
	}
	return s.alternatingUsers(ctx)
}

// stage is what both acts need.
type stage struct {
	out    *screen
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	client *secretsmanager.Client
}

// login is the form of the secrets.
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
	s.out.title("Single user: one password is replaced by another")
	if err := s.sql(ctx, "CREATE ROLE app LOGIN PASSWORD 'first-password'"); err != nil {
		return err
	}
	old := s.login("app", "first-password")
	if _, err := s.create(ctx, "demo/app", old); err != nil {
		return err
	}
	w, err := s.rotate(ctx, "demo/app")
	if err != nil {
		return err
	}
	s.out.say("a client that read AWSCURRENT and logged in without pause: %d logins, %d refused, for %s in all", w.logins, w.refused, w.window.Round(time.Millisecond))
	return s.verdict(ctx, "demo/app", old, false)
}

func (s *stage) alternatingUsers(ctx context.Context) error {
	s.out.title("Alternating users: the current one works throughout")
	for _, q := range []string{"CREATE ROLE shop LOGIN CREATEDB PASSWORD 'first-password'", "CREATE TABLE orders (id int)", "ALTER TABLE orders OWNER TO shop"} {
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
	w, err := s.rotate(ctx, "demo/shop")
	if err != nil {
		return err
	}
	s.out.say("a client that read AWSCURRENT and logged in without pause: %d logins, %d refused", w.logins, w.refused)
	if w.refused > 0 {
		return errors.New("the client was refused although users alternate")
	}
	return s.verdict(ctx, "demo/shop", old, true)
}

// verdict asks the server itself what has become of the two passwords.
func (s *stage) verdict(ctx context.Context, name string, old login, oldWorks bool) error {
	now, err := s.current(ctx, name)
	if err != nil {
		return err
	}
	if now.Password == old.Password {
		return errors.New("the secret still has the old password")
	}
	if err := s.try(ctx, now); err != nil {
		return fmt.Errorf("the new password does not open the server: %w", err)
	}
	s.out.good("AWSCURRENT opens the server as %s", now.Username)
	err = s.try(ctx, old)
	switch {
	case oldWorks && err != nil:
		return fmt.Errorf("the previous user does not work any more: %w", err)
	case oldWorks:
		s.out.good("the previous user %s still works, until the next rotation", old.Username)
	case !refused(err):
		return fmt.Errorf("the old password was not refused: %v", err)
	default:
		s.out.good("the old password is refused")
	}
	return nil
}

// create stores a secret and returns its ARN.
func (s *stage) create(ctx context.Context, name string, l login) (string, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return "", err
	}
	out, err := s.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(text))})
	if err != nil {
		return "", err
	}
	s.out.say("secret %s for user %s", name, l.Username)
	return aws.ToString(out.ARN), nil
}

func (s *stage) current(ctx context.Context, name string) (login, error) {
	var l login
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal([]byte(aws.ToString(out.SecretString)), &l)
}

// rotate asks for a rotation, waits for its end, and has a client watch it.
func (s *stage) rotate(ctx context.Context, name string) (*witness, error) {
	w := s.watch(ctx, name)
	begin := time.Now()
	_, err := s.client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: &name, RotationLambdaARN: aws.String(functionARN)})
	if err == nil {
		err = s.sim.WaitRotation(ctx, name)
	}
	took := time.Since(begin)
	if werr := w.end(); err == nil {
		err = werr
	}
	if err != nil {
		return nil, fmt.Errorf("rotation of %s: %w", name, err)
	}
	s.out.say("rotated in %s", took.Round(time.Millisecond))
	return w, nil
}
