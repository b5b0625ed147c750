package cacheuser_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/awsfake"
	"example.com/rotator/internal/cacheuser"
	"example.com/rotator/internal/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/enginetest"
)

const secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:cache-AbCdEf"

// request is for a rotation to a password.
func request(v rotation.Value, pending string) *rotation.Request {
	return &rotation.Request{Secret: secretARN, Strategy: rotation.SingleUser, Current: v, Pending: v.With("password", pending), Login: v}
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

func (c *cache) user(t *testing.T) rotation.Value {
	t.Helper()
	v, _, err := c.New(context.Background(), "localhost", c.server.Port)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (c *cache) engine() rotation.DryRunner { return c.Engine().(rotation.DryRunner) }

// id is the user's id at the service.
func id(v rotation.Value) string {
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
			if u := c.fake.User(c.service, id(v)); u.Status != "active" || !slices.Equal(u.Passwords, []string{second, first}) {
				t.Errorf("%s, %d passwords that are not pending and current", u.Status, len(u.Passwords))
			}
		}
		if err := errors.Join(e.Verify(enginetest.Within(t), r, r.Current), e.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Error(err)
		}
		if err := e.(rotation.Retirer).Retire(enginetest.Within(t), r); err == nil {
			err = e.Verify(enginetest.Within(t), r, r.Current)
			if !errors.Is(err, rotation.LoginRefused) {
				t.Errorf("the current password after Retire: %v", err)
			}
		} else {
			t.Error(err)
		}
	})
}

// What another changes in this moment is waited for.
func TestSetManyTimesAtOnce(t *testing.T) {
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

func TestTheWaitIsBounded(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		c.fake.Add(c.service, awsfake.CacheUser{ID: id(v), Name: id(v), Status: "modifying"})
		c.options.MaxWait = 50 * time.Millisecond
		begin := time.Now()
		err := c.engine().Set(enginetest.Within(t), request(v, second))
		if !errors.Is(err, rotation.TargetFailed) || !strings.Contains(err.Error(), "still being modified") || time.Since(begin) > 5*time.Second {
			t.Errorf("by the setting: %v", err)
		}
		c.options.MaxWait = time.Hour
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if err := c.engine().Set(ctx, request(v, second)); err == nil || time.Since(begin) > 300*time.Millisecond {
			t.Errorf("by the deadline: %v after %s", err, time.Since(begin))
		}
		if k := c.engine().Kind(); k.Patience < time.Hour {
			t.Errorf("the core allows %s", k.Patience)
		}
	})
}

// By its role the function may change any user, so a secret that only names one
// must not get it.
func TestNobodyElsesUser(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		bare := rotation.StringValue(strings.Join(strings.Split(string(v.Reveal()), `"host":"localhost",`), ""))
		for name, c2 := range map[string]struct {
			v    rotation.Value
			want rotation.Cause
		}{
			"a wrong password":  {v.With("password", "a-guess-of-16-characters"), rotation.LoginRefused},
			"no password":       {v.WithJSON("password", []byte("null")), rotation.TakeoverRefused},
			"no host":           {bare, rotation.TakeoverRefused},
			"another user's id": {v.With("username", "somebody"), rotation.LoginRefused},
		} {
			r := request(c2.v, second)
			_, nerr := c.engine().Next(enginetest.Within(t), r)
			if c2.want == rotation.TakeoverRefused && !errors.Is(nerr, c2.want) {
				t.Errorf("%s: Next: %v", name, nerr)
			}
			for step, err := range map[string]error{"DryRun": c.engine().DryRun(enginetest.Within(t), r), "Set": c.engine().Set(enginetest.Within(t), r)} {
				if !errors.Is(err, c2.want) {
					t.Errorf("%s: %s: %v, want %s", name, step, err, c2.want)
				}
			}
		}
		if calls := c.fake.Calls(); slices.Contains(calls, "ModifyUser") || slices.Contains(calls, "UpdateUser") {
			t.Error("the user was changed")
		}
		// AWS's contract: the operator names secret and user, and the secret need
		// have neither password nor host.
		c.options.SecretARN, c.options.UserName = secretARN, id(v)
		r := request(bare.WithJSON("password", []byte("null")), second)
		if err := errors.Join(c.engine().DryRun(enginetest.Within(t), r), c.engine().Set(enginetest.Within(t), r), c.engine().Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Errorf("the first rotation: %v", err)
		}
		if u := c.fake.User(c.service, id(v)); !slices.Equal(u.Passwords, []string{second}) {
			t.Errorf("%d passwords after the first rotation", len(u.Passwords))
		}
		// With a host it mends a secret whose password no longer works.
		r = request(v.With("password", "no-longer-valid-password"), third)
		if err := errors.Join(c.engine().DryRun(enginetest.Within(t), r), c.engine().Set(enginetest.Within(t), r), c.engine().Verify(enginetest.Within(t), r, r.Pending)); err != nil {
			t.Errorf("a password that no longer works: %v", err)
		}
		for _, change := range []func(){func() { c.options.UserName = "other" }, func() { c.options.SecretARN, c.options.UserName = secretARN+"2", id(v) }} {
			change()
			if err := c.engine().Set(enginetest.Within(t), r); !errors.Is(err, rotation.TakeoverRefused) {
				t.Errorf("a function for another: %v", err)
			}
		}
	})
}

func TestUsersThatCannotBeRotated(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		name := id(v)
		for what, u := range map[string]struct {
			user awsfake.CacheUser
			want rotation.Cause
			text string
		}{
			"IAM":          {awsfake.CacheUser{ID: name, Name: name, Type: "iam"}, rotation.TargetFailed, "by iam"},
			"no password":  {awsfake.CacheUser{ID: name, Name: name, Type: "no-password"}, rotation.TargetFailed, "by no-password"},
			"deleting":     {awsfake.CacheUser{ID: name, Name: name, Status: "deleting"}, rotation.TargetFailed, "is deleting"},
			"another name": {awsfake.CacheUser{ID: name, Name: "other"}, rotation.InvalidSecret, `"other"`},
		} {
			c.fake.Add(c.service, u.user)
			if err := c.engine().DryRun(enginetest.Within(t), request(v, second)); !errors.Is(err, u.want) || !strings.Contains(err.Error(), u.text) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestErrorsOfTheAPI(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		modify := map[string]string{"elasticache": "ModifyUser", "memorydb": "UpdateUser"}[c.service]
		for code, want := range map[string]rotation.Cause{
			"AccessDenied": rotation.PrivilegeMissing, "AccessDeniedException": rotation.PrivilegeMissing,
			"InvalidParameterValue": rotation.PolicyRejected, "InvalidParameterValueException": rotation.PolicyRejected,
			"InvalidParameterCombination": rotation.TargetFailed,
		} {
			c.fake.Fail(func(action string) string {
				if action == modify {
					return code
				}
				return ""
			})
			if err := c.engine().Set(enginetest.Within(t), request(v, second)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %s", code, err, want)
			}
		}
		c.fake.Fail(nil)
		gone := request(v, second)
		c.options.SecretARN, c.options.UserName = secretARN, "nobody"
		gone.Login = rotation.StringValue(strings.ReplaceAll(string(v.Reveal()), id(v), "nobody"))
		gone.Current, gone.Pending = gone.Login, gone.Login.With("password", second)
		if err := c.engine().Set(enginetest.Within(t), gone); !errors.Is(err, rotation.InvalidSecret) || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("no such user: %v", err)
		}
		c.options = cacheuser.Options{MaxWait: time.Second, Interval: interval}
		c.api.Close()
		if err := c.engine().Set(enginetest.Within(t), request(v, second)); !errors.Is(err, rotation.Unreachable) {
			t.Errorf("no API: %v", err)
		}
	})
}

func TestFormAndRuleForPasswords(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		for _, bad := range []rotation.Value{rotation.StringValue("text"), v.With("host", "a b"), v.With("port", "x"), v.With("username", ""), v.WithJSON("password", []byte("{}"))} {
			_, err := c.engine().Next(enginetest.Within(t), &rotation.Request{Secret: secretARN, Current: bad})
			if !errors.Is(err, rotation.InvalidSecret) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestAPasswordThatTheServiceRejectsIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v := c.user(t)
		for _, p := range []string{"too-short", strings.Repeat("x", 129), "with,a-comma-in-it-0123", `with"a-quote-in-it-0123`, "with/a-slash-in-it-0123", "with@an-at-in-it-0123", "with a space in it 0123", "with-ümlaut-0123456"} {
			if err := c.engine().Set(enginetest.Within(t), request(v, p)); !errors.Is(err, rotation.PolicyRejected) {
				t.Errorf("%q: %v", p, err)
			}
		}
		if calls := c.fake.Calls(); len(calls) > 0 {
			t.Errorf("called %v", calls)
		}
	})
}

func TestReadOptions(t *testing.T) {
	read := func(env map[string]string) (cacheuser.Options, error) {
		return cacheuser.ReadOptions(func(name string) string { return env[name] })
	}
	if o, err := read(nil); err != nil || o != (cacheuser.Options{MaxWait: 600 * time.Second, Interval: 10 * time.Second}) {
		t.Errorf("the defaults of AWS's template: %+v, %v", o, err)
	}
	o, err := read(map[string]string{"SECRET_ARN": "a", "USER_NAME": "u", "MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": "60", "WAITING_RETRY_INTERVAL_IN_SECONDS": "2"})
	if err != nil || o != (cacheuser.Options{SecretARN: "a", UserName: "u", MaxWait: time.Minute, Interval: 2 * time.Second}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, env := range []map[string]string{{"SECRET_ARN": "a"}, {"USER_NAME": "u"}, {"MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": "soon"}, {"WAITING_RETRY_INTERVAL_IN_SECONDS": "0"}} {
		if _, err := read(env); !errors.Is(err, rotation.InvalidConfiguration) {
			t.Errorf("%v: %v", env, err)
		}
	}
}

// A function of another account, or a name that two users have, would change a
// user that the secret does not mean.
func TestElastiCacheUserIsTheOneOfTheARN(t *testing.T) {
	c := newCache(t, "elasticache")
	v := c.user(t)
	arn, _ := v.Text("user_arn")
	for _, bad := range []string{"", "arn:aws:elasticache:us-east-1:123456789012:user:", "arn:aws:memorydb:us-east-1:123456789012:user/x", arn + "/x"} {
		if _, err := c.engine().Next(enginetest.Within(t), &rotation.Request{Secret: secretARN, Current: v.With("user_arn", bad)}); !errors.Is(err, rotation.InvalidSecret) || !strings.Contains(err.Error(), "user_arn") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	other := v.With("user_arn", strings.ReplaceAll(arn, "123456789012", "210987654321"))
	if err := c.engine().Set(enginetest.Within(t), request(other, second)); !errors.Is(err, rotation.InvalidSecret) {
		t.Errorf("another account's user: %v", err)
	}
	if slices.Contains(c.fake.Calls(), "ModifyUser") {
		t.Error("the user was changed")
	}
}

// A host that says nothing must not use up the patience for changes.
func TestAHungCacheIsTold(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		port := testserver.Blackhole(t)
		v := c.user(t)
		v = v.WithJSON("port", []byte(strconv.Itoa(port)))
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if err := c.engine().DryRun(ctx, request(v, second)); !errors.Is(err, rotation.Unreachable) || time.Since(begin) > 400*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

// TestNeedsAreEnoughAndNothingInThemTooMuch: by a policy of what the engine says that it
// needs a rotation passes, and by one without any action or for another user it does not.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		needs := func(v rotation.Value) []rotation.Permission {
			var n rotation.Needs
			if err := c.Engine().(rotation.Needer).Needs(enginetest.Within(t), request(v, second), &n); err != nil || len(n.Permissions) != 1 {
				t.Fatalf("%+v, %v", n, err)
			}
			return n.Permissions
		}
		rotate := func(v rotation.Value, policy string) error {
			if err := c.fake.PutPolicy(policy); err != nil {
				t.Fatal(err)
			}
			r := request(v, second)
			return errors.Join(c.engine().DryRun(enginetest.Within(t), r), c.engine().Set(enginetest.Within(t), r), c.engine().Verify(enginetest.Within(t), r, r.Pending))
		}
		v := c.user(t)
		whole, lesser := enginetest.Policies(t, needs(v))
		if err := rotate(v, whole); err != nil {
			t.Errorf("by %s: %v", whole, err)
		}
		if len(lesser) != 3 {
			t.Errorf("%d policies are less than %s", len(lesser), whole)
		}
		for i := range len(lesser) {
			v := c.user(t) // whose ARN is another
			_, lesser := enginetest.Policies(t, needs(v))
			name := slices.Sorted(maps.Keys(lesser))[i]
			if err := rotate(v, lesser[name]); !errors.Is(err, rotation.PrivilegeMissing) {
				t.Errorf("%s: %v, want PrivilegeMissing", name, err)
			}
		}
	})
}
