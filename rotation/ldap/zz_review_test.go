//go:build repro

package ldap

import (
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
)

// L1: a minimum age of passwords: createSecret says ok, setSecret cannot succeed, and
// the pending value is stuck.
func TestZZMinimumAge(t *testing.T) {
	f := newPolicyFixture(t, "pwdMinAge", "86400")
	dn := f.person("app")
	w := zzworld.New(t, f.engine)
	arn := w.Secret("app", string(f.value(dn, "first-app").Reveal()))
	token := w.Begin(arn)
	rep := operator.Check(t.Context(), w.Rotator(), arn)
	create := w.Step(arn, token, rotation.CreateSecret)
	set := w.Step(arn, token, rotation.SetSecret)
	t.Logf("check %+v\ncreate: %v\nset: %v", rep, create, set)
	if create == nil && set != nil {
		t.Error("PROVED: P6")
	}
}

// L2: a directory that takes no changes (a read-only replica answers so or by a
// referral): the rehearsal hears it and says ok.
func TestZZDirectoryThatTakesNoChanges(t *testing.T) {
	for name, config := range map[string]string{"restrict": "restrict modify extended=1.3.6.1.4.1.4203.1.11.1"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testserver.OpenLDAPOptions{Config: config})
			dn := f.person("app")
			w := zzworld.New(t, f.engine)
			arn := w.Secret("app", string(f.value(dn, "first-app").Reveal()))
			token := w.Begin(arn)
			create := w.Step(arn, token, rotation.CreateSecret)
			set := w.Step(arn, token, rotation.SetSecret)
			t.Logf("create: %v\nset: %v", create, set)
			if create == nil && set != nil {
				t.Error("PROVED: P6")
			}
		})
	}
}

// L3: a policy that lets users not change their passwords.
func TestZZUsersMayNotChange(t *testing.T) {
	f := newPolicyFixture(t, "pwdAllowUserChange", "FALSE")
	dn := f.person("app")
	r := f.self(dn, "first-app", "second-password")
	t.Logf("dry run %v, set %v", f.engine.DryRun(enginetest.Within(t), r), f.engine.Set(enginetest.Within(t), r))
}

// L4: grace logins of an expired password are used up by the function.
func TestZZGraceLogins(t *testing.T) {
	f := newPolicyFixture(t, "pwdMaxAge", "1", "pwdGraceAuthNLimit", "3")
	dn := f.person("app")
	w := zzworld.New(t, f.engine)
	arn := w.Secret("app", string(f.value(dn, "first-app").Reveal()))
	time.Sleep(2500 * time.Millisecond)
	for range 4 {
		s := ""
		for _, c := range operator.Check(t.Context(), w.Rotator(), arn) {
			if string(c.State) != "ok" {
				s += c.Check + ": " + c.Detail + "; "
			}
		}
		t.Logf("check: %q", s)
	}
	ok, err := f.bind(dn, "first-app")
	t.Logf("the application's own login after some `check`s: %v %v", ok, err)
}

// L5: the superuser changes an administrator of the directory: an entry that access
// rules or cn=config name as one. RECOVER is known; here the entry's own password is
// in the secret and masterarn is given: it is proved, so nothing to find.

// L6: what slapd logs and what an audit log of changes has.
func TestZZAuditLog(t *testing.T) {
	f := newFixture(t, testserver.OpenLDAPOptions{})
	dn := f.person("app")
	w := zzworld.New(t, f.engine)
	arn := w.Secret("app", string(f.value(dn, "first-app").Reveal()))
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	logs, _ := f.Logs()
	p, _ := engine.StringValue(w.Get(arn, "AWSCURRENT")).Text("password")
	t.Logf("in log: %v", strings.Contains(logs, p) || strings.Contains(logs, "{SSHA}"))
}

// L7: a referral to a bind or a search leads nowhere else.
func TestZZReferralIsNotFollowed(t *testing.T) {
	f := newFixture(t, testserver.OpenLDAPOptions{})
	add := ldap.NewAddRequest("uid=ref,"+testserver.LDAPPeople, nil)
	add.Attribute("objectClass", []string{"referral", "extensibleObject"})
	add.Attribute("ref", []string{"ldap://127.0.0.1:1/uid=x,dc=evil"})
	add.Attribute("uid", []string{"ref"})
	if err := f.admin.Add(add); err != nil {
		t.Fatal(err)
	}
	_, err := f.engine.open(enginetest.Within(t), f.self("uid=ref,"+testserver.LDAPPeople, "x", "y"), f.value("uid=ref,"+testserver.LDAPPeople, "x"))
	t.Logf("bind at a referral: %v", err)
	r := f.bySuperuser("uid=ref,"+testserver.LDAPPeople, "x", "y")
	t.Logf("change of a referral: %v", f.engine.Set(enginetest.Within(t), r))
}
