package ldap

import (
	"context"
	"embed"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/testing/testserver"
)

// baseDN is the suffix of startOpenLDAP's directory, and peopleDN the unit with its accounts.
// If a group named administratorsDN exists, its members may manage passwords.
const (
	baseDN           = "dc=example,dc=org"
	peopleDN         = "ou=people," + baseDN
	administratorsDN = "cn=administrators," + baseDN
)

// openLDAPOptions configures OpenLDAP, which refuses simple binds without TLS.
type openLDAPOptions struct {
	// Access replaces the access rules for userPassword, such as "by self =wx by anonymous auth".
	Access string
	// Hash is the server's own password hash, such as "{ARGON2}"; the default is "{SSHA}".
	Hash string
	// Config is appended to slapd.conf, in the section of the directory's
	// database, such as "overlay ppolicy" (the module is loaded).
	Config string
}

// openLDAPServer is a running slapd. User is the administrator's DN (the rootdn, which access rules
// do not restrict). Port serves LDAPS.
type openLDAPServer struct {
	testserver.Server
	// PlainPort serves LDAP and StartTLS.
	PlainPort int
}

//go:embed testdata/slapd.conf
var openLDAPFiles embed.FS

// startOpenLDAP starts the machine's slapd with an empty unit for people. Users
// may change their own passwords. Measured on two cores: 0.05 s.
func startOpenLDAP(ctx context.Context, o openLDAPOptions) (*openLDAPServer, error) {
	s := &openLDAPServer{Server: testserver.NewServer("openldap", false, nil, nil)}
	s.User = "cn=admin," + baseDN
	return s, s.Start(ctx, testserver.Launch{
		Program: "slapd",
		Ports:   []*int{&s.PlainPort}, Files: openLDAPFiles, S: s, O: o,
		Args: func() []string {
			urls := fmt.Sprintf("ldaps://127.0.0.1:%d/ ldap://127.0.0.1:%d/", s.Port, s.PlainPort)
			// -d keeps it in the foreground; 256 logs every operation.
			return []string{"-f", s.Path("slapd.conf"), "-h", urls, "-d", "256"}
		},
		Ready: func(context.Context) error { return s.populate() },
	})
}

// populate adds the parents of all other entries.
func (s *openLDAPServer) populate() error {
	conn, err := s.bind()
	if err != nil {
		return err
	}
	defer conn.Close()
	base := ldap.NewAddRequest(baseDN, nil)
	base.Attribute("objectClass", []string{"dcObject", "organization"})
	base.Attribute("o", []string{"example"})
	people := ldap.NewAddRequest(peopleDN, nil)
	people.Attribute("objectClass", []string{"organizationalUnit"})
	for _, request := range []*ldap.AddRequest{base, people} {
		// A resumed server already has them.
		if err := conn.Add(request); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
			return err
		}
	}
	return nil
}

// openLDAP starts an OpenLDAP that ends with the test.
var openLDAP = testserver.During(startOpenLDAP)

// URL returns the server's LDAPS address.
func (s *openLDAPServer) URL() string { return "ldaps://" + s.Addr() }

// Connect binds as the administrator until the test's end.
func (s *openLDAPServer) Connect(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := s.bind()
	testserver.Must(t, err, "bind as the administrator")
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *openLDAPServer) bind() (*ldap.Conn, error) {
	return testserver.BindLDAP(s.URL(), s.ClientTLS(), s.User, s.Password)
}

// Person adds an account with a password and returns its DN.
func (s *openLDAPServer) Person(t testing.TB, name, password string) string {
	t.Helper()
	dn := "uid=" + ldap.EscapeDN(name) + "," + peopleDN
	request := ldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"inetOrgPerson"})
	request.Attribute("cn", []string{name})
	request.Attribute("sn", []string{name})
	request.Attribute("userPassword", []string{password})
	testserver.Must(t, s.Connect(t).Add(request), "add "+dn)
	return dn
}

func TestServer(t *testing.T) {
	s := openLDAP(t, openLDAPOptions{})
	dn := s.Person(t, testserver.Unique("app"), "fixture")
	conn, err := ldap.DialURL(s.URL(), ldap.DialWithTLSConfig(s.CA.ClientTLS("localhost")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Bind(dn, "wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Errorf("a wrong password: %v", err)
	}
	if err := conn.Bind(dn, "fixture"); err != nil {
		t.Errorf("the password: %v", err)
	}
	if _, err := conn.PasswordModify(ldap.NewPasswordModifyRequest("", "fixture", "next")); err != nil {
		t.Errorf("a user changes its own password: %v", err)
	}
	plain, err := ldap.DialURL(fmt.Sprintf("ldap://localhost:%d", s.PlainPort))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.Bind(dn, "next"); !ldap.IsErrorWithCode(err, ldap.LDAPResultConfidentialityRequired) {
		t.Errorf("a bind without TLS: %v", err)
	}
	if err := plain.StartTLS(s.CA.ClientTLS("localhost")); err != nil {
		t.Fatal(err)
	}
	if err := plain.Bind(dn, "next"); err != nil {
		t.Errorf("a bind after StartTLS: %v", err)
	}
	testserver.CheckTLS(t, &s.Server)
	testserver.CheckStop(t, &s.Server)
}
