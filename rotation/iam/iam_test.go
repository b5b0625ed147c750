package iam_test

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/internal/testing/awsfake"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/iam"
)

const (
	secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ci-AbCdEf"
	version   = "11111111-2222-4333-8444-555555555555"
)

// world is a fake IAM without delays and with a user ci.
type world struct {
	fake   *awsfake.IAM
	engine *iam.Engine
	first  engine.Value
	key    aws.Credentials
}

func newWorld(t *testing.T, allowed ...string) *world {
	t.Helper()
	fake := awsfake.NewIAM(awsfake.IAMOptions{})
	server := httptest.NewServer(fake.Handler())
	t.Cleanup(server.Close)
	w := &world{fake: fake, key: fake.AddUser("ci", allowed...)}
	w.engine = iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, aws.Credentials{}), nil }, false)
	w.first = secretOf("ci", w.key)
	return w
}

func (w *world) request() *engine.Request {
	return &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: w.first, Login: w.first}
}

func context5(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNextLeavesKeysOfUnknownOriginAlone(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		note func(t *testing.T, w *world) // what happened before
		want engine.Cause
	}{
		"a stranger's":                  {time.Hour, nil, engine.TakeoverRefused},
		"one just made, maybe by us":    {10 * time.Second, nil, engine.Unsettled},
		"one made long after our tries": {2 * time.Minute, tried(secretARN), engine.TakeoverRefused},
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

// tried leaves the intent of a call of a secret behind.
func tried(secret string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
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
	old := w.fake.AddKey("ci", time.Second) // rotations may follow each other at once
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
	fake := awsfake.NewIAM(awsfake.IAMOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	subject := iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, aws.Credentials{}), nil }, false)
	first := secretOf("ci", fake.AddUser("ci", permissions...))
	r := &engine.Request{Secret: secretARN + "2", Version: version, Current: first, Login: first}
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	// Its call crashed here. Nobody but that secret may clean up.
	clock = clock.Add(2 * time.Minute)
	r.Secret = secretARN
	if _, err := subject.Mint(context5(t), r); engine.CauseOf(err) != engine.TakeoverRefused {
		t.Errorf("%v", err)
	}
	r.Secret = secretARN + "2"
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Errorf("the secret's own orphan: %v", err)
	}
	if n := len(fake.Keys("ci")); n != 2 {
		t.Errorf("%d keys", n)
	}
}

// TestAKeyMadeByHandAfterAFailureStays: a try fails before it makes a key, or nobody
// knows; then an administrator makes one, and the next try is a minute later.
func TestAKeyMadeByHandAfterAFailureStays(t *testing.T) {
	for code, later := range map[string]time.Duration{
		"ServiceFailure": 30 * time.Second, // after which the key could be this try's for as long as a try lasts
		"AccessDenied":   time.Second,
		"Throttling":     time.Second,
	} {
		t.Run(code, func(t *testing.T) {
			// The SDK repeats what is throttled, and the note is taken back after that.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			clock := time.Now()
			fake := awsfake.NewIAM(awsfake.IAMOptions{Now: func() time.Time { return clock }})
			server := httptest.NewServer(fake.Handler())
			defer server.Close()
			subject := iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, aws.Credentials{}), nil }, false)
			first := secretOf("ci", fake.AddUser("ci", permissions...))
			r := &engine.Request{Secret: secretARN, Version: version, Strategy: engine.SingleUser, Current: first, Login: first}
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
				t.Errorf("the key that an administrator made is there: %v; %v", ok, err)
			}
		})
	}
}

// A try that is turned away takes nothing from what an earlier one noted.
func TestAnOrphanIsKnownAfterATryThatWasTurnedAway(t *testing.T) {
	clock := time.Now()
	fake := awsfake.NewIAM(awsfake.IAMOptions{Now: func() time.Time { return clock }})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	subject := iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, aws.Credentials{}), nil }, false)
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
	orphan := fake.AddKey("ci", clock.Sub(made)) // which the first try made all the same
	if _, err := subject.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	if _, ok := fake.Keys("ci")[orphan.AccessKeyID]; ok {
		t.Error("the first try's key is left")
	}
}

// The ladder has come to the previous version, because current was refused.
func TestNextWithAnOlderKey(t *testing.T) {
	w := newWorld(t, permissions...)
	newer := w.fake.AddKey("ci", time.Hour)
	r := w.request()
	r.Current, r.Previous = secretOf("ci", newer).With("SecretAccessKey", "this-is-not-its-secret-key"), w.first
	if _, err := w.engine.Mint(context5(t), r); engine.CauseOf(err) != engine.TargetFailed || !strings.Contains(err.Error(), "is active") {
		t.Errorf("a working key of AWSCURRENT whose value is wrong: %v", err)
	}
	if n := len(w.fake.Keys("ci")); n != 2 {
		t.Fatalf("%d keys", n)
	}
	w.fake.SetStatus(newer.AccessKeyID, "Inactive")
	next, err := w.engine.Mint(context5(t), r)
	if err != nil {
		t.Fatalf("an inactive key of AWSCURRENT: %v", err)
	}
	id, _ := next.Text("AccessKeyId")
	if got := slices.Sorted(maps.Keys(w.fake.Keys("ci"))); !slices.Equal(got, slices.Sorted(slices.Values([]string{w.key.AccessKeyID, id}))) {
		t.Errorf("the keys are %v", got)
	}
}

func TestRetireMakesInactiveAndTheNextRotationDeletes(t *testing.T) {
	w := newWorld(t, permissions...)
	r := w.request()
	var err error
	if r.Pending, err = w.engine.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	r.Login = r.Pending
	for range 2 {
		if err := w.engine.Retire(context5(t), r); err != nil {
			t.Fatal(err)
		}
		if s := w.fake.Keys("ci")[w.key.AccessKeyID]; s != "Inactive" {
			t.Errorf("the old key is %q", s)
		}
	}
	if err := w.engine.Verify(context5(t), r, w.first); engine.CauseOf(err) != engine.LoginRefused {
		t.Errorf("the old key: %v", err)
	}
	next := &engine.Request{Secret: secretARN, Version: version + "2", Current: r.Pending, Previous: w.first, Login: r.Pending}
	if _, err := w.engine.Mint(context5(t), next); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.fake.Keys("ci")[w.key.AccessKeyID]; ok {
		t.Error("the old key is still there")
	}
}

func TestSetActivatesAPendingKeyAndMissesADeletedOne(t *testing.T) {
	w := newWorld(t, permissions...)
	r := w.request()
	var err error
	if r.Pending, err = w.engine.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	id, _ := r.Pending.Text("AccessKeyId")
	w.fake.SetStatus(id, "Inactive")
	if err := w.engine.Set(context5(t), r); err != nil || w.fake.Keys("ci")[id] != "Active" {
		t.Errorf("%v, the key is %s", err, w.fake.Keys("ci")[id])
	}
	if err := w.engine.Revoke(context5(t), r); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Revoke(context5(t), r); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := w.engine.Set(ctx, r); engine.CauseOf(err) != engine.TargetFailed {
		t.Errorf("a deleted pending key: %v", err)
	}
}

func TestVerifyTellsWhyAKeyDoesNotServe(t *testing.T) {
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

func TestEachPermissionIsMissedByName(t *testing.T) {
	for _, missing := range permissions {
		w := newWorld(t, slices.DeleteFunc(slices.Clone(permissions), func(p string) bool { return p == missing })...)
		old := w.fake.AddKey("ci", time.Hour)
		r := w.request()
		r.Previous = secretOf("ci", old)
		next, err := w.engine.Mint(context5(t), r)
		if err == nil { // UpdateAccessKey is for Retire
			r.Pending, r.Login = next, next
			err = w.engine.Retire(context5(t), r)
		}
		if engine.CauseOf(err) != engine.PrivilegeMissing || err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestCreateIsRepeatedOnlyWhereItWasTurnedAway(t *testing.T) {
	for code, want := range map[string]int{"Throttling": 2, "ServiceFailure": 1} {
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
		if n != want || (err == nil) != (want == 2) {
			t.Errorf("%s: %d calls, want %d; %v", code, n, want, err)
		}
	}
}

func TestFormsAreCheckedAllAtOnce(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string]string{
		`plain`: "cannot be read",
		`{}`:    "username is missing, AccessKeyId is missing, SecretAccessKey is missing",
		`{"username":"a/b","AccessKeyId":"ASIAXXXXXXXXXXXXXXXX","SecretAccessKey":"short"}`: "username is not the name of an IAM user, AccessKeyId is not the id of a user's access key, SecretAccessKey is not a secret access key",
	} {
		r := w.request()
		r.Current = engine.StringValue(text)
		_, err := w.engine.Mint(context5(t), r)
		if engine.CauseOf(err) != engine.InvalidSecret || !strings.Contains(fmt.Sprint(err), want) || strings.Contains(fmt.Sprint(err), "short") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if calls := w.fake.Calls(); len(calls) > 0 {
		t.Errorf("AWS was asked: %v", calls)
	}
}

// The calls of createSecret are in this order, for what a crash leaves behind.
func TestCallsOfNext(t *testing.T) {
	w := newWorld(t, permissions...)
	old := w.fake.AddKey("ci", time.Hour)
	r := w.request()
	r.Previous = secretOf("ci", old)
	if _, err := w.engine.Mint(context5(t), r); err != nil {
		t.Fatal(err)
	}
	want := []string{"GetCallerIdentity", "ListUserTags", "ListAccessKeys", "DeleteAccessKey", "TagUser", "CreateAccessKey"}
	if got := w.fake.Calls(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A wrong clock is no wrong key, although the code is the same.
func TestAnExpiredSignatureIsNoRefusal(t *testing.T) {
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

// Whoever has an account can make a user of any name in it.
func TestTheRoleDoesNothingForAUserOfAnotherAccount(t *testing.T) {
	fake := awsfake.NewIAM(awsfake.IAMOptions{})
	server := httptest.NewServer(fake.Handler())
	defer server.Close()
	fake.AddUser("admin")
	role := fake.AddRole("rotator", permissions...)
	subject := iam.New(func(context.Context, string) (aws.Config, error) { return config(server.URL, role), nil }, true)
	v := secretOf("admin", fake.AddUserIn("210987654321", "admin"))
	r := &engine.Request{Secret: secretARN, Version: version, Current: v, Login: v}
	before := fake.Keys("admin")
	if _, err := subject.Mint(context5(t), r); engine.CauseOf(err) != engine.InvalidSecret || !strings.Contains(fmt.Sprint(err), "210987654321") {
		t.Errorf("%v", err)
	}
	if after := fake.Keys("admin"); !maps.Equal(before, after) {
		t.Errorf("the keys were %v and are %v", before, after)
	}
}

// TestNeedsAreEnoughAndNothingInThemTooMuch: by a policy of what the engine says that it
// needs a rotation passes; by one without any action, for another user or for another
// tag it does not.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	var n engine.Needs
	w := newWorld(t)
	if err := w.engine.Needs(context5(t), w.request(), &n); err != nil {
		t.Fatal(err)
	}
	whole, lesser := enginetest.Policies(t, n.Permissions)
	if len(lesser) != 9 {
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
		if err == nil {
			r.Login = r.Pending
			err = w.engine.Retire(context5(t), r)
		}
		if name == "" && err != nil {
			t.Errorf("by %s: %v", whole, err)
		}
		if name != "" && engine.CauseOf(err) != engine.PrivilegeMissing {
			t.Errorf("%s: %v, want PrivilegeMissing", name, err)
		}
	}
}
