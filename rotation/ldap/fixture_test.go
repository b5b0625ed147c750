package ldap

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/rotation/engine"
)

// fixture is a server with an engine that trusts it.
type fixture struct {
	*openLDAPServer
	t      testing.TB
	admin  *ldap.Conn
	engine *Engine
}

func newFixture(t testing.TB, o openLDAPOptions) *fixture {
	t.Helper()
	s := openLDAP(t, o)
	return &fixture{s, t, s.Connect(t), New(engine.TLSPolicy{ExtraCAs: s.CA.PEM})}
}

// policy is the overlay that checks passwords, with a history and a lockout.
const policy = `overlay ppolicy
ppolicy_default "cn=policy,dc=example,dc=org"
ppolicy_use_lockout`

// newPolicyFixture returns a server whose policy also has the given attributes.
func newPolicyFixture(t testing.TB, pairs ...string) *fixture {
	t.Helper()
	f := newFixture(t, openLDAPOptions{Config: policy})
	p := ldap.NewAddRequest("cn=policy,"+baseDN, nil)
	p.Attribute("objectClass", []string{"device", "pwdPolicy"})
	p.Attribute("cn", []string{"policy"})
	p.Attribute("pwdAttribute", []string{passwordAttribute})
	p.Attribute("pwdInHistory", []string{"5"})
	for i := 0; i < len(pairs); i += 2 {
		p.Attribute(pairs[i], []string{pairs[i+1]})
	}
	if err := f.admin.Add(p); err != nil {
		t.Fatal(err)
	}
	return f
}

// person adds an account whose password is "first-" and its name.
func (f *fixture) person(name string) (dn string) {
	f.t.Helper()
	return f.Person(f.t, name, "first-"+name)
}

func (f *fixture) values(dn string) []string {
	f.t.Helper()
	found, err := f.admin.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)",
		[]string{passwordAttribute}, nil))
	if err != nil || len(found.Entries) != 1 {
		f.t.Fatalf("%s: %v", dn, err)
	}
	return found.Entries[0].GetAttributeValues(passwordAttribute)
}

func (f *fixture) replace(dn string, values ...string) {
	f.t.Helper()
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace(passwordAttribute, values)
	if err := f.admin.Modify(m); err != nil {
		f.t.Fatal(err)
	}
}

// bind logs in without the engine. It returns false for a refused login.
func (f *fixture) bind(dn, password string) (bool, error) {
	conn, err := ldap.DialURL(f.URL(), ldap.DialWithTLSConfig(f.CA.ClientTLS(f.Host)))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	conn.SetTimeout(10 * time.Second)
	err = conn.Bind(dn, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return false, nil
	}
	return err == nil, err
}

// wantOpen fails the test unless exactly the first n of the passwords open the entry.
func (f *fixture) wantOpen(dn string, n int, passwords ...string) {
	f.t.Helper()
	for i, p := range passwords {
		if ok, err := f.bind(dn, p); err != nil || ok != (i < n) {
			f.t.Errorf("password %d is accepted: %v, %v", i, ok, err)
		}
	}
}

func (f *fixture) value(user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":"openldap","host":%q,"port":%d}`, f.Host, f.Port)).
		With("username", user).With("password", password)
}

// bySuperuser returns a request for the administrator to rotate an entry that accepts the current password.
func (f *fixture) bySuperuser(dn, current, pending string) *engine.Request {
	return &engine.Request{Secret: "arn", Version: pending,
		Current: f.value(dn, current), Pending: f.value(dn, pending), Proofs: []engine.Value{f.value(dn, current)},
		Login: f.value(f.User, f.Password), Superuser: true, SuperuserChanges: true}
}

// self returns a request for the user itself to rotate.
func (f *fixture) self(dn, current, pending string) *engine.Request {
	r := f.bySuperuser(dn, current, pending)
	r.Login, r.Superuser, r.SuperuserChanges, r.Proofs = r.Current, false, false, nil
	return r
}
