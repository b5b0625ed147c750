package iam_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/iam"
)

const (
	secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf"
	version   = "11111111-2222-4333-8444-555555555555"
)

// account is a fake IAM without delays and with a user ci.
type account struct {
	fake   *fakeIAM
	engine *iam.Engine
	first  engine.Value
	key    aws.Credentials
}

func newWorld(t *testing.T, allowed ...string) *account {
	t.Helper()
	fake := newFake(fakeOptions{})
	server := httptest.NewServer(fake.Handler())
	t.Cleanup(server.Close)
	w := &account{fake: fake, key: fake.AddUser("ci", allowed...)}
	w.engine = newEngine(server.URL, aws.Credentials{}, false)
	w.first = secretOf("ci", w.key)
	return w
}

func newEngine(url string, role aws.Credentials, byRole bool) *iam.Engine {
	return iam.New(func(context.Context, string) (aws.Config, error) { return config(url, role), nil }, byRole)
}

func (w *account) request() *engine.Request {
	return &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser,
		Current: w.first, Login: w.first}
}

func context5(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNextLeavesKeysOfUnknownOriginAlone(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		note func(t *testing.T, w *account) // an earlier attempt
		want engine.Cause
	}{
		"a stranger's":                   {time.Hour, nil, engine.TakeoverRefused},
		"created just now, maybe by us":  {10 * time.Second, nil, engine.Unsettled},
		"created long after our attempt": {2 * time.Minute, tried(secretARN), engine.TakeoverRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, permissions...)
			if c.note != nil {
				c.note(t, w)
			}
			w.fake.AddKey("ci", c.age)
			before := w.fake.Keys("ci")
			_, err := w.engine.Mint(context5(t), w.request())
			if engine.CauseOf(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
			if after := w.fake.Keys("ci"); !maps.Equal(before, after) {
				t.Errorf("the keys were %v and are %v", before, after)
			}
		})
	}
}

// tried notes the intent of an earlier attempt for a secret.
func tried(secret string) func(*testing.T, *account) {
	return func(t *testing.T, w *account) {
		r := w.request()
		r.Secret = secret
		next, err := w.engine.Mint(context5(t), r)
		if err != nil {
			t.Fatal(err)
		}
		r.Pending = next
		if err := w.engine.Revoke(context5(t), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNextReplacesTheKeyOfAWSPREVIOUS(t *testing.T) {
	w := newWorld(t, permissions...)
	old := w.fake.AddKey("ci", time.Second) // rotations may follow each other immediately
	r := w.request()
	r.Previous = secretOf("ci", old)
	next, err := w.engine.Mint(context5(t), r)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := next.Text("AccessKeyId")
	want := map[string]string{w.key.AccessKeyID: "Active", id: "Active"}
	if got := w.fake.Keys("ci"); !maps.Equal(got, want) {
		t.Errorf("the keys are %v, want %v", got, want)
	}
}

func TestAnotherSecretsIntentExplainsNothing(t *testing.T) {
	clock := time.Now()
	fake := newFake(fakeOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	subject := newEngine(server.URL, aws.Credentials{}, false)
	first := secretOf("ci", fake.AddUser("ci", permissions...))
	r := &engine.Request{Secret: secretARN + "2", Version: version, Current: first, Login: first}
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	// The other secret's call crashed here, and only that secret may clean up.
	clock = clock.Add(2 * time.Minute)
	r.Secret = secretARN
	if _, err := subject.Mint(context5(t), r); engine.CauseOf(err) != engine.TakeoverRefused {
		t.Errorf("%v", err)
	}
	r.Secret = secretARN + "2"
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Errorf("the key left by the secret itself: %v", err)
	}
	if n := len(fake.Keys("ci")); n != 2 {
		t.Errorf("%d keys", n)
	}
}

// TestKeyCreatedByHandAfterAFailureStays: an attempt fails before it creates a key, or possibly after; then an
// administrator creates one, and the next attempt is two minutes later.
func TestKeyCreatedByHandAfterAFailureStays(t *testing.T) {
	for code, later := range map[string]time.Duration{
		"ServiceFailure": 30 * time.Second, // the attempt may have created a key until its time limit
		"AccessDenied":   time.Second,
		"Throttling":     time.Second,
	} {
		t.Run(code, func(t *testing.T) {
			ctx := context5(t)
			clock := time.Now()
			fake := newFake(fakeOptions{Now: func() time.Time { return clock }})
			server := httptest.NewServer(fake.Handler())
			defer server.Close()
			subject := newEngine(server.URL, aws.Credentials{}, false)
			first := secretOf("ci", fake.AddUser("ci", permissions...))
			r := &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser,
				Current: first, Login: first}
			fake.Fail(func(action string) (string, string) {
				if action == "CreateAccessKey" {
					return code, "made up"
				}
				return "", ""
			})
			if _, err := subject.Mint(ctx, r); err == nil {
				t.Fatal("no error")
			}
			fake.Fail(nil)
			clock = clock.Add(later)
			byHand := fake.AddKey("ci", 0)
			clock = clock.Add(2 * time.Minute)
			_, err := subject.Mint(ctx, r)
			if _, ok := fake.Keys("ci")[byHand.AccessKeyID]; !ok || engine.CauseOf(err) != engine.TakeoverRefused {
				t.Errorf("the administrator's key exists: %v; %v", ok, err)
			}
		})
	}
}

// A refused attempt keeps the note of an earlier one.
func TestRefusedAttemptKeepsAnEarlierNote(t *testing.T) {
	clock := time.Now()
	fake := newFake(fakeOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	subject := newEngine(server.URL, aws.Credentials{}, false)
	first := secretOf("ci", fake.AddUser("ci", permissions...))
	r := &engine.Request{Secret: secretARN, Version: version, Current: first, Login: first}
	fake.Fail(func(action string) (string, string) {
		if action == "CreateAccessKey" {
			return "ServiceFailure", "made up"
		}
		return "", ""
	})
	_, _ = subject.Mint(context5(t), r)
	fake.Fail(func(action string) (string, string) {
		if action == "CreateAccessKey" {
			return "AccessDenied", "made up"
		}
		return "", ""
	})
	made := clock
	clock = clock.Add(100 * time.Second)
	_, _ = subject.Mint(context5(t), r)
	fake.Fail(nil)
	orphan := fake.AddKey("ci", clock.Sub(made)) // created by the first attempt despite its error
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	if _, ok := fake.Keys("ci")[orphan.AccessKeyID]; ok {
		t.Error("the first attempt's key is left")
	}
}

// The ladder tries the previous version, because the current one was refused.
func TestNextWithAnOlderKey(t *testing.T) {
	w := newWorld(t, permissions...)
	newer := w.fake.AddKey("ci", time.Hour)
	r := w.request()
	r.Current, r.Previous = secretOf("ci", newer).With("SecretAccessKey", "this-is-not-its-secret-key"), w.first
	if _, err := w.engine.Mint(context5(t), r); engine.CauseOf(err) != engine.TargetFailed ||
		!strings.Contains(err.Error(), "is active") {
		t.Errorf("a working key of AWSCURRENT whose value is wrong: %v", err)
	}
	if n := len(w.fake.Keys("ci")); n != 2 {
		t.Fatalf("%d keys", n)
	}
	w.fake.SetStatus(newer.AccessKeyID, "Inactive")
	if _, err := w.engine.Mint(context5(t), r); engine.CauseOf(err) != engine.TakeoverRefused {
		t.Errorf("an inactive key that nothing proves to be the secret's: %v", err)
	}
}

// TestInactiveKeyInAWSCURRENTIsReplaced: an administrator deactivated the key that the function created.
func TestInactiveKeyInAWSCURRENTIsReplaced(t *testing.T) {
	clock := time.Now()
	fake := newFake(fakeOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	e := newEngine(server.URL, aws.Credentials{}, false)
	first := secretOf("ci", fake.AddUser("ci", permissions...))
	r := &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: first, Login: first}
	var err error
	if r.Current, err = e.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	r.Previous = first
	id, _ := r.Current.Text("AccessKeyId")
	clock = clock.Add(time.Hour)
	fake.SetStatus(id, "Inactive")
	if _, err := e.Mint(context5(t), r); err != nil || fake.Keys("ci")[id] != "" {
		t.Errorf("%v, the key is %q", err, fake.Keys("ci")[id])
	}
}

// TestDeactivatedKeyStaysInactive: an administrator deactivated a leaked key, and a writer of the secret stores it as
// AWSPENDING.
func TestDeactivatedKeyStaysInactive(t *testing.T) {
	w := newWorld(t, permissions...)
	leaked := w.fake.AddKey("ci", 24*time.Hour)
	w.fake.SetStatus(leaked.AccessKeyID, "Inactive")
	secrets := world.New(t, w.engine)
	arn := secrets.Secret("app", w.first)
	id := secrets.Begin(arn)
	secrets.Put(arn, secretOf("ci", leaked), id, "AWSPENDING")
	if err := secrets.Steps(arn, id, rotation.CreateSecret, rotation.SetSecret); err != nil {
		t.Error(err)
	}
	err := secrets.Step(context5(t), arn, id, rotation.TestSecret) // it could still be a new key
	enginetest.WantCause(t, err, engine.Unsettled, "is active")
	if s := w.fake.Keys("ci")[leaked.AccessKeyID]; s != "Inactive" {
		t.Errorf("the leaked key is %s", s)
	}
	if !secrets.Get(arn, "AWSCURRENT").Equal(w.first) {
		t.Error("it is AWSCURRENT")
	}
}

// TestKeyIDAloneEndsNoKey: a writer of the secret stores the id of another program's key, which CloudTrail shows,
// with an invented secret.
func TestKeyIDAloneEndsNoKey(t *testing.T) {
	for _, byRole := range []bool{false, true} {
		for name, c := range map[string]struct {
			act    func(e *iam.Engine, r *engine.Request, forged engine.Value) error
			status string
		}{
			"the next key's slot, by AWSPREVIOUS": {func(e *iam.Engine, r *engine.Request, forged engine.Value) error {
				r.Previous = forged
				_, err := e.Mint(t.Context(), r)
				return err
			}, "Active"},
			"the next key's slot, by AWSPREVIOUS, an inactive key": {
				func(e *iam.Engine, r *engine.Request, forged engine.Value) error {
					r.Previous = forged
					_, err := e.Mint(t.Context(), r)
					return err
				}, "Inactive"},
			"the next key's slot, by AWSCURRENT, an inactive key": {
				func(e *iam.Engine, r *engine.Request, forged engine.Value) error {
					r.Previous, r.Current = r.Current, forged
					_, err := e.Mint(t.Context(), r)
					return err
				}, "Inactive"},
			"a value that was not stored": {func(e *iam.Engine, r *engine.Request, forged engine.Value) error {
				r.Pending = forged
				return e.Revoke(t.Context(), r)
			}, "Active"},
			"a check": {func(e *iam.Engine, r *engine.Request, _ engine.Value) error {
				return e.DryRun(t.Context(), r)
			}, "Active"},
		} {
			fake := newFake(fakeOptions{})
			server := httptest.NewServer(fake.Handler())
			defer server.Close()
			own, role := fake.AddUser("ci", permissions...), fake.AddRole("rotator", permissions...)
			other := fake.AddKey("ci", 24*time.Hour)
			fake.SetStatus(other.AccessKeyID, c.status)
			e := newEngine(server.URL, role, byRole)
			v := secretOf("ci", own)
			r := &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: v, Login: v}
			err := c.act(e, r, secretOf("ci", other).With("SecretAccessKey", "junkjunkjunkjunkjunk"))
			if engine.CauseOf(err) != engine.TakeoverRefused || fake.Keys("ci")[other.AccessKeyID] != c.status {
				t.Errorf("%s, by role %v: the other key is %q; %v", name, byRole,
					fake.Keys("ci")[other.AccessKeyID], err)
			}
		}
	}
}

// TestCheckFindsAKeyOfUnknownOrigin: both check and createSecret refuse it.
func TestCheckFindsAKeyOfUnknownOrigin(t *testing.T) {
	w := newWorld(t, permissions...)
	secrets := world.New(t, w.engine)
	arn := secrets.Secret("app", w.first)
	r, err := secrets.Rotator()
	if err != nil {
		t.Fatal(err)
	}
	rehearse := func() error {
		i, err := r.Inspect(t.Context(), arn)
		if err == nil {
			_, err = i.Rehearse(t.Context())
		}
		return err
	}
	if err := rehearse(); err != nil {
		t.Fatal(err)
	}
	w.fake.AddKey("ci", 24*time.Hour)
	if err, create := rehearse(), secrets.Rotate(arn); engine.CauseOf(err) != engine.TakeoverRefused ||
		!errors.Is(create, engine.TakeoverRefused) {
		t.Errorf("check: %v; createSecret: %v", err, create)
	}
}

// TestSecretCannotNameASuperuser: a writer of the secret names the secret of a more powerful user as its superuser,
// to get a new key of that user.
func TestSecretCannotNameASuperuser(t *testing.T) {
	w := newWorld(t, permissions...)
	secrets := world.New(t, w.engine)
	boss := secrets.Secret("boss", secretOf("boss", w.fake.AddUser("boss", permissions...)))
	arn := secrets.Secret("app", w.first.With("masterarn", boss))
	if err := secrets.Rotate(arn); !errors.Is(err, engine.InvalidSecret) ||
		!strings.Contains(fmt.Sprint(err), "masterarn") {
		t.Errorf("%v", err)
	}
	if keys := w.fake.Keys("boss"); len(keys) != 1 {
		t.Errorf("the other user has %d keys", len(keys))
	}
}

// TestNextRotationReplacesTheKeyOfACanceledOne: it waits until no call can be about to store that key.
func TestNextRotationReplacesTheKeyOfACanceledOne(t *testing.T) {
	clock := time.Now()
	fake := newFake(fakeOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	e := newEngine(server.URL, aws.Credentials{}, false)
	first := secretOf("ci", fake.AddUser("ci", permissions...))
	r := &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: first, Login: first}
	left, err := e.Mint(context5(t), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Version = "99999999-2222-4333-8444-555555555555"
	if _, err := e.Mint(context5(t), r); engine.CauseOf(err) != engine.Unsettled {
		t.Errorf("immediately: %v", err)
	}
	if err := e.DryRun(context5(t), r); err != nil {
		t.Errorf("check: %v", err)
	}
	clock = clock.Add(2 * time.Minute)
	next, err := e.Mint(context5(t), r)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := left.Text("AccessKeyId")
	is, _ := next.Text("AccessKeyId")
	if keys := fake.Keys("ci"); keys[was] != "" || keys[is] != "Active" || len(keys) != 2 {
		t.Errorf("the keys are %v", keys)
	}
}

func TestVerifyReportsWhyAKeyFails(t *testing.T) {
	w := newWorld(t, permissions...)
	other := w.fake.AddUser("other", permissions...)
	role := w.fake.AddKey("ci", time.Hour)
	w.fake.SetStatus(role.AccessKeyID, "Inactive")
	for name, c := range map[string]struct {
		value engine.Value
		want  engine.Cause
	}{
		"accepted":         {w.first, ""},
		"wrong secret key": {w.first.With("SecretAccessKey", "this-is-not-its-secret-key"), engine.LoginRefused},
		"unknown key":      {w.first.With("AccessKeyId", "AKIAFAKEUNKNOWN12345"), engine.LoginRefused},
		"inactive key":     {secretOf("ci", role), engine.LoginRefused},
		"another user's":   {secretOf("ci", other), engine.InvalidSecret},
	} {
		err := w.engine.Verify(context5(t), w.request(), c.value)
		if c.want == "" && err != nil || c.want != "" && engine.CauseOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestEachMissingPermissionIsNamed(t *testing.T) {
	for _, missing := range permissions {
		w := newWorld(t, slices.DeleteFunc(slices.Clone(permissions), func(p string) bool { return p == missing })...)
		old := w.fake.AddKey("ci", time.Hour)
		r := w.request()
		r.Previous = secretOf("ci", old)
		_, err := w.engine.Mint(context5(t), r)
		if engine.CauseOf(err) != engine.PrivilegeMissing || err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestCreateIsNotRetried(t *testing.T) {
	for _, code := range []string{"Throttling", "ServiceFailure"} {
		w := newWorld(t, permissions...)
		n := 0
		w.fake.Fail(func(action string) (string, string) {
			if action != "CreateAccessKey" {
				return "", ""
			}
			if n++; n == 1 {
				return code, "made up"
			}
			return "", ""
		})
		_, err := w.engine.Mint(context5(t), w.request())
		if n != 1 || engine.CauseOf(err) != engine.TargetFailed {
			t.Errorf("%s: %d calls; %v", code, n, err)
		}
	}
}

func TestEveryFaultOfAValueIsReported(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string]string{
		`plain`: "cannot be read",
		`{}`:    "username is missing, AccessKeyId is missing, SecretAccessKey is missing",
		`{"username":"a/b","AccessKeyId":"ASIAXXXXXXXXXXXXXXXX","SecretAccessKey":"short"}`: "" +
			"username is not the name of an IAM user, " +
			"AccessKeyId is not the id of a user's access key, SecretAccessKey is not a secret access key",
	} {
		r := w.request()
		r.Current = engine.StringValue(text)
		_, err := w.engine.Mint(context5(t), r)
		if engine.CauseOf(err) != engine.InvalidSecret || !strings.Contains(fmt.Sprint(err), want) ||
			strings.Contains(fmt.Sprint(err), "short") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if calls := w.fake.Calls(); len(calls) > 0 {
		t.Errorf("AWS was called: %v", calls)
	}
}

// The order of createSecret's calls determines what a crash leaves behind.
func TestCallsOfNext(t *testing.T) {
	w := newWorld(t, permissions...)
	old := w.fake.AddKey("ci", time.Hour)
	r := w.request()
	r.Previous = secretOf("ci", old)
	if _, err := w.engine.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	want := []string{"GetCallerIdentity", "ListUserTags", "ListAccessKeys", "GetCallerIdentity", "DeleteAccessKey",
		"TagUser", "CreateAccessKey"}
	if got := w.fake.Calls(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestEndlessAnswerIsCutOff: reading stops long before time or memory runs out.
func TestEndlessAnswerIsCutOff(t *testing.T) {
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for b := bytes.Repeat([]byte("x"), 1<<16); sent.Load() < 1<<30; sent.Add(int64(len(b))) {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	w := newWorld(t, permissions...)
	e := newEngine(server.URL, aws.Credentials{}, false)
	err := e.Verify(context5(t), w.request(), w.first)
	if engine.CauseOf(err) != engine.TargetFailed || len(err.Error()) > 4<<10 || sent.Load() > 64<<20 {
		t.Errorf("%d bytes were sent; an error of %d bytes: %.300v", sent.Load(), len(fmt.Sprint(err)), err)
	}
}

// A wrong clock is not a wrong key, although the error code is the same.
func TestExpiredSignatureIsNotARefusal(t *testing.T) {
	w := newWorld(t)
	for message, want := range map[string]engine.Cause{
		"Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z":                 engine.TargetFailed,
		"Signature not yet current: 20260101T010000Z is still later than 20260101T001500Z":         engine.TargetFailed,
		"The request signature we calculated does not match the signature you provided. Check it.": engine.LoginRefused,
	} {
		w.fake.Fail(func(string) (string, string) { return "SignatureDoesNotMatch", message })
		if err := w.engine.Verify(context5(t), w.request(), w.first); engine.CauseOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Anyone with an account can create a user with any name in it.
func TestRoleRefusesAUserOfAnotherAccount(t *testing.T) {
	fake := newFake(fakeOptions{})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	fake.AddUser("admin")
	role := fake.AddRole("rotator", permissions...)
	subject := newEngine(server.URL, role, true)
	v := secretOf("admin", fake.AddUserIn("210987654321", "admin"))
	r := &engine.Request{Secret: secretARN, Version: version, Current: v, Login: v}
	before := fake.Keys("admin")
	if _, err := subject.Mint(context5(t), r); engine.CauseOf(err) != engine.InvalidSecret ||
		!strings.Contains(fmt.Sprint(err), "210987654321") {
		t.Errorf("%v", err)
	}
	if after := fake.Keys("admin"); !maps.Equal(before, after) {
		t.Errorf("the keys were %v and are %v", before, after)
	}
}

// TestNeedsAreSufficientAndMinimal: a rotation passes with a policy of exactly what Needs returns, and fails if any
// action is missing, or for another user or tag.
func TestNeedsAreSufficientAndMinimal(t *testing.T) {
	var n engine.Needs
	w := newWorld(t)
	if err := w.engine.Needs(context5(t), w.request(), &n); err != nil {
		t.Fatal(err)
	}
	whole, lesser := enginetest.Policies(t, n.Permissions)
	if len(lesser) != 8 {
		t.Errorf("%d policies are less than %s", len(lesser), whole)
	}
	lesser[""] = whole
	for name, policy := range lesser {
		w := newWorld(t)
		if err := w.fake.PutPolicy("ci", policy); err != nil {
			t.Fatal(err)
		}
		r := w.request()
		r.Previous = secretOf("ci", w.fake.AddKey("ci", time.Hour))
		err := w.engine.Verify(context5(t), r, r.Current)
		if err == nil {
			r.Pending, err = w.engine.Mint(context5(t), r)
		}
		if err == nil {
			err = w.engine.Set(context5(t), r)
		}
		if name == "" && err != nil {
			t.Errorf("with %s: %v", whole, err)
		}
		if name != "" && engine.CauseOf(err) != engine.PrivilegeMissing {
			t.Errorf("%s: %v, want PrivilegeMissing", name, err)
		}
	}
}
