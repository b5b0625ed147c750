package testserver

import (
	"context"
	"embed"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// LDAPBase is the suffix of StartOpenLDAP's directory, and LDAPPeople the unit with its accounts.
// If a group named LDAPAdministrators exists, its members may manage passwords.
const (
	LDAPBase           = "dc=example,dc=org"
	LDAPPeople         = "ou=people," + LDAPBase
	LDAPAdministrators = "cn=administrators," + LDAPBase
)

// OpenLDAPOptions configures OpenLDAP, which refuses simple binds without TLS.
type OpenLDAPOptions struct {
	// Access replaces the access rules for userPassword, such as "by self =wx by anonymous auth".
	Access string
	// Hash is the server's own password hash, such as "{ARGON2}"; the default is "{SSHA}".
	Hash string
	// Config is appended to slapd.conf, in the section of the directory's
	// database, such as "overlay ppolicy" (the module is loaded).
	Config string
}

// OpenLDAPServer is a running slapd. User is the administrator's DN (the rootdn, which access rules
// do not restrict). Port serves LDAPS.
type OpenLDAPServer struct {
	Server
	// PlainPort serves LDAP and StartTLS.
	PlainPort int
}

//go:embed conf/slapd.conf
var openLDAPFiles embed.FS

// StartOpenLDAP starts the machine's slapd with an empty unit for people. Users
// may change their own passwords. Measured on two cores: 0.05 s.
func StartOpenLDAP(ctx context.Context, o OpenLDAPOptions) (*OpenLDAPServer, error) {
	s := &OpenLDAPServer{Server: NewServer("openldap", false, nil, nil)}
	s.User = "cn=admin," + LDAPBase
	return s, s.Start(ctx, Launch{
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
func (s *OpenLDAPServer) populate() error {
	conn, err := s.bind()
	if err != nil {
		return err
	}
	defer conn.Close()
	base := ldap.NewAddRequest(LDAPBase, nil)
	base.Attribute("objectClass", []string{"dcObject", "organization"})
	base.Attribute("o", []string{"example"})
	people := ldap.NewAddRequest(LDAPPeople, nil)
	people.Attribute("objectClass", []string{"organizationalUnit"})
	for _, request := range []*ldap.AddRequest{base, people} {
		// A resumed server already has them.
		if err := conn.Add(request); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
			return err
		}
	}
	return nil
}

// OpenLDAP starts an OpenLDAP that ends with the test.
var OpenLDAP = During(StartOpenLDAP)

// URL returns the server's LDAPS address.
func (s *OpenLDAPServer) URL() string { return "ldaps://" + s.Addr() }

// Connect binds as the administrator until the test's end.
func (s *OpenLDAPServer) Connect(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := s.bind()
	Must(t, err, "bind as the administrator")
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *OpenLDAPServer) bind() (*ldap.Conn, error) {
	return BindLDAP(s.URL(), s.ClientTLS(), s.User, s.Password)
}

// Person adds an account with a password and returns its DN.
func (s *OpenLDAPServer) Person(t testing.TB, name, password string) string {
	t.Helper()
	dn := "uid=" + ldap.EscapeDN(name) + "," + LDAPPeople
	request := ldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"inetOrgPerson"})
	request.Attribute("cn", []string{name})
	request.Attribute("sn", []string{name})
	request.Attribute("userPassword", []string{password})
	Must(t, s.Connect(t).Add(request), "add "+dn)
	return dn
}
