package awscache_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/awscache"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/sim"
)

const secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:cache-AbCdEf"

// request is a rotation of v to a new password.
func request(v engine.Value, pending string) *engine.Request {
	return &engine.Request{Secret: secretARN, Strategy: engine.SingleUser, Current: v,
		Pending: v.With("password", pending), Login: v}
}

// each runs a test for both services.
func each(t *testing.T, test func(t *testing.T, c *cache)) {
	for _, service := range slices.Sorted(maps.Keys(services)) {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			test(t, newCache(t, service))
		})
	}
}

func (c *cache) user(t *testing.T) engine.Value {
	t.Helper()
	v, _, err := c.New(context.Background(), "localhost", c.server.Port)
	if err == nil {
		err = c.Bind(context.Background(), secretARN, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (c *cache) engine() engine.DryRunner { return c.Engine().(engine.DryRunner) }

// id is the user's id at the service.
func id(v engine.Value) string {
	s, _ := v.Text("username")
	return s
}

const (
	second = "Second-Passw0rd-of-32-characters"
	third  = "Third-Passw0rd-of-32-characters!"
)

func TestSetReplacesBothPasswordsAndWaits(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v, e := c.user(t), c.engine()
		first, _ := v.Text("password")
		r := request(v, second)
		for range 2 {
			if err := errors.Join(e.DryRun(enginetest.Within(t), r), e.Set(enginetest.Within(t), r)); err != nil {
				t.Fatal(err)
			}
			if u := c.fake.User(c.service, id(v)); u.Status != "active" ||
				!slices.Equal(u.Passwords, []string{second, first}) {
				t.Errorf("%s, %d passwords that are not pending and current", u.Status, len(u.Passwords))
			}
		}
		if err := errors.Join(e.Verify(enginetest.Within(t), r, r.Current),
			e.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Error(err)
		}
	})
}

// Set waits for concurrent changes to end.
func TestConcurrentSets(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v, e := c.user(t), c.engine()
		errs := make(chan error)
		for range 4 {
			go func() { errs <- e.Set(enginetest.Within(t), request(v, second)) }()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if u := c.fake.User(c.service, id(v)); u.Passwords[0] != second {
			t.Error("the pending password is not the first")
		}
	})
}

func TestWaitIsBounded(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		c.fake.Add(c.service, fakeUser{ID: id(v), Name: id(v), Status: "modifying"})
		c.options.MaxWait = 50 * time.Millisecond
		begin := time.Now()
		err := c.engine().Set(enginetest.Within(t), request(v, second))
		if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), "still being modified") ||
			time.Since(begin) > 5*time.Second {
			t.Errorf("by the setting: %v", err)
		}
		c.options.MaxWait = time.Hour
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if err := c.engine().Set(ctx, request(v, second)); err == nil || time.Since(begin) > 3*time.Second {
			t.Errorf("by the deadline: %v after %s", err, time.Since(begin))
		}
		if k := c.engine().Kind(); k.Patience < time.Hour {
			t.Errorf("the machine allows %s", k.Patience)
		}
	})
}

// bare returns the value in the format of AWS's template, without a host.
func bare(v engine.Value) engine.Value {
	return engine.StringValue(strings.ReplaceAll(string(v.Reveal()), `"host":"localhost",`, ""))
}

// change calls every method that may change the user.
func (c *cache) change(t *testing.T, r *engine.Request) error {
	e := c.engine()
	return errors.Join(e.DryRun(enginetest.Within(t), r), e.Set(enginetest.Within(t), r))
}

// The function's role may change any user. So naming a user in a secret must not be enough to take it over, whatever
// cache the secret names as proof.
func TestOnlyTheSecretsUserChanges(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		first, _ := v.Text("password")
		crafted := v.With("password", "the-attacker-does-not-know-it").With("host", "127.0.0.1").
			WithJSON("port", []byte(strconv.Itoa(yes(t)))).WithJSON("ssl", []byte("false"))
		for name, c2 := range map[string]struct {
			tag string
			v   engine.Value
		}{
			"no tag":                            {"", v},
			"no tag, a writer's host":           {"", crafted},
			"no tag, no host":                   {"", bare(v)},
			"another secret's":                  {secretARN + "2", v},
			"another secret's, a writer's host": {secretARN + "2", crafted},
		} {
			c.fake.Tag(c.service, id(v), "rotator:secret", c2.tag)
			for _, err := range []error{
				c.engine().DryRun(enginetest.Within(t), request(c2.v, second)),
				c.engine().Set(enginetest.Within(t), request(c2.v, second)),
			} {
				enginetest.WantCause(t, err, engine.TakeoverRefused, "Key=rotator:secret,Value="+secretARN)
				if !strings.Contains(err.Error(), "aws "+c.service) ||
					c2.tag != "" && !strings.Contains(err.Error(), c2.tag) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{first}) || u.Status != "active" {
			t.Error("the user was changed")
		}
		if err := c.Bind(t.Context(), secretARN, v); err != nil {
			t.Fatal(err)
		}
		if err := c.change(t, request(v, second)); err != nil {
			t.Errorf("the secret of the tag: %v", err)
		}
	})
}

// A principal that may write a secret, but not read it or change users, gets no working password of the user: a stored
// password that was not valid does not become valid.
func TestWriterOfTheSecretGetsNoWorkingPassword(t *testing.T) {
	const known = "Known-To-The-Writer-0123456789"
	for name, c2 := range map[string]struct {
		write func(t *testing.T, v engine.Value) engine.Value
		edit  bool // the writer stores the value again while finishSecret changes the user
		want  engine.Cause
	}{
		"without a host": {
			write: func(_ *testing.T, v engine.Value) engine.Value { return bare(v) }},
		"without a host, with an edit": {write: func(_ *testing.T, v engine.Value) engine.Value {
			return bare(v)
		}, edit: true, want: engine.SecretEdited},
		"with a writer's host": {write: func(t *testing.T, v engine.Value) engine.Value { return own(t, v) },
			want: engine.TakeoverRefused},
		"with the cache, which refuses it": {write: func(_ *testing.T, v engine.Value) engine.Value { return v }},
		"with the cache, and with an edit": {write: func(_ *testing.T, v engine.Value) engine.Value { return v },
			edit: true, want: engine.SecretEdited},
		"without a host or password": {write: func(_ *testing.T, v engine.Value) engine.Value {
			return bare(v).With("password", "")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, c *cache) {
				v := c.user(t)
				first, _ := v.Text("password")
				w := newWorld(t, c, v)
				crafted := c2.write(t, v)
				if p, _ := crafted.Text("password"); p != "" {
					crafted = crafted.With("password", known)
				}
				w.put(crafted)
				edits := 0
				c.fake.Fail(func(action string) (string, string) {
					if c2.edit && (action == "ModifyUser" || action == "UpdateUser") && edits == 0 {
						edits++
						w.put(crafted.With("password", known+"2"))
					}
					return "", ""
				})
				err := w.rotate()
				if c2.want == "" && err != nil || c2.want != "" && !errors.Is(err, c2.want) {
					t.Errorf("%v, want %q", err, c2.want)
				}
				got := c.fake.User(c.service, id(v)).Passwords
				if slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, known) }) ||
					len(got) == 0 {
					t.Error("the user has a password that the writer knows")
				}
				if c2.want == engine.TakeoverRefused && !slices.Equal(got, []string{first}) {
					t.Error("the user was changed")
				}
				if err := c.Open(t.Context(), w.current()); c2.want == "" && err != nil {
					t.Errorf("AWSCURRENT: %v", err)
				}
			})
		})
	}
}

// own returns the value with the writer's host, which accepts any password.
func own(t *testing.T, v engine.Value) engine.Value {
	return v.With("host", "127.0.0.1").WithJSON("port", []byte(strconv.Itoa(yes(t)))).WithJSON("ssl", []byte("false"))
}

// Names of ElastiCache users are not unique. A function whose variables name one user must not change another user
// with that name, nor one with the same id in another region.
func TestAnotherUserWithTheSameNameIsNotChanged(t *testing.T) {
	c := newCache(t, "elasticache")
	v := c.user(t)
	arn, _ := v.Text("user_arn")
	c.options.SecretARN, c.options.UserName = secretARN, id(v)
	other := c.fake.Add("elasticache",
		fakeUser{ID: "other", Name: id(v), Passwords: []string{"Others-Passw0rd-0123456789"}})
	for _, bad := range []string{other, strings.ReplaceAll(arn, "us-east-1", "eu-west-1")} {
		r := request(bare(v).With("user_arn", bad), second)
		_, nerr := c.engine().Next(enginetest.Within(t), r)
		for _, err := range []error{nerr, c.engine().DryRun(enginetest.Within(t), r),
			c.engine().Set(enginetest.Within(t), r)} {
			enginetest.WantCause(t, err, engine.TakeoverRefused, "USER_NAME to the user's id")
		}
	}
	if u := c.fake.User("elasticache", "other"); !slices.Equal(u.Passwords, []string{"Others-Passw0rd-0123456789"}) {
		t.Error("the other user was changed")
	}
	// A user whose name differs from its id is identified by its id.
	c.options.UserName = "other"
	if err := c.engine().Set(enginetest.Within(t), request(bare(v).With("user_arn", other), second)); err != nil {
		t.Error(err)
	}
}

// A version for another user with the same name is not tried for this one.
func TestPasswordOfAnotherUserWithTheSameNameIsNotTried(t *testing.T) {
	c := newCache(t, "elasticache")
	v := c.user(t)
	other := c.fake.Add("elasticache",
		fakeUser{ID: "other", Name: id(v), Passwords: []string{"Others-Passw0rd-0123456789"}})
	w := newWorld(t, c, v.With("user_arn", other))
	w.put(v.With("password", "not-that-of-the-user-0123"))
	if err := w.rotate(); !errors.Is(err, engine.LoginRefused) {
		t.Errorf("%v, want LoginRefused", err)
	}
	if !strings.Contains(w.log.String(), "version skipped") {
		t.Error("the version of another user is not skipped")
	}
}

// yes starts an attacker's cache, which accepts any password, and returns its port.
func yes(t *testing.T) int {
	return testserver.Hostile(t, nil, func(conn net.Conn) {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "*") {
				_, _ = io.WriteString(conn, "+OK\r\n") // the client may be gone
			}
		}
	})
}

// AWS's contract: the operator names secret and user in the function's variables, and the secret needs neither
// password nor host. The function needs no more rights than AWS's template.
func TestOperatorsVariablesNameTheUser(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		c.fake.Tag(c.service, id(v), "rotator:secret", "")
		c.options.SecretARN, c.options.UserName = secretARN, id(v)
		r := request(bare(v).WithJSON("password", []byte("null")), second)
		if err := errors.Join(c.engine().DryRun(enginetest.Within(t), r),
			c.engine().Set(enginetest.Within(t), r)); err != nil {
			t.Errorf("the first rotation: %v", err)
		}
		if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{second}) {
			t.Errorf("%d passwords after the first rotation", len(u.Passwords))
		}
		// The current password cannot be verified, so it does not stay valid.
		r = request(r.Pending, third)
		r.KeepCurrent = true
		if err := c.engine().Set(enginetest.Within(t), r); !errors.Is(err, engine.ErrOneAtATime) {
			t.Errorf("setSecret of the second rotation: %v", err)
		}
		r.KeepCurrent = false
		for range 2 {
			if err := errors.Join(c.engine().DryRun(enginetest.Within(t), r),
				c.engine().Set(enginetest.Within(t), r)); err != nil {
				t.Errorf("the second rotation: %v", err)
			}
			if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{third}) {
				t.Errorf("%d passwords after the second rotation", len(u.Passwords))
			}
		}
		if calls := c.fake.Calls(); slices.ContainsFunc(
			calls, func(a string) bool { return strings.HasPrefix(a, "ListTags") }) {
			t.Errorf("called %v", calls)
		}
		for _, change := range []func(){func() { c.options.UserName = "other" },
			func() { c.options.SecretARN, c.options.UserName = secretARN+"2", id(v) }} {
			change()
			_, nerr := c.engine().Next(enginetest.Within(t), r)
			for _, err := range []error{nerr, c.engine().DryRun(enginetest.Within(t), r),
				c.engine().Set(enginetest.Within(t), r)} {
				enginetest.WantCause(t, err, engine.TakeoverRefused, "rotates only the user")
			}
		}
	})
}

// A password that was revoked, such as one that leaked, must not be restored by the rotation that repairs the secret.
// The password that clients use instead keeps working.
func TestSetDoesNotRestoreARevokedPassword(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v, e := c.user(t), c.engine()
		const emergency = "Emergency-Passw0rd-set-by-hand"
		if err := c.Restore(t.Context(), v.With("password", emergency)); err != nil {
			t.Fatal(err)
		}
		r := request(v, second)
		for _, err := range []error{e.DryRun(enginetest.Within(t), r), e.Set(enginetest.Within(t), r)} {
			enginetest.WantCause(t, err, engine.LoginRefused, "")
		}
		r.Login = v.With("password", emergency) // from another version, as the ladder finds it
		if err := errors.Join(e.DryRun(enginetest.Within(t), r), e.Set(enginetest.Within(t), r)); err != nil {
			t.Fatal(err)
		}
		r.Login = r.Pending // setSecret is repeated
		if err := e.Set(enginetest.Within(t), r); err != nil {
			t.Fatal(err)
		}
		if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{second, emergency}) {
			t.Errorf("%d passwords that are not pending and the one that worked", len(u.Passwords))
		}
		// If no version works, the owner removes the password from the secret.
		r = request(v.WithJSON("password", []byte("null")), third)
		if err := errors.Join(e.DryRun(enginetest.Within(t), r), e.Set(enginetest.Within(t), r),
			e.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Fatal(err)
		}
		if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{third}) {
			t.Errorf("%d passwords that are not the pending one", len(u.Passwords))
		}
	})
}

// Without a host no password is checked, so nothing may depend on one.
func TestWithoutAHostNothingIsProved(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v, e := bare(c.user(t)), c.engine()
		r := request(v, second)
		err := e.Verify(enginetest.Within(t), r, v.With("password", "never-set-anywhere-0123"))
		enginetest.WantCause(t, err, engine.TargetFailed, "host")
		if !errors.Is(err, engine.ErrNotVerifiable) {
			t.Errorf("not ErrNotVerifiable: %v", err)
		}
		enginetest.WantCause(t, e.Verify(enginetest.Within(t), r, v.WithJSON("password", []byte("null"))),
			engine.LoginRefused, "no password")
	})
}

// A rotation without a host completes, and recovery does not treat an untried password as working.
func TestRotationWithoutAHost(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := bare(c.user(t))
		w := newWorld(t, c, v)
		token := w.begin()
		if err := errors.Join(w.step(rotation.CreateSecret, token), w.step(rotation.SetSecret, token)); err != nil {
			t.Fatal(err)
		}
		for _, recover := range []func(context.Context, *rotation.Rotator, string) (operator.Diagnosis, error){
			operator.Diagnose, operator.Recover} {
			d, err := recover(enginetest.Within(t), w.rotator, w.arn)
			enginetest.WantCause(t, err, engine.TargetFailed, "cannot be tried")
			if d.Opens != "" || d.Action != "" {
				t.Errorf("recovery without an answer: %+v", d)
			}
		}
		if err := errors.Join(w.step(rotation.CreateSecret, token), w.step(rotation.SetSecret, token),
			w.step(rotation.TestSecret, token), w.step(rotation.FinishSecret, token)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(w.log.String(), "login not tried") {
			t.Error("the log does not say that the login was not tried")
		}
		if err := c.Open(t.Context(), w.current()); err != nil {
			t.Errorf("AWSCURRENT: %v", err)
		}
	})
}

// world is a secret in a simulated Secrets Manager, whose function uses the engine.
type world struct {
	t       *testing.T
	sim     *sim.Sim
	client  *secretsmanager.Client
	rotator *rotation.Rotator
	arn     string
	log     bytes.Buffer
}

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

func newWorld(t *testing.T, c *cache, v engine.Value) *world {
	t.Helper()
	w := &world{t: t, sim: sim.New(sim.Options{MaxAttempts: 1})}
	server := httptest.NewServer(w.sim.Handler())
	t.Cleanup(server.Close)
	w.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	// The tests send the events themselves.
	w.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return nil, "Unhandled", nil }))
	out, err := w.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("cache"),
		SecretString: aws.String(string(v.Reveal()))})
	if err == nil {
		w.arn = *out.ARN
		err = c.Bind(t.Context(), w.arn, v)
	}
	if err == nil {
		w.rotator, err = rotation.New(
			rotation.Config{Engines: []engine.Engine{c.Engine()}, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
				Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return w.client, nil }})
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) put(v engine.Value) {
	w.t.Helper()
	if _, err := w.client.PutSecretValue(w.t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: &w.arn, SecretString: aws.String(string(v.Reveal()))}); err != nil {
		w.t.Error(err)
	}
}

func (w *world) current() engine.Value {
	w.t.Helper()
	out, err := w.client.GetSecretValue(w.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.arn})
	if err != nil {
		w.t.Fatal(err)
	}
	return engine.StringValue(*out.SecretString)
}

// rotate runs all steps.
func (w *world) rotate() error {
	w.t.Helper()
	token := w.begin()
	for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret,
		rotation.TestSecret, rotation.FinishSecret} {
		if err := w.step(s, token); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) begin() (token string) {
	w.t.Helper()
	token = uuid.NewString()
	if _, err := w.client.RotateSecret(w.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &w.arn, ClientRequestToken: &token, RotationLambdaARN: aws.String(functionARN)}); err != nil {
		w.t.Fatal(err)
	}
	_ = w.sim.WaitRotation(w.t.Context(), w.arn) // it fails as intended
	return token
}

func (w *world) step(s rotation.Step, token string) error {
	return w.rotator.Handle(enginetest.Within(w.t), rotation.Event{Step: s, SecretID: w.arn, ClientRequestToken: token})
}

func TestUsersThatCannotBeRotated(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		name := id(v)
		for what, u := range map[string]struct {
			user fakeUser
			want engine.Cause
			text string
		}{
			"IAM": {fakeUser{ID: name, Name: name, Type: "iam"}, engine.TargetFailed, "by iam"},
			"no password": {fakeUser{ID: name, Name: name, Type: "no-password"},
				engine.TargetFailed, "by no-password"},
			"deleting": {fakeUser{ID: name, Name: name, Status: "deleting"},
				engine.TargetFailed, "is deleting"},
			"another name": {fakeUser{ID: name, Name: "other"}, engine.InvalidSecret, `"other"`},
		} {
			c.fake.Add(c.service, u.user)
			if err := c.engine().DryRun(enginetest.Within(t), request(v, second)); !errors.Is(err, u.want) ||
				!strings.Contains(err.Error(), u.text) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestErrorsOfTheAPI(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		modify := map[string]string{"elasticache": "ModifyUser", "memorydb": "UpdateUser"}[c.service]
		c.fake.Fail(func(action string) (string, string) {
			if strings.HasPrefix(action, "ListTags") {
				return "AccessDenied", "made up"
			}
			return "", ""
		})
		enginetest.WantCause(t, c.engine().Set(enginetest.Within(t), request(v, second)),
			engine.PrivilegeMissing, "tags")
		for code, want := range map[string]engine.Cause{
			"AccessDenied": engine.PrivilegeMissing, "AccessDeniedException": engine.PrivilegeMissing,
			"InvalidParameterValue": engine.PolicyRejected, "InvalidParameterValueException": engine.PolicyRejected,
			"InvalidParameterCombination": engine.TargetFailed,
		} {
			c.fake.Fail(func(action string) (string, string) {
				if action == modify {
					return code, "made up"
				}
				return "", ""
			})
			if err := c.engine().Set(enginetest.Within(t), request(v, second)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %s", code, err, want)
			}
		}
		c.fake.Fail(nil)
		gone := request(v, second)
		c.options.SecretARN, c.options.UserName = secretARN, "nobody"
		gone.Login = engine.StringValue(strings.ReplaceAll(string(v.Reveal()), id(v), "nobody"))
		gone.Current, gone.Pending = gone.Login, gone.Login.With("password", second)
		if err := c.engine().Set(enginetest.Within(t), gone); !errors.Is(err, engine.InvalidSecret) ||
			!strings.Contains(err.Error(), "does not exist") {
			t.Errorf("no such user: %v", err)
		}
		c.options = awscache.Options{MaxWait: time.Second, Interval: interval}
		c.api.Close()
		if err := c.engine().Set(enginetest.Within(t), request(v, second)); !errors.Is(err, engine.Unreachable) {
			t.Errorf("no API: %v", err)
		}
	})
}

func TestFormAndRuleForPasswords(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		for _, bad := range []engine.Value{engine.StringValue("text"), v.With("host", "a b"), v.With("host", ""),
			v.WithJSON("host", []byte("null")), v.With("port", "x"),
			v.With("username", ""), v.WithJSON("password", []byte("{}"))} {
			_, err := c.engine().Next(enginetest.Within(t), &engine.Request{Secret: secretARN, Current: bad})
			if !errors.Is(err, engine.InvalidSecret) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestPasswordThatTheServiceWouldRejectIsNotStored(t *testing.T) {
	const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	each(t, func(t *testing.T, c *cache) {
		r := &engine.Request{Secret: secretARN, Current: c.user(t)}
		for length, want := range map[int]bool{15: false, 16: true, 128: true, 129: false} {
			r.Passwords = c.engine().Kind().Passwords
			r.Passwords.Length = length
			if _, err := c.engine().Next(enginetest.Within(t), r); (err == nil) != want ||
				!want && !errors.Is(err, engine.PolicyRejected) {
				t.Errorf("%d characters: %v", length, err)
			}
		}
		r.Passwords.Length, r.Passwords.Rejected = 20, ""
		for _, only := range punctuation {
			r.Passwords.ExcludeCharacters = strings.ReplaceAll(punctuation, string(only), "")
			want := !strings.ContainsRune(`,"/@`, only)
			if _, err := c.engine().Next(enginetest.Within(t), r); (err == nil) != want ||
				!want && !errors.Is(err, engine.PolicyRejected) {
				t.Errorf("%c: %v", only, err)
			}
		}
		r.Passwords = c.engine().Kind().Passwords
		r.Passwords.Length, r.Passwords.ExcludeCharacters = 128, "" // AWS's template excludes no comma
		for range 20 {
			if _, err := c.engine().Next(enginetest.Within(t), r); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestReadOptions(t *testing.T) {
	read := func(env map[string]string) (awscache.Options, error) {
		return awscache.ReadOptions(func(name string) string { return env[name] })
	}
	if o, err := read(nil); err != nil ||
		o != (awscache.Options{MaxWait: 600 * time.Second, Interval: 10 * time.Second}) {
		t.Errorf("the defaults of AWS's template: %+v, %v", o, err)
	}
	o, err := read(map[string]string{"SECRET_ARN": "a", "USER_NAME": "u",
		"MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": "60", "WAITING_RETRY_INTERVAL_IN_SECONDS": "2"})
	if err != nil || o != (awscache.Options{SecretARN: "a", UserName: "u", MaxWait: time.Minute,
		Interval: 2 * time.Second}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, env := range []map[string]string{{"SECRET_ARN": "a"}, {"USER_NAME": "u"},
		{"MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": "soon"}, {"WAITING_RETRY_INTERVAL_IN_SECONDS": "0"}} {
		if _, err := read(env); !errors.Is(err, engine.InvalidConfiguration) {
			t.Errorf("%v: %v", env, err)
		}
	}
}

// A function in another account, or a name that two users share, would lead to the wrong user.
func TestElastiCacheARNDecidesTheUser(t *testing.T) {
	c := newCache(t, "elasticache")
	v := c.user(t)
	arn, _ := v.Text("user_arn")
	for _, bad := range []string{"", "arn:aws:elasticache:us-east-1:123456789012:user:",
		"arn:aws:memorydb:us-east-1:123456789012:user/x", arn + "/x"} {
		if _, err := c.engine().Next(enginetest.Within(t),
			&engine.Request{Secret: secretARN, Current: v.With("user_arn", bad)}); !errors.Is(
			err, engine.InvalidSecret) || !strings.Contains(err.Error(), "user_arn") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	other := v.With("user_arn", strings.ReplaceAll(arn, "123456789012", "210987654321"))
	if err := c.engine().Set(enginetest.Within(t), request(other, second)); !errors.Is(err, engine.InvalidSecret) {
		t.Errorf("another account's user: %v", err)
	}
	if slices.Contains(c.fake.Calls(), "ModifyUser") {
		t.Error("the user was changed")
	}
}

// A host that does not answer must not use up the time allowed for changes.
func TestHungCacheIsReportedInTime(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		port := testserver.Blackhole(t)
		v := c.user(t)
		v = v.WithJSON("port", []byte(strconv.Itoa(port)))
		if err := c.Bind(t.Context(), secretARN, v); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if err := c.engine().DryRun(ctx, request(v, second)); !errors.Is(err, engine.Unreachable) ||
			time.Since(begin) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

// TestNeedsAreEnoughAndNothingInThemTooMuch: a rotation passes with a policy of exactly what Needs returns, and fails
// if any action is missing or the policy is for another user.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		needs := func(v engine.Value) []engine.Permission {
			var n engine.Needs
			if err := c.Engine().(engine.Needer).Needs(enginetest.Within(t), request(v, second), &n); err != nil ||
				len(n.Permissions) != 2 {
				t.Fatalf("%+v, %v", n, err)
			}
			return n.Permissions
		}
		rotate := func(v engine.Value, policy string) error {
			if err := c.fake.PutPolicy(policy); err != nil {
				t.Fatal(err)
			}
			r := request(v, second)
			return errors.Join(c.engine().DryRun(enginetest.Within(t), r), c.engine().Set(enginetest.Within(t), r),
				c.engine().Verify(enginetest.Within(t), r, r.Pending))
		}
		v := c.user(t)
		named := newCache(t, c.service)
		named.options.SecretARN, named.options.UserName = secretARN, "app"
		var fewer engine.Needs
		if err := named.Engine().(engine.Needer).Needs(enginetest.Within(t), request(bare(v), second),
			&fewer); err != nil || len(fewer.Permissions[0].Actions) != 1 || fewer.Permissions[1].Conditions != nil {
			t.Errorf("variables name the user: %v, %v", fewer, err)
		}
		whole, lesser := enginetest.Policies(t, needs(v))
		if err := rotate(v, whole); err != nil {
			t.Errorf("with %s: %v", whole, err)
		}
		if len(lesser) != 6 { // three actions, the resource of two statements, and the tag
			t.Errorf("%d policies are less than %s", len(lesser), whole)
		}
		for i := range len(lesser) {
			v := c.user(t) // with another ARN
			_, lesser := enginetest.Policies(t, needs(v))
			name := slices.Sorted(maps.Keys(lesser))[i]
			if err := rotate(v, lesser[name]); !errors.Is(err, engine.PrivilegeMissing) {
				t.Errorf("%s: %v, want PrivilegeMissing", name, err)
			}
		}
	})
}
