package ldap

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// both runs a test as the user itself and as the administrator.
func both(t *testing.T, f *fixture,
	test func(t *testing.T, request func(dn, current, pending string) *engine.Request)) {
	t.Run("itself", func(t *testing.T) { test(t, f.self) })
	t.Run("superuser", func(t *testing.T) { test(t, f.bySuperuser) })
}

func TestSetLeavesThePendingAndTheCurrentPassword(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	both(t, f, func(t *testing.T, request func(dn, current, pending string) *engine.Request) {
		dn := f.person(testserver.Unique("app-"))
		first := f.values(dn)[0]
		var before []string
		for range 2 { // repeating it changes nothing
			if err := f.engine.Set(enginetest.Within(t), request(dn, first, "second")); err != nil {
				t.Fatal(err)
			}
			f.wantOpen(dn, 2, "second", first, "other")
			now := f.values(dn)
			if before != nil && !slices.Equal(before, now) {
				t.Error("the repetition changed the values")
			}
			before = now
		}
		if err := f.engine.Set(enginetest.Within(t), request(dn, "second", "third")); err != nil {
			t.Fatal(err)
		}
		f.wantOpen(dn, 2, "third", "second", first)
		for _, v := range f.values(dn) {
			if !strings.HasPrefix(v, "{SSHA}") {
				t.Error("a new password is not stored as a hash")
			}
		}
	})
}

// TestPasswordThatIsNotTheSecretsIsRemoved: a current password that an administrator has replaced is not restored, and
// the replacement does not stay valid.
func TestPasswordThatIsNotTheSecretsIsRemoved(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("app")
	f.replace(dn, hashed("SSHA", "by-hand", []byte("salt")), "{MD5}not base64", "in-clear")
	r := f.bySuperuser(dn, "first-app", "second")
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	f.wantOpen(dn, 1, "second", "first-app", "by-hand", "in-clear")
	if n := len(f.values(dn)); n != 1 {
		t.Errorf("%d values", n)
	}
}

// TestStoredFormIsNotWeakened: an entry keeps its scheme. The engine computes the digests; for all other schemes the
// server hashes, and keeps only one password.
func TestStoredFormIsNotWeakened(t *testing.T) {
	f := newFixture(t, openLDAPOptions{Hash: "{ARGON2}"})
	both(t, f, func(t *testing.T, request func(dn, current, pending string) *engine.Request) {
		for _, c := range []struct{ before, after string }{{"", "{SSHA}"}, {"{SSHA}", "{SSHA}"},
			{"{SSHA256}", "{SSHA256}"}, {"{SSHA512}", "{SSHA512}"}, {"{ARGON2}", "{ARGON2}"}} {
			name := testserver.Unique("app-")
			dn := f.person(name)
			current := "first-" + name
			switch {
			case c.before == "{ARGON2}":
				if _, err := f.admin.PasswordModify(ldap.NewPasswordModifyRequest(dn, "", current)); err != nil {
					t.Fatal(err)
				}
			case c.before != "":
				f.replace(dn, hashed(strings.Trim(c.before, "{}"), current, []byte("salt")))
			}
			r := request(dn, current, "second")
			r.KeepCurrent = true
			open := 2
			if c.before == "{ARGON2}" {
				if err := f.engine.Set(enginetest.Within(t), r); !errors.Is(err, engine.ErrOneAtATime) {
					t.Errorf("%s: %v, want one password at a time", c.before, err)
				}
				r.KeepCurrent, open = false, 1
			}
			if err := f.engine.Set(enginetest.Within(t), r); err != nil {
				t.Errorf("%s: %v", c.before, err)
				continue
			}
			v := f.values(dn)
			if !slices.ContainsFunc(v, func(v string) bool { return strings.HasPrefix(v, c.after) }) || len(v) != open {
				t.Errorf("a password by %q gives %d values, none by %s", c.before, len(v), c.after)
			}
			f.wantOpen(dn, open, "second", current)
		}
	})
}

// TestSuperuserResetsNoEntryOnItsNameAlone: nothing in OpenLDAP shows that an entry is not an administrator's, so
// guessing a password does not give anyone the superuser's powers, even with RECOVER_BY_SUPERUSER.
func TestSuperuserResetsNoEntryOnItsNameAlone(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("other-administrator")
	r := f.bySuperuser(dn, "a-guess", "second")
	r.Proofs = nil
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.TakeoverRefused, dn)
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.TakeoverRefused, dn)
	f.wantOpen(dn, 1, "first-other-administrator", "second", "a-guess")
}

// TestPolicyThatAllowsOnePassword: under a policy with a history, nobody could change an account with two values
// anymore, so there is only one value, and the server sets it.
func TestPolicyThatAllowsOnePassword(t *testing.T) {
	for _, quality := range []string{"0", "1", "2"} {
		f := newPolicyFixture(t, "pwdCheckQuality", quality, "pwdMinLength", "8")
		both(t, f, func(t *testing.T, request func(dn, current, pending string) *engine.Request) {
			name := testserver.Unique("app-")
			dn := f.person(name)
			current := "first-" + name
			for _, pending := range []string{"second-password", "third-password", "fourth-password"} {
				for range 2 {
					r := request(dn, current, pending)
					if ok, _ := f.bind(dn, current); !ok && !r.Superuser {
						r.Login = r.Pending // as the core does
					}
					if err := f.engine.Set(enginetest.Within(t), r); err != nil {
						t.Fatalf("quality %s: %v", quality, err)
					}
				}
				f.wantOpen(dn, 1, pending, current)
				if v := f.values(dn); len(v) != 1 || !strings.HasPrefix(v[0], "{SSHA}") {
					t.Errorf("quality %s: %d values", quality, len(v))
				}
				current = pending
			}
		})
	}
}

func TestPolicyRejectsAPassword(t *testing.T) {
	f := newPolicyFixture(t, "pwdCheckQuality", "2", "pwdMinLength", "20")
	dn := f.Person(t, "app", "first-password-of-it-is-long")
	r := f.self(dn, "first-password-of-it-is-long", "short")
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.PolicyRejected, "quality")
	f.wantOpen(dn, 1, "first-password-of-it-is-long", "short")
}

func TestPolicyWantsTheOldPasswordWithTheNew(t *testing.T) {
	f := newPolicyFixture(t, "pwdSafeModify", "TRUE")
	dn := f.person("app")
	r := f.self(dn, "first-app", "second-password")
	if err := f.engine.DryRun(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	if err := f.engine.Set(enginetest.Within(t), r); err != nil {
		t.Fatal(err)
	}
	f.wantOpen(dn, 1, "second-password", "first-app")
}

func TestLockedAccountIsReported(t *testing.T) {
	f := newPolicyFixture(t, "pwdLockout", "TRUE", "pwdMaxFailure", "2")
	dn := f.person("app")
	r := f.self(dn, "first-app", "second")
	for range 2 {
		enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, f.value(dn, "wrong")), engine.LoginRefused, dn)
	}
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, r.Current), engine.TargetFailed, "is locked")
}

func TestExpiredPasswordIsReported(t *testing.T) {
	f := newPolicyFixture(t, "pwdMaxAge", "1")
	dn := f.person("app")
	r := f.self(dn, "first-app", "second")
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := f.engine.Verify(enginetest.Within(t), r, r.Current)
		if errors.Is(err, engine.TargetFailed) {
			enginetest.WantCause(t, err, engine.TargetFailed, "has expired")
			return
		}
		if err != nil || time.Since(begin) > 10*time.Second {
			t.Fatalf("the password does not expire: %v", err)
		}
	}
}

// TestGraceLoginIsReportedByTheFirst: an expired password may open the account a few more times. The engine's first
// login reports it, and is the only grace login that the application loses.
func TestGraceLoginIsReportedByTheFirst(t *testing.T) {
	f := newPolicyFixture(t, "pwdMaxAge", "1", "pwdGraceAuthNLimit", "3")
	dn := f.person("app")
	r := f.self(dn, "first-app", "second")
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := f.engine.DryRun(enginetest.Within(t), r)
		if err != nil {
			enginetest.WantCause(t, err, engine.TargetFailed, "for 2 more logins")
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the password does not expire")
		}
	}
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), f.bySuperuser(dn, "first-app", "x"), r.Current),
		engine.TargetFailed, "for 1 more logins")
	// The advice works.
	f.replace(dn, hashed("SSHA", "first-app", []byte("salt")))
	if err := f.engine.DryRun(enginetest.Within(t), r); err != nil {
		t.Error(err)
	}
}

// TestMinimumAgeShowsInTheRehearsal: a policy can forbid changing a password soon after the last change. That is
// reported before a value is stored, and is not an error for a value that was just set.
func TestMinimumAgeShowsInTheRehearsal(t *testing.T) {
	for _, quality := range []string{"0", "2"} {
		f := newPolicyFixture(t, "pwdMinAge", "2", "pwdCheckQuality", quality)
		dn := f.person("app")
		r := f.self(dn, "first-app", "second-password")
		before := f.values(dn)
		enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.TargetFailed, "pwdMinAge")
		enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.TargetFailed, "pwdMinAge")
		if !slices.Equal(before, f.values(dn)) {
			t.Error("the rehearsal changes the entry")
		}
		// The advice works: use an administrator, or wait.
		s := f.bySuperuser(dn, "first-app", "second-password")
		if err := errors.Join(f.engine.DryRun(enginetest.Within(t), s),
			f.engine.Set(enginetest.Within(t), s)); err != nil {
			t.Error(err)
		}
		r = f.self(dn, "second-password", "third-password")
		if err := f.engine.Verify(enginetest.Within(t), r, r.Current); err != nil {
			t.Errorf("a value that was just set: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r),
			f.engine.Set(enginetest.Within(t), r)); err != nil {
			t.Error(err)
		}
		f.wantOpen(dn, 1, "third-password", "second-password")
	}
}

// TestDirectoryThatTakesNoChangesIsReportedByTheRehearsal: a replica answers a change with a referral, and a read-only
// server with 53.
func TestDirectoryThatTakesNoChangesIsReportedByTheRehearsal(t *testing.T) {
	f := newFixture(t, openLDAPOptions{Config: "restrict modify"})
	dn := f.person("app")
	both(t, f, func(t *testing.T, request func(dn, current, pending string) *engine.Request) {
		r := request(dn, "first-app", "second-password")
		enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.TargetFailed, "accepts changes")
	})
	add := ldap.NewAddRequest("uid=ref,"+peopleDN, nil)
	add.Attribute("objectClass", []string{"referral", "extensibleObject"})
	add.Attribute("ref", []string{"ldap://127.0.0.1:1/uid=x,dc=example,dc=net"})
	add.Attribute("uid", []string{"ref"})
	if err := f.admin.Add(add); err != nil {
		t.Fatal(err)
	}
	r := f.bySuperuser("uid=ref,"+peopleDN, "x", "y")
	for what, err := range map[string]error{"DryRun": f.engine.DryRun(enginetest.Within(t), r),
		"Set": f.engine.Set(enginetest.Within(t), r)} {
		if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), "Referral") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRightToDeleteAPasswordIsNotEnough: a user who may delete its password but not add one cannot change it.
func TestRightToDeleteAPasswordIsNotEnough(t *testing.T) {
	f := newFixture(t, openLDAPOptions{Access: "by self =zx by anonymous auth"})
	r := f.self(f.person("app"), "first-app", "second")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.PrivilegeMissing, "masterarn")
}

// TestUserThatMustChangeItsPassword: after an administrator has reset the password, the user may only change it.
func TestUserThatMustChangeItsPassword(t *testing.T) {
	f := newPolicyFixture(t, "pwdMustChange", "TRUE")
	dn := f.person("app")
	if _, err := f.admin.PasswordModify(ldap.NewPasswordModifyRequest(dn, "", "reset-password")); err != nil {
		t.Fatal(err)
	}
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace("pwdReset", []string{"TRUE"})
	if err := f.admin.Modify(m); err != nil {
		t.Fatal(err)
	}
	r := f.self(dn, "reset-password", "second")
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, r.Current), engine.TargetFailed,
		"must change its password")
	// An application could not work with this password, no matter who changes it.
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), f.bySuperuser(dn, "reset-password", "x"), r.Current),
		engine.TargetFailed, "pwdMustChange")
}

// TestConcurrentSets: two concurrent changes have the effect of one, even if the server keeps and checks one password.
// The second may then fail, and the core learns from a login that the change was made.
func TestConcurrentSets(t *testing.T) {
	for name, f := range map[string]*fixture{"one password": newPolicyFixture(t, "pwdCheckQuality", "0"),
		"overlap": newFixture(t, openLDAPOptions{})} {
		for range 20 {
			app := testserver.Unique("app-")
			dn := f.person(app)
			r := f.self(dn, "first-"+app, "second-password")
			errs := make(chan error, 2)
			for range 2 {
				go func() { errs <- f.engine.Set(enginetest.Within(t), r) }()
			}
			for range 2 {
				if err := <-errs; err != nil && name == "overlap" {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := f.engine.Verify(enginetest.Within(t), r, r.Pending); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			f.wantOpen(dn, 1, "second-password")
		}
	}
}

// TestPasswordThatIsSetInBetweenIsNotLost: a password that is set by hand after the values were read is not
// overwritten.
func TestPasswordThatIsSetInBetweenIsNotLost(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("app")
	r := f.self(dn, "first-app", "second-password")
	s, err := f.engine.open(enginetest.Within(t), r, r.Login)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	s.dn = dn
	have, err := s.values()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{hashed("SSHA", "second-password", []byte("salt")), have[0]}
	f.replace(dn, hashed("SSHA", "by-hand", []byte("salt")))
	enginetest.WantCause(t, s.failed("", s.exchange(have, want)), engine.TargetFailed, "somebody else has just changed")
	f.wantOpen(dn, 1, "by-hand", "second-password", "first-app")

	// A second call of the same step does not count as somebody else.
	f.replace(dn, want...)
	if err := s.exchange(have, want); err != nil {
		t.Error(err)
	}
	f.wantOpen(dn, 2, "second-password", "first-app")
}

// TestOldPasswordChangedAfterTheLogin: the extended operation answers 53 instead of 49 if the old password is wrong.
func TestOldPasswordChangedAfterTheLogin(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("app")
	r := f.self(dn, "first-app", "second")
	s, err := f.engine.open(enginetest.Within(t), r, r.Login)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	f.replace(dn, "by-hand")
	s.dn, s.pending = dn, "second"
	enginetest.WantCause(t, s.exop(), engine.TargetFailed, "may have just changed it")
	f.wantOpen(dn, 1, "by-hand", "second", "first-app")
}

func TestUserWhoMayNotChangeItsPassword(t *testing.T) {
	for name, f := range map[string]*fixture{
		"by a policy":       newPolicyFixture(t, "pwdAllowUserChange", "FALSE"),
		"by a rule":         newFixture(t, openLDAPOptions{Access: "by self read by anonymous auth"}),
		"by a rule, hidden": newFixture(t, openLDAPOptions{Access: "by anonymous auth"}),
	} {
		dn := f.person("app")
		r := f.self(dn, "first-app", "second")
		before := f.values(dn)
		for what, err := range map[string]error{
			"Set": f.engine.Set(enginetest.Within(t), r), "DryRun": f.engine.DryRun(enginetest.Within(t), r),
		} {
			if !errors.Is(err, engine.PrivilegeMissing) || !strings.Contains(err.Error(), "masterarn") {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if !slices.Equal(before, f.values(dn)) {
			t.Errorf("%s: the entry was changed", name)
		}
		// That does not matter for a login alone.
		if err := f.engine.Verify(enginetest.Within(t), r, r.Current); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUserMayNotChangeOthers(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	boss, victim := f.person("boss"), f.person("victim")
	r := f.bySuperuser(victim, "first-victim", "second")
	r.Login = f.value(boss, "first-boss")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.PrivilegeMissing, "")
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.PrivilegeMissing, "")
	f.wantOpen(victim, 1, "first-victim", "second")
}

// TestRightToWriteWithoutTheRightToRead: a login that cannot read the values cannot know which to keep. The server then
// sets the password, and the old one stops working.
func TestRightToWriteWithoutTheRightToRead(t *testing.T) {
	f := newFixture(t, openLDAPOptions{Access: "by self =wx by anonymous auth"})
	dn := f.person("app")
	for range 2 {
		r := f.self(dn, "first-app", "second")
		if ok, _ := f.bind(dn, "second"); ok {
			r.Login = r.Pending
		}
		if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r),
			f.engine.Set(enginetest.Within(t), r)); err != nil {
			t.Fatal(err)
		}
		f.wantOpen(dn, 1, "second", "first-app")
	}
}

func TestSuperuserDoesNotChangeItself(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	boss := f.person("boss")
	r := f.bySuperuser(strings.Replace(strings.ToUpper(boss), ",", " , ", 1), "first-boss", "second")
	r.Login = f.value(boss, "first-boss")
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.TakeoverRefused, "superuser itself")
	f.wantOpen(boss, 1, "first-boss", "second")
}

func TestEntryThatIsNotThere(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	r := f.bySuperuser("uid=nobody,"+peopleDN, "x", "y")
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.InvalidSecret, "nobody")
	enginetest.WantCause(t, f.engine.Verify(enginetest.Within(t), r, r.Current), engine.LoginRefused, "nobody")
}

// TestSpecialCharactersInNames: names can have special characters, escaped according to RFC 4514.
func TestSpecialCharactersInNames(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	for _, name := range []string{"a,b", "a+b", `a"b\c`, "a<b>c;d", " lead and trail ", "#first", "a=b", "ü€", "a(b)*c",
		"a/b"} {
		dn := f.person(name)
		for _, r := range []*engine.Request{f.self(dn, "first-"+name, "second"), f.bySuperuser(dn, "second", "third")} {
			if err := errors.Join(f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r),
				f.engine.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
				t.Errorf("%s: %v", dn, err)
			}
		}
		f.wantOpen(dn, 2, "third", "second", "first-"+name)
	}
}

func TestEveryFaultOfTheFormatIsReported(t *testing.T) {
	e := New(engine.TLSPolicy{})
	for value, words := range map[string][]string{
		`{"engine":"ldap","port":0,"username":"","password":""}`: {
			"host is missing", "username is missing", "password is missing", "port is not"},
		`{"engine":"ldap","host":"h","username":"app","password":"p"}`:                 {"not a distinguished name"},
		`{"engine":"ldap","host":"h","username":"uid=a,b","password":"p"}`:             {"not a distinguished name"},
		`{"engine":"ldap","host":"h","username":"uid=a","password":"p","ssl":false}`:   {"no unencrypted connection"},
		`{"engine":"ldap","host":"h","username":"uid=a","password":"p","ssl":"FALSE"}`: {"no unencrypted connection"},
		`{"engine":"ad","host":"h","username":"CORP\\app","password":"p"}`:             {"userPrincipalName"},
		`{"engine":"ad","host":"h","username":"uid=a,b@c","password":"p"}`:             {"neither a distinguished name"},
	} {
		_, err := e.Next(enginetest.Within(t), &engine.Request{Current: engine.StringValue(value)})
		for _, w := range words {
			enginetest.WantCause(t, err, engine.InvalidSecret, w)
		}
	}
}

func TestStartTLS(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("app")
	r := f.self(dn, "first-app", "second")
	plain := r.Current.WithJSON("port", []byte(strconv.Itoa(f.PlainPort)))
	for _, c := range []struct {
		startTLS int
		v        engine.Value
		cause    engine.Cause
	}{{f.PlainPort, plain, ""}, {389, r.Current, ""}, {389, plain, engine.Unreachable},
		{f.Port, r.Current, engine.Unreachable}} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		e := *f.engine
		e.startTLS = c.startTLS
		err := e.Verify(ctx, r, c.v)
		cancel()
		if c.cause == "" && err != nil {
			t.Errorf("StartTLS at %d: %v", c.startTLS, err)
		}
		if c.cause != "" {
			enginetest.WantCause(t, err, c.cause, "")
		}
	}
	stranger := New(engine.TLSPolicy{AllowPlaintext: true})
	enginetest.WantCause(t, stranger.Verify(enginetest.Within(t), r, r.Current), engine.TLSFailed, "CA")
	stranger.startTLS = f.PlainPort
	enginetest.WantCause(t, stranger.Verify(enginetest.Within(t), r, plain), engine.TLSFailed, "CA")
}

func TestHungServerIsGivenUpInTime(t *testing.T) {
	f := newFixture(t, openLDAPOptions{})
	dn := f.person("app")
	hung := f.value(dn, "first-app").WithJSON("port", []byte(strconv.Itoa(testserver.Blackhole(t))))
	proxy := testserver.Proxy(t, f.Addr())
	stalled := f.value(dn, "first-app").WithJSON("port", []byte(strconv.Itoa(proxy.Port)))
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	var seen atomic.Int32
	proxy.Filter(func(c testserver.Chunk) bool {
		if c.FromServer && seen.Add(1) > 1 { // the handshake has passed, but not the bind
			<-end
		}
		return true
	})
	for name, c := range map[string]struct {
		v        engine.Value
		startTLS bool
	}{"LDAPS": {hung, false}, "StartTLS": {hung, true}, "bind": {stalled, false}} {
		e := *f.engine
		if c.startTLS {
			port, _ := c.v.Text("port")
			e.startTLS, _ = strconv.Atoi(port)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		begin := time.Now()
		err := e.Verify(ctx, &engine.Request{Current: c.v}, c.v)
		cancel()
		enginetest.WantCause(t, err, engine.Unreachable, "in time")
		if d := time.Since(begin); d > 600*time.Millisecond {
			t.Errorf("%s: it took %s", name, d)
		}
	}
}
