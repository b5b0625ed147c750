package ldap

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates an entry for each rotation of the suite.
type harness struct {
	*fixture
	superuser bool
	overlap   bool
	remembers bool
}

func TestEngineItself(t *testing.T) {
	suite(t, newFixture(t, openLDAPOptions{}), harness{overlap: true})
}

func TestEngineSuperuser(t *testing.T) {
	suite(t, newFixture(t, openLDAPOptions{}), harness{overlap: true, superuser: true})
}

func TestEngineItselfUnderAPolicy(t *testing.T) {
	suite(t, newPolicyFixture(t, "pwdCheckQuality", "2"), harness{remembers: true})
}

func TestEngineSuperuserUnderAPolicy(t *testing.T) {
	suite(t, newPolicyFixture(t), harness{superuser: true})
}

func suite(t *testing.T, f *fixture, h harness) {
	h.fixture = f
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return &h })
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.Addr() }

func (h *harness) Traits() enginetest.Traits {
	return enginetest.Traits{Overlap: h.overlap, Remembers: h.remembers}
}

func (h *harness) Logs() (string, error) { return h.fixture.Logs() }

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	name, password := testserver.Unique("suite, "), testserver.Unique("First-Passw0rd-")
	dn := "uid=" + ldap.EscapeDN(name) + "," + peopleDN
	request := ldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"inetOrgPerson"})
	request.Attribute("cn", []string{name})
	request.Attribute("sn", []string{name})
	if err := h.admin.Add(request); err != nil {
		return value, superuser, err
	}
	if _, err := h.admin.PasswordModify(ldap.NewPasswordModifyRequest(dn, "", password)); err != nil {
		return value, superuser, err
	}
	login := func(user, password string) engine.Value {
		return engine.StringValue(fmt.Sprintf(`{"engine":"openldap","host":%q,"port":%d}`, host, port)).
			With("username", user).With("password", password)
	}
	if h.superuser {
		superuser = login(h.User, h.Password)
	}
	return login(dn, password), superuser, nil
}

func (h *harness) Open(_ context.Context, v engine.Value) error {
	dn, _ := v.Text("username")
	password, _ := v.Text("password")
	ok, err := h.bind(dn, password)
	if err == nil && !ok {
		return engine.LoginRefused
	}
	return err
}

func (h *harness) Restore(_ context.Context, v engine.Value) error {
	dn, _ := v.Text("username")
	password, _ := v.Text("password")
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace(passwordAttribute, []string{hashed("SSHA", password, []byte("salt"))})
	err := h.admin.Modify(m)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultConstraintViolation, ldap.LDAPResultAttributeOrValueExists) {
		// The password is in the history, so an administrator cannot restore it.
		return errors.ErrUnsupported
	}
	return err
}

func (h *harness) Credentials(_ context.Context, v engine.Value) (int, error) {
	dn, _ := v.Text("username")
	return len(h.values(dn)), nil
}

// Administrators makes the entry an administrator, through a group to which a rule gives full access.
func (h *harness) Administrators(_ context.Context, v engine.Value) (acts []enginetest.Act, err error) {
	dn, _ := v.Text("username")
	return []enginetest.Act{{Name: "a group that may manage passwords", Do: func(context.Context) (func(), error) {
		m := ldap.NewAddRequest(administratorsDN, nil)
		m.Attribute("objectClass", []string{"groupOfNames"})
		m.Attribute("member", []string{dn})
		return func() { _ = h.admin.Del(ldap.NewDelRequest(administratorsDN, nil)) }, h.admin.Add(m)
	}}}, nil
}
