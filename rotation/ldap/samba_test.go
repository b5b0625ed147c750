package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// person is a user in a domain controller, with the engine that rotates it.
type person struct {
	*testserver.SambaServer
	engine   *Engine
	user, dn string
}

const firstPassword = "First-Passw0rd"

func newPerson(t *testing.T, o testserver.SambaOptions) *person {
	t.Helper()
	s := testserver.SharedSamba(t, o)
	name := testserver.Unique("person-")
	e := New(engine.TLSPolicy{ExtraCAs: s.CA.PEM})
	return &person{SambaServer: s, engine: e, user: upn(name), dn: s.Person(t, name, firstPassword)}
}

func (p *person) value(password string) engine.Value { return adValue(p.SambaServer, p.user, password) }

// request returns a request for a change by the user itself.
func (p *person) request(current, pending string) *engine.Request {
	r := &engine.Request{Secret: "arn", Version: pending, Current: p.value(current), Pending: p.value(pending)}
	r.Login = r.Current
	return r
}

// do rehearses and makes a change.
func (p *person) do(t *testing.T, r *engine.Request) error {
	t.Helper()
	return errors.Join(p.engine.DryRun(enginetest.Within(t), r), p.engine.Set(enginetest.Within(t), r))
}

// wantOpen fails the test unless one password opens the account and the other does not.
func (p *person) wantOpen(t *testing.T, password, not string) {
	t.Helper()
	if err := p.Bind(p.user, password); err != nil {
		t.Errorf("the password that must be valid: %v", err)
	}
	if err := p.Bind(p.user, not); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Errorf("the password that must not be valid: %v", err)
	}
}

func TestActiveDirectoryUserGivesTheOldPasswordWithTheNew(t *testing.T) {
	for _, port := range []string{"636", "389"} {
		for _, byName := range []bool{false, true} {
			p := newPerson(t, testserver.SambaOptions{})
			p.user = testserver.Unique("app(1)*") + "@corp.example.com"
			p.Set(t, p.dn, "userPrincipalName", p.user)
			if byName {
				p.user = p.dn
			}
			r := p.request(firstPassword, "sécond-pass€w0rD")
			for _, v := range []*engine.Value{&r.Current, &r.Pending, &r.Login} {
				*v = v.WithJSON("port", []byte(port))
			}
			for range 2 {
				if err := errors.Join(p.do(t, r), p.engine.Verify(enginetest.Within(t), r, r.Pending)); err != nil {
					t.Fatalf("%s at port %s: %v", p.user, port, err)
				}
				r.Login = r.Pending // as the machine does, since current is refused
			}
			p.wantOpen(t, "sécond-pass€w0rD", firstPassword)
		}
	}
}

func (p *person) set(t *testing.T, attribute string, values ...string) {
	t.Helper()
	p.Set(t, p.dn, attribute, values...)
}

func TestActiveDirectorySuperuserResets(t *testing.T) {
	p := newPerson(t, testserver.SambaOptions{})
	name := testserver.Unique("operator-")
	operator := addOperator(t, p.SambaServer, name, "Operat0r-Passw0rd")
	r := p.request("not-the-password", "Second-Passw0rd")
	r.Login, r.Superuser, r.SuperuserChanges = adValue(p.SambaServer, upn(name), "Operat0r-Passw0rd"), true, true
	for range 2 {
		if err := p.do(t, r); err != nil {
			t.Fatal(err)
		}
	}
	p.wantOpen(t, "Second-Passw0rd", firstPassword)
	r.Pending = adValue(p.SambaServer, operator, "x") // the superuser by its other name
	enginetest.WantCause(t, p.engine.Set(enginetest.Within(t), r), engine.TakeoverRefused, "superuser itself")
	r.Pending = adValue(p.SambaServer, "nobody@corp.example.com", "x")
	enginetest.WantCause(t, p.engine.DryRun(enginetest.Within(t), r), engine.InvalidSecret, "nobody@corp.example.com")
	// A user whose groups are hidden may be an administrator.
	const tokenGroups = "b7c69e6d-2cc7-11d2-854e-00a0c983f608"
	hidden := newPerson(t, testserver.SambaOptions{})
	allow(t, p.SambaServer, hidden.dn, "(OD;;RP;"+tokenGroups+";;%s)", operator)
	r.Pending = hidden.value("Second-Passw0rd")
	enginetest.WantCause(t, p.engine.Set(enginetest.Within(t), r), engine.PrivilegeMissing, "cannot determine")
	// A user who may not reset passwords.
	other := newPerson(t, testserver.SambaOptions{})
	r.Pending, r.Login = p.value("Third-Passw0rd"), other.value(firstPassword)
	enginetest.WantCause(t, p.engine.Set(enginetest.Within(t), r), engine.PrivilegeMissing, "")
}

func TestActiveDirectoryPolicies(t *testing.T) {
	p := newPerson(t, testserver.SambaOptions{})
	if err := p.do(t, p.request(firstPassword, "Second-Passw0rd")); err != nil {
		t.Fatal(err)
	}
	try := func(pending, text string) {
		t.Helper()
		enginetest.WantCause(t, p.do(t, p.request("Second-Passw0rd", pending)), engine.PolicyRejected, text)
	}
	try(firstPassword, "0000052D") // in the history
	try("Short1", "0000052D")
	p.Policy(t, p.dn, "msDS-MinimumPasswordLength", "30")
	try("Long-enough-Passw0rd-for-all", "0000052D") // not for this user
	p.wantOpen(t, "Second-Passw0rd", firstPassword)
	// Somebody changes the password after the login and before the change.
	r := p.request("Second-Passw0rd", "Third-Passw0rd")
	s, err := p.engine.open(enginetest.Within(t), r, r.Login)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	p.set(t, "unicodePwd", testserver.ADPassword("Passw0rd-that-was-set-by-hand-1"))
	s.dn, s.pending = p.dn, "Third-Passw0rd"
	enginetest.WantCause(t, s.unicodePwd(), engine.TargetFailed, "as the old one")
}

// secret returns the person's secret in the simulator, with the machine that rotates it.
func (p *person) secret(t *testing.T) (*world.World, string) {
	w := world.New(t, p.engine)
	return w, w.Secret(testserver.Unique("person/"), p.value(firstPassword))
}

// TestActiveDirectoryHourOfGrace: for an hour, logins accept the previous password. A repeated finishSecret logs in
// with it, is refused the change, and succeeds because the new one opens the account.
func TestActiveDirectoryHourOfGrace(t *testing.T) {
	p := newPerson(t, testserver.SambaOptions{OldPasswords: 60})
	w, arn := p.secret(t)
	id := w.Begin(arn)
	if err := w.Steps(arn, id, rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret); err != nil {
		t.Fatal(err)
	}
	pending, _ := w.Get(arn, "AWSPENDING").Text("password")
	// This simulates a finishSecret that dies right after the change.
	if err := p.engine.Set(enginetest.Within(t), p.request(firstPassword, pending)); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{firstPassword, pending} {
		if err := p.Bind(p.user, password); err != nil {
			t.Fatalf("within the hour: %v", err)
		}
	}
	enginetest.WantCause(t, p.engine.Set(enginetest.Within(t), p.request(firstPassword, pending)), engine.TargetFailed,
		"as the old one")
	if err := w.Steps(arn, id, rotation.FinishSecret); err != nil {
		t.Fatal(err)
	}
	if current, _ := w.Get(arn, "AWSCURRENT").Text("password"); current != pending {
		t.Error("AWSCURRENT is not the pending value")
	}
	if err := w.Rotate(arn); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
}

// TestActiveDirectoryMinimumAge: only the change itself reveals the minimum age.
func TestActiveDirectoryMinimumAge(t *testing.T) {
	p := newPerson(t, testserver.SambaOptions{})
	p.Policy(t, p.dn, "msDS-MinimumPasswordAge", testserver.ADDuration(time.Hour))
	w, arn := p.secret(t)
	id := w.Begin(arn)
	err := w.Steps(arn, id)
	enginetest.WantCause(t, err, engine.PolicyRejected, "finishSecret")
	if !strings.Contains(err.Error(), "the target is unchanged: AWSCURRENT opens it") {
		t.Error(err)
	}
	p.wantOpen(t, firstPassword, "another")
	// The age has passed.
	p.Policy(t, p.dn, "msDS-PasswordSettingsPrecedence", "1")
	if err := w.Steps(arn, id, rotation.FinishSecret); err != nil {
		t.Error(err)
	}
	current, _ := w.Get(arn, "AWSCURRENT").Text("password")
	p.wantOpen(t, current, firstPassword)
}

// TestActiveDirectoryLockout: createSecret tries a wrong password once, so failures count toward a lockout.
func TestActiveDirectoryLockout(t *testing.T) {
	p := newPerson(t, testserver.SambaOptions{})
	p.Policy(t, p.dn, "msDS-LockoutThreshold", "3")
	w, arn := p.secret(t)
	for range 3 {
		if err := w.Rotate(arn); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.wrong(t); n != 0 {
		t.Errorf("rotations have cost %d wrong passwords", n)
	}
	arn = w.Secret(testserver.Unique("wrong/"), p.value("not-the-password"))
	id := w.Begin(arn)
	for n := 1; n <= 3; n++ {
		enginetest.WantCause(t, w.Steps(arn, id, rotation.CreateSecret), engine.LoginRefused, "")
		if have := p.wrong(t); have != n {
			t.Fatalf("after %d attempts of createSecret, %d wrong passwords are counted", n, have)
		}
	}
	enginetest.WantCause(t, w.Steps(arn, id, rotation.CreateSecret), engine.TargetFailed, "is locked")
}

// wrong returns how many wrong passwords the domain has counted.
func (p *person) wrong(t *testing.T) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(attribute(t, p.SambaServer, p.dn, "badPwdCount"), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestActiveDirectoryStates(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(p *person)
		text    string
	}{
		"disabled":     {func(p *person) { p.set(t, "userAccountControl", "514") }, "is disabled"},
		"expired":      {func(p *person) { p.set(t, "accountExpires", "1") }, "has expired"},
		"must change":  {func(p *person) { p.set(t, "pwdLastSet", "0") }, "must change"},
		"logon hours":  {func(p *person) { p.set(t, "logonHours", string(make([]byte, 21))) }, "at this time"},
		"workstations": {func(p *person) { p.set(t, "userWorkstations", "elsewhere") }, "from here"},
	} {
		p := newPerson(t, testserver.SambaOptions{})
		c.prepare(p)
		r := p.request(firstPassword, "Second-Passw0rd")
		err := p.engine.Verify(enginetest.Within(t), r, r.Current)
		if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestActiveDirectoryRefusals uses made-up answers: Samba reports a wrong password for an unknown user, and lets no
// password expire within a day.
func TestActiveDirectoryRefusals(t *testing.T) {
	for data, want := range map[string]struct {
		cause engine.Cause
		text  string
	}{
		"52e": {engine.LoginRefused, "is refused"},
		"525": {engine.LoginRefused, "does not exist"},
		"532": {engine.TargetFailed, "password that has expired"},
		"80":  {engine.TargetFailed, "is refused"},
	} {
		s := &session{ctx: context.Background(), ad: true}
		answer := errors.New("80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data " + data +
			", v3839")
		err := s.refusal(ldap.NewError(ldap.LDAPResultInvalidCredentials, answer),
			ldap.NewControlBeheraPasswordPolicy())
		enginetest.WantCause(t, err, want.cause, want.text)
	}
}
