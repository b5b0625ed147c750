// Command demo shows a rotation on this machine: a real PostgreSQL, the simulated Secrets Manager, and the function's
// real binary, once for a single user and once for alternating users. It exits with 0 only if it has proved everything
// that it prints at the end.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	if err := run(ctx, os.Stdout, filepath.Join("build", "bootstrap")); err != nil {
		fmt.Fprintf(os.Stderr, "demo failed: %v\n", err)
		os.Exit(1)
	}
}

// act is the rotation of one secret.
type act struct {
	title       string
	user        string
	alternating bool
	steps       map[string]string // what each step does
}

var acts = []act{{
	title: "Single user: one password is replaced by another", user: "app",
	steps: map[string]string{
		"createSecret": "stores a new password as AWSPENDING",
		"setSecret":    "changes nothing: PostgreSQL has one password per user, and clients use the old one",
		"testSecret":   "rehearses the change",
		"finishSecret": "changes the password, logs in with it, and moves AWSCURRENT",
	},
}, {
	title: "Alternating users: both work, so no login is refused", user: "shop", alternating: true,
	steps: map[string]string{
		"createSecret": "stores a new password for the second user as AWSPENDING",
		"setSecret":    "creates the second user like the first, as the superuser, and sets its password",
		"testSecret":   "logs in as the second user",
		"finishSecret": "moves AWSCURRENT",
	},
}}

func (a act) secret() string { return "demo/" + a.user }

// stage is the demo's output and what both acts need.
type stage struct {
	out    io.Writer
	pg     *testserver.PostgresServer
	sim    *sim.Sim
	client *secretsmanager.Client
	// passwords holds the old and new passwords of the rotated secrets.
	passwords []string
}

func (s *stage) title(text string)              { fmt.Fprintf(s.out, "\n%s\n", text) }
func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

// run shows both rotations with the function's binary.
func run(ctx context.Context, out io.Writer, binary string) (err error) {
	s := &stage{out: out}
	s.title("A real PostgreSQL, a simulated Secrets Manager, the real Lambda binary")
	s.say("starting PostgreSQL")
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	defer func() { _ = s.pg.Stop() }()
	s.say("PostgreSQL %d at %s, over TLS only", s.pg.Major, s.pg.Addr())

	s.sim = sim.New(sim.Options{RetryDelay: time.Second, Trace: s.step})
	server := httptest.NewServer(s.sim.Handler())
	defer server.Close()
	s.say("Secrets Manager at %s, in memory", server.URL)
	s.client = secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})

	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	var log bytes.Buffer
	function, err := lambdasim.New(binary,
		lambdasim.Options{ARN: functionARN, Timeout: 30 * time.Second, Log: &log, Env: []string{
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL,
			"CA_BUNDLE=" + s.pg.CAFile,
		}})
	if err != nil {
		return fmt.Errorf("%w (run `make build`)", err)
	}
	defer function.Close()
	s.sim.RegisterFunction(functionARN, function)
	s.say("function %s, as Lambda runs it", filepath.Base(binary))

	s.title("How to read it")
	s.say("AWSCURRENT=1a2b3c4d   the version that applications read, by the start of its ID")
	s.say("AWSPENDING            the new version; the label can remain after the rotation")
	s.say("AWSPREVIOUS           the version that was AWSCURRENT before")
	s.say("client                an application that reads AWSCURRENT and logs in, over and over")
	for _, a := range acts {
		if err := s.play(ctx, a); err != nil {
			return fmt.Errorf("the rotation for %s: %w", a.user, err)
		}
	}
	function.Close() // this completes its log
	return s.verdict(log.String())
}

// step shows a step of a rotation, and the labels after the steps that move them.
func (s *stage) step(p sim.Progress) {
	for _, a := range acts {
		if p.Name == a.secret() && p.Step != "" {
			s.say("%-13s %s", p.Step, a.steps[p.Step])
		}
	}
	if p.Step == "createSecret" || p.Step == "finishSecret" {
		var at []string
		for _, l := range slices.Sorted(maps.Keys(p.Labels)) {
			at = append(at, l+"="+p.Labels[l][:8])
		}
		s.say("%-13s %s", "", strings.Join(at, "  "))
	}
	if p.Message != "" {
		s.say("failed: %s", p.Message)
	}
}

// play creates a user and its secret, and rotates it while a client uses it. It shows what the client saw, and checks
// what the old and the new password open.
func (s *stage) play(ctx context.Context, a act) error {
	s.title(a.title)
	superuser, old := s.login(s.pg.User, s.pg.Password), s.login(a.user, "first-password")
	if err := s.try(ctx, superuser, "CREATE ROLE "+a.user+" LOGIN PASSWORD 'first-password'"); err != nil {
		return err
	}
	if a.alternating {
		out, err := s.create(ctx, "demo/superuser", superuser)
		if err != nil {
			return err
		}
		old.MasterARN = *out.ARN
	}
	created, err := s.create(ctx, a.secret(), old)
	if err != nil {
		return err
	}
	w := witness{stage: s, secret: a.secret()}
	if !a.alternating {
		w.old = *created.VersionId
	}
	begin := time.Now()
	if err := w.during(ctx, func() error {
		_, err := s.client.RotateSecret(ctx,
			&secretsmanager.RotateSecretInput{SecretId: created.ARN, RotationLambdaARN: aws.String(functionARN)})
		if err != nil {
			return err
		}
		return s.sim.WaitRotation(ctx, *created.ARN)
	}); err != nil {
		return err
	}
	s.say("rotated in %s", time.Since(begin).Round(time.Millisecond))
	s.say("client: %d logins accepted, %d refused", w.accepted, w.refused)
	if !a.alternating {
		s.say("  Refusals fall between PostgreSQL's new password and the move of AWSCURRENT.")
		s.say("  An application that reads the secret again then gets in.")
	}
	now, _, err := s.current(ctx, a.secret())
	switch {
	case err != nil:
		return err
	case now.Password == old.Password:
		return errors.New("the secret still has the old password")
	}
	s.passwords = append(s.passwords, old.Password, now.Password)
	if err := s.try(ctx, now, "SELECT 1"); err != nil {
		return fmt.Errorf("the new password does not open the server: %w", err)
	}
	s.say("ok  the new password opens the server as %s", now.Username)
	err = s.try(ctx, old, "SELECT 1")
	switch {
	case a.alternating && err != nil:
		return fmt.Errorf("the previous user no longer works: %w", err)
	case a.alternating:
		s.say("ok  the previous user %s still works, until the next rotation", old.Username)
	case !refused(err):
		return fmt.Errorf("the old password was not refused: %v", err)
	default:
		s.say("ok  the old password is refused")
	}
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
	s.title("Proved here")
	s.say("ok  the binary that Lambda would run rotated two secrets of PostgreSQL %d", s.pg.Major)
	s.say("ok  single user: a login was refused only while finishSecret changed the password")
	s.say("ok  alternating users: no login was refused")
	s.say("ok  none of the %d passwords is in the function's log", len(s.passwords))
	s.title("Next")
	s.say("rotate a secret of your database on this machine: docs/simulator.md")
	s.say("deploy the function to AWS: README.md")
	return nil
}
