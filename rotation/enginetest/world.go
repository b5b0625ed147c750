package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/testserver"
	simulated "example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

var steps = []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret}

// world is a target behind a proxy, a simulated Secrets Manager behind a breakable wire, and one
// secret. A method that returns no error ends the check if the suite itself fails.
type world struct {
	*simulated.World // its client is the operator's and never fails

	t     testing.TB
	place string // the current place in the check, for failures
	h     Harness
	kind  engine.Kind
	proxy *testserver.FaultProxy // nil for an engine without a target
	wire  *wire                  // the function's
	log   bytes.Buffer
	logMu sync.Mutex

	arn   string
	first engine.Value
	made  int // rotations begun
	// finishing is set once finishSecret has run in the current rotation. Before that, AWSCURRENT must open the target.
	finishing atomic.Bool
}

// newWorld creates a user and its secret.
func newWorld(t testing.TB, h Harness) *world {
	t.Helper()
	w := &world{World: simulated.New(t), t: t, h: h, kind: h.Engine().Kind(), wire: &wire{}}
	w.Engines = func() []engine.Engine { return []engine.Engine{h.Engine()} }
	maps.Copy(w.Env, h.Traits().Env)
	host, port := "localhost", 0
	if target := h.Target(); target != "" {
		w.proxy = testserver.Proxy(t, target)
		port = w.proxy.Port
	}
	w.Log = w
	w.API = secretsmanager.New(w.Client.Options(), func(o *secretsmanager.Options) {
		o.HTTPClient = &http.Client{Transport: w.wire}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) {
				return time.Millisecond, nil
			})
		})
	})
	value, superuser, err := h.New(context.Background(), host, port)
	w.must(err, "the harness cannot create a user")
	if !superuser.IsZero() {
		value = value.With(w.kind.Superusers(), w.Secret(testserver.Unique("suite/"), superuser))
	}
	if value.IsObject() {
		value = value.WithJSON("unknown", []byte(`{"n": 1e400, "a": [1.50]}`))
	}
	w.first = value
	w.store(value)
	return w
}

// at records the current place in the check.
func (w *world) at(format string, args ...any) { w.place = fmt.Sprintf(format, args...) + ": " }

// errorf fails the check but does not end it.
func (w *world) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("%s"+format, append([]any{w.place}, args...)...)
}

// must ends the check if err is not nil.
func (w *world) must(err error, what string, args ...any) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s%s: %v", w.place, fmt.Sprintf(what, args...), err)
	}
}

// store creates the world's secret.
func (w *world) store(v engine.Value) {
	w.t.Helper()
	w.arn = w.Secret(testserver.Unique("suite/"), v)
	if b, ok := w.h.(Bound); ok {
		w.must(b.Bind(context.Background(), w.arn, v), "the harness cannot bind the secret")
	}
}

// begin has Secrets Manager start a rotation and returns its token.
func (w *world) begin() string {
	w.t.Helper()
	w.made++
	w.finishing.Store(false)
	return w.Begin(w.arn)
}

// step runs one step, in a new rotator.
func (w *world) step(ctx context.Context, step rotation.Step, token string) error {
	if step == rotation.FinishSecret {
		w.finishing.Store(true)
	}
	return w.Step(ctx, w.arn, token, step)
}

// Write implements io.Writer for the rotator's log.
func (w *world) Write(line []byte) (int, error) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.log.Write(line)
}

func (w *world) run(ctx context.Context, token string, steps ...rotation.Step) error {
	for _, s := range steps {
		if err := w.step(ctx, s, token); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) all(ctx context.Context, token string) error { return w.run(ctx, token, steps...) }

// complete runs every step and checks the outcome.
func (w *world) complete(token, when string) {
	w.t.Helper()
	w.must(w.all(context.Background(), token), "%s", when)
	w.must(w.ended(token), "%s: the outcome", when)
}

// gap runs every step, but finishSecret dies between the change at the target and the promotion. It checks that the
// pending value then opens the target, and the current one only if it must work throughout.
func (w *world) gap(token string) error {
	if err := w.run(context.Background(), token, steps[:3]...); err != nil {
		return err
	}
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	w.wire.on("UpdateSecretVersionStage", func(sender) (*http.Response, error) {
		kill() // which also ends later calls
		return nil, io.ErrUnexpectedEOF
	})
	err := w.step(ctx, rotation.FinishSecret, token)
	w.wire.set(nil)
	if err == nil || ctx.Err() == nil {
		return fmt.Errorf("finishSecret did not reach the promotion: %v", err)
	}
	for label, want := range map[string]bool{"AWSPENDING": true, "AWSCURRENT": w.continuous()} {
		if ok := w.open(w.labeled(label).value); ok != want && w.h.Target() != "" {
			return fmt.Errorf("finishSecret died in the gap: %s is accepted %v, want %v", label, ok, want)
		}
	}
	return nil
}

func (w *world) rotate() error {
	w.t.Helper()
	return w.all(context.Background(), w.begin())
}

// version is a version of the secret with its value.
type version struct {
	id     string
	labels []string
	value  engine.Value
}

// versions returns every version that has a value, labeled or not.
func (w *world) versions() []version {
	w.t.Helper()
	list, err := w.Client.ListSecretVersionIds(context.Background(),
		&secretsmanager.ListSecretVersionIdsInput{SecretId: &w.arn, IncludeDeprecated: aws.Bool(true)})
	w.must(err, "list the versions")
	var out []version
	for _, e := range list.Versions {
		v, err := w.get(&secretsmanager.GetSecretValueInput{VersionId: e.VersionId})
		w.must(err, "read a version")
		out = append(out, v)
	}
	return out
}

func (w *world) get(in *secretsmanager.GetSecretValueInput) (version, error) {
	in.SecretId = &w.arn
	got, err := w.Client.GetSecretValue(context.Background(), in)
	if err != nil {
		return version{}, err
	}
	v := version{*got.VersionId, got.VersionStages, engine.BinaryValue(got.SecretBinary)}
	if got.SecretString != nil {
		v.value = engine.StringValue(*got.SecretString)
	}
	return v, nil
}

// find returns the version with a label, if there is one.
func (w *world) find(label string) (v version, found bool) {
	v, err := w.get(&secretsmanager.GetSecretValueInput{VersionStage: &label})
	return v, err == nil
}

// labeled is find for a label that a version must have.
func (w *world) labeled(label string) version {
	w.t.Helper()
	v, found := w.find(label)
	if !found {
		w.t.Fatalf("%sno version has the label %s", w.place, label)
	}
	return v
}

func (w *world) put(v engine.Value, token string, labels ...string) {
	w.t.Helper()
	w.Put(w.arn, v, token, labels...)
}

// update stores a new current value as the console does.
func (w *world) update(v engine.Value) {
	w.t.Helper()
	_, err := w.Client.UpdateSecret(context.Background(),
		&secretsmanager.UpdateSecretInput{SecretId: &w.arn, SecretString: aws.String(string(v.Reveal()))})
	w.must(err, "UpdateSecret")
}

func (w *world) cancel() {
	w.t.Helper()
	in := &secretsmanager.CancelRotateSecretInput{SecretId: &w.arn}
	_, err := w.Client.CancelRotateSecret(context.Background(), in)
	w.must(err, "CancelRotateSecret")
}

// stage moves a label as an operator does; "" is no version.
func (w *world) stage(label, from, to string) {
	w.t.Helper()
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &w.arn, VersionStage: &label}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if to != "" {
		in.MoveToVersionId = &to
	}
	_, err := w.Client.UpdateSecretVersionStage(context.Background(), in)
	w.must(err, "move %s", label)
}

// replace makes a value current and leaves AWSPENDING alone, which a PutSecretValue with AWSCURRENT would remove.
func (w *world) replace(v engine.Value) {
	w.t.Helper()
	token := uuid.NewString()
	w.put(v, token, "edited")
	w.stage("AWSCURRENT", w.labeled("AWSCURRENT").id, token)
}

// direct returns a value with the target's own port instead of the proxy's, for the harness.
func (w *world) direct(v engine.Value) engine.Value {
	if w.proxy == nil || !v.IsObject() {
		return v
	}
	_, port, _ := net.SplitHostPort(w.h.Target())
	if text, ok := v.Text("port"); ok && text == strconv.Itoa(w.proxy.Port) {
		return v.WithJSON("port", []byte(port))
	}
	return v
}

// open reports whether the target accepts a value.
func (w *world) open(v engine.Value) bool {
	w.t.Helper()
	ok, err := w.accepts(v)
	w.must(err, "the harness cannot log in")
	return ok
}

// accepts is open, but returns the error instead of ending the check.
func (w *world) accepts(v engine.Value) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := w.h.Open(ctx, w.direct(v))
	if errors.Is(err, engine.LoginRefused) {
		return false, nil
	}
	return err == nil, err
}

func (w *world) alternates() bool {
	_, ok := w.first.Text("masterarn")
	return ok && w.kind.Alternates() && w.Env["STRATEGY"] != "single"
}

// oneAtATime reports whether finishSecret makes or completes the change.
func (w *world) oneAtATime() bool { return w.kind.Overlap != engine.BothWork && !w.alternates() }

// strategy returns the strategy's name in figures.
func (w *world) strategy() string {
	switch {
	case w.alternates():
		return "alternating"
	case w.h.Traits().Overlap:
		return "single with overlap"
	}
	return "single"
}

// continuous reports whether the current value must work throughout.
func (w *world) continuous() bool { return w.h.Traits().Overlap || w.alternates() }

// ended checks the outcome of a complete rotation.
func (w *world) ended(token string) error {
	w.t.Helper()
	all, current := w.versions(), w.labeled("AWSCURRENT")
	if current.id != token {
		return fmt.Errorf("AWSCURRENT is on version %s, not on the rotation's", current.id)
	}
	if !w.open(current.value) {
		return errors.New("AWSCURRENT does not open the target")
	}
	if current.value.IsObject() && len(w.kind.SecretFields) > 0 {
		fields := w.kind.SecretFields
		if w.alternates() {
			fields = append([]string{w.kind.UserField}, fields...)
		}
		if !current.value.EqualBut(w.first, fields...) {
			return errors.New("the rotation changed more than the credential in the secret")
		}
	}
	for _, v := range all {
		if slices.Contains(v.labels, "AWSPENDING") && v.id != token {
			return fmt.Errorf("AWSPENDING is left on version %s", v.id)
		}
		if v.value.Equal(current.value) && v.id != token {
			return fmt.Errorf("version %s has the same value as the new one", v.id)
		}
	}
	// Clients may still use the previous version, and the ladder needs it.
	w.labeled("AWSPREVIOUS")
	if len(all) != w.made+1 {
		return fmt.Errorf("there are %d versions with a value after %d rotations", len(all), w.made)
	}
	if m, ok := w.h.(Minted); ok {
		var values []engine.Value
		for _, v := range all {
			values = append(values, v.value)
		}
		strays, err := m.Strays(context.Background(), values)
		if err != nil || len(strays) > 0 {
			return fmt.Errorf("the target has credentials that are in no version: %v, %v", strays, err)
		}
	}
	return w.quiet(all)
}

// quiet checks that no credential is in a log.
func (w *world) quiet(all []version) error {
	w.logMu.Lock()
	text := w.log.String()
	w.logMu.Unlock()
	if strings.Contains(text, string(w.RotationToken.Reveal())) {
		return errors.New("a rotation token is in the log")
	}
	if l, ok := w.h.(Logged); ok {
		more, err := l.Logs()
		if err != nil {
			return err
		}
		text += more
	}
	for _, v := range all {
		for _, name := range w.kind.SecretFields {
			if slices.Contains(w.h.Traits().Public, name) {
				continue
			}
			if s, _ := v.value.Text(name); len(s) > 7 && strings.Contains(text, s) {
				return fmt.Errorf("the field %s of version %s is in a log", name, v.id)
			}
		}
		if s := string(v.value.Reveal()); len(w.kind.SecretFields) == 0 && len(s) > 7 && strings.Contains(text, s) {
			return fmt.Errorf("version %s is in a log", v.id)
		}
	}
	return nil
}

// sender makes a call to Secrets Manager.
type sender = func() (*http.Response, error)

// hook handles a call to Secrets Manager, by calling send or instead of it.
type hook = func(operation string, send sender) (*http.Response, error)

// wire is the function's transport to Secrets Manager.
type wire struct{ hook atomic.Pointer[hook] }

// set installs a hook that handles every call; nil lets them through.
func (w *wire) set(h hook) { w.hook.Store(&h) }

// on installs a hook that handles every call of one operation.
func (w *wire) on(operation string, handle func(send sender) (*http.Response, error)) {
	w.set(func(called string, send sender) (*http.Response, error) {
		if called == operation {
			return handle(send)
		}
		return send()
	})
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	send := func() (*http.Response, error) { return http.DefaultTransport.RoundTrip(r) }
	if h := w.hook.Load(); h != nil && *h != nil {
		return (*h)(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."), send)
	}
	return send()
}
