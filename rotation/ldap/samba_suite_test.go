package ldap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// domainHarness creates an Active Directory user for each rotation of the suite.
type domainHarness struct {
	*testserver.SambaServer
	// operator resets the passwords, or is the zero Value if users change their own.
	operator engine.Value
}

func TestEngineActiveDirectoryItself(t *testing.T) {
	domainSuite(t, func(*testserver.SambaServer) engine.Value { return engine.Value{} })
}

func TestEngineActiveDirectorySuperuser(t *testing.T) {
	domainSuite(t, func(s *testserver.SambaServer) engine.Value {
		name, password := testserver.Unique("operator-"), testserver.Unique("Operat0r-")
		addOperator(t, s, name, password)
		return adValue(s, upn(name), password)
	})
}

func domainSuite(t *testing.T, operator func(*testserver.SambaServer) engine.Value) {
	s := testserver.SharedSamba(t, testserver.SambaOptions{})
	h := &domainHarness{s, operator(s)}
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return h })
}

// addOperator adds a user who may only reset the passwords of the people, as a helpdesk does.
func addOperator(t *testing.T, s *testserver.SambaServer, name, password string) (dn string) {
	t.Helper()
	dn = s.Person(t, name, password)
	// The extended right User-Force-Change-Password, on the users in the container.
	// Source: https://learn.microsoft.com/en-us/windows/win32/adschema/r-user-force-change-password
	allow(t, s, testserver.ADPeople,
		"(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;%s)", dn)
	return dn
}

// allow adds an entry to an object's access control list. %s in the entry is replaced by the SID of whom.
func allow(t *testing.T, s *testserver.SambaServer, object, entry, whom string) {
	t.Helper()
	raw := attribute(t, s, whom, "objectSid")
	sid := fmt.Sprintf("S-%d-%d", raw[0], raw[7])
	for part := []byte(raw[8:]); len(part) >= 4; part = part[4:] {
		sid += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(part))
	}
	testserver.Must(t, s.Tool(t.Context(), "dsacl", "set", "-H", s.Path("private/sam.ldb"), "--objectdn="+object,
		"--sddl="+fmt.Sprintf(entry, sid)), "access of "+whom)
}

// attribute returns an entry's first value of an attribute.
func attribute(t *testing.T, s *testserver.SambaServer, dn, name string) string {
	t.Helper()
	request := ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, 0, 1, 0, false, "(objectClass=*)", []string{name}, nil)
	found, err := s.Admin().Search(request)
	if err != nil || len(found.Entries) != 1 || found.Entries[0].GetAttributeValue(name) == "" {
		t.Fatalf("%s of %s cannot be read: %v", name, dn, err)
	}
	return found.Entries[0].GetAttributeValue(name)
}

// upn returns the login name of a user of the domain.
func upn(name string) string { return name + "@" + strings.ToLower(testserver.ADRealm) }

func adValue(s *testserver.SambaServer, user, password string) engine.Value {
	v := engine.StringValue(fmt.Sprintf(`{"engine":"ad","host":%q}`, s.Host))
	return v.With("username", user).With("password", password)
}

func (h *domainHarness) Engine() engine.Engine { return New(engine.TLSPolicy{ExtraCAs: h.CA.PEM}) }

func (h *domainHarness) Target() string { return h.Addr() }

// Users who change their own passwords are bound by the history; resets ignore it.
func (h *domainHarness) Traits() enginetest.Traits {
	return enginetest.Traits{Remembers: h.operator.IsZero()}
}

func (h *domainHarness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	name, password := testserver.Unique("suite-"), testserver.Unique("First-Passw0rd-")
	at := func(v engine.Value) engine.Value {
		return v.With("host", host).WithJSON("port", fmt.Append(nil, port))
	}
	if !h.operator.IsZero() {
		superuser = at(h.operator)
	}
	_, err = h.AddPerson(name, password)
	return at(adValue(h.SambaServer, upn(name), password)), superuser, err
}

func (h *domainHarness) Open(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	err := h.Bind(user, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) && strings.Contains(err.Error(), "data 52e,") {
		return engine.LoginRefused
	}
	return err
}

func (h *domainHarness) Restore(_ context.Context, v engine.Value) error {
	dn, err := h.entry(v)
	if err != nil {
		return err
	}
	password, _ := v.Text("password")
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace("unicodePwd", []string{testserver.ADPassword(password)})
	return h.Admin().Modify(m)
}

// entry returns the name of a value's entry.
func (h *domainHarness) entry(v engine.Value) (string, error) {
	user, _ := v.Text("username")
	return h.Find("userPrincipalName", user)
}

// Administrators adds the entry to groups that Active Directory protects, directly and through another group.
func (h *domainHarness) Administrators(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	dn, err := h.entry(v)
	if err != nil {
		return nil, err
	}
	join := func(group, member string) error {
		m := ldap.NewModifyRequest(group, nil)
		m.Add("member", []string{member})
		return h.Admin().Modify(m)
	}
	nested := "CN=" + testserver.Unique("nested-") + "," + testserver.ADPeople
	return []enginetest.Act{
		{Name: "Domain Admins", Do: func(context.Context) (func(), error) {
			return nil, join("CN=Domain Admins,CN=Users,"+testserver.ADBase, dn)
		}},
		{Name: "Account Operators", Do: func(context.Context) (func(), error) {
			return nil, join("CN=Account Operators,CN=Builtin,"+testserver.ADBase, dn)
		}},
		{Name: "a group in Administrators", Do: func(context.Context) (func(), error) {
			add := ldap.NewAddRequest(nested, nil)
			add.Attribute("objectClass", []string{"group"})
			err := errors.Join(h.Admin().Add(add), join("CN=Administrators,CN=Builtin,"+testserver.ADBase, nested))
			return nil, errors.Join(err, join(nested, dn))
		}},
		{Name: "adminCount", Do: func(context.Context) (func(), error) {
			m := ldap.NewModifyRequest(dn, nil)
			m.Replace("adminCount", []string{"1"})
			return nil, h.Admin().Modify(m)
		}},
	}, nil
}

// Acts returns what a user of the domain can do. By default, users may read most of the domain and join computers.
func (h *domainHarness) Acts(_ context.Context, v engine.Value) ([]enginetest.Act, error) {
	dn, err := h.entry(v)
	if err != nil {
		return nil, err
	}
	user, _ := v.Text("username")
	stranger := testserver.Unique("stranger-")
	if _, err := h.AddPerson(stranger, "Stranger-Passw0rd-1"); err != nil {
		return nil, err
	}
	as := func(do func(conn *ldap.Conn) error) error {
		conn, err := h.Dial(upn(stranger), "Stranger-Passw0rd-1")
		if err != nil {
			return err
		}
		defer conn.Close()
		return do(conn)
	}
	return []enginetest.Act{
		{Name: "holds many connections", Do: func(context.Context) (func(), error) {
			var held []*ldap.Conn
			var err error
			for range 50 {
				conn, derr := h.Dial(upn(stranger), "Stranger-Passw0rd-1")
				if err = errors.Join(err, derr); derr == nil {
					held = append(held, conn)
				}
			}
			return func() {
				for _, conn := range held {
					conn.Close()
				}
			}, err
		}},
		{Name: "wrong passwords, fewer than lock the account", Do: func(context.Context) (func(), error) {
			for range 5 {
				err := h.Bind(user, "Guessed-Passw0rd-1")
				if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
					return nil, fmt.Errorf("a guess: %w", err)
				}
			}
			return nil, nil
		}},
		{Name: "reads all that it may of the entry", Do: func(context.Context) (func(), error) { return nil, nil },
			Observed: func(context.Context) error {
				return as(func(conn *ldap.Conn) error {
					found, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, 0, 1, 0, false,
						"(objectClass=*)",
						[]string{"*", "unicodePwd", "ntPwdHistory", "supplementalCredentials"}, nil))
					if err != nil {
						return err
					}
					for _, a := range found.Entries[0].Attributes {
						if a.Name == "unicodePwd" || a.Name == "ntPwdHistory" || a.Name == "supplementalCredentials" {
							return fmt.Errorf("the entry shows %s", a.Name)
						}
					}
					return nil
				})
			}},
		{Name: "tries to reset the password", Do: func(context.Context) (func(), error) {
			return nil, as(func(conn *ldap.Conn) error {
				m := ldap.NewModifyRequest(dn, nil)
				m.Replace("unicodePwd", []string{testserver.ADPassword("Chosen-Passw0rd-1")})
				if err := conn.Modify(m); !ldap.IsErrorWithCode(err, ldap.LDAPResultInsufficientAccessRights) {
					return fmt.Errorf("a reset without the right: %w", err)
				}
				return nil
			})
		}},
	}, nil
}
