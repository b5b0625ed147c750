package testserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

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

// StartOpenLDAP starts the machine's slapd with an empty unit for people. Users
// may change their own passwords. Measured on two cores: 0.05 s.
func StartOpenLDAP(ctx context.Context, o OpenLDAPOptions) (*OpenLDAPServer, error) {
	slapd, err := program("slapd")
	if err != nil {
		return nil, err
	}
	server, err := prepare("openldap", false, nil, nil)
	if err != nil {
		return nil, err
	}
	s := &OpenLDAPServer{Server: *server}
	s.User = "cn=admin," + LDAPBase
	access := cmp.Or(o.Access, fmt.Sprintf("by group.exact=%q manage by self write by anonymous auth by * none",
		LDAPAdministrators))
	// Use full module names; otherwise the path in a module's .la file counts.
	config := fmt.Sprintf(`include %[1]s/etc/ldap/schema/core.schema
include %[1]s/etc/ldap/schema/cosine.schema
include %[1]s/etc/ldap/schema/inetorgperson.schema
modulepath %[1]s/usr/lib/ldap
moduleload back_mdb.so
moduleload ppolicy.so
moduleload argon2.so
moduleload pw-sha2.so
password-hash %[2]s
`, release(), cmp.Or(o.Hash, "{SSHA}")) + fmt.Sprintf(`
TLSCACertificateFile %s
TLSCertificateFile %s
TLSCertificateKeyFile %s
security simple_bind=128
database mdb
suffix "%s"
directory %s
rootdn "%s"
rootpw %s
access to attrs=userPassword %s
access to * by self read by users read by * none
%s
`, s.CAFile, s.path("server.crt"), s.path("server.key"),
		LDAPBase, s.path("data"), s.User, s.Password, access, o.Config)
	return s, s.start(ctx, launch{
		files: func(int) map[string]string {
			s.PlainPort, _ = FreePort() // without one, the server does not start
			return map[string]string{"slapd.conf": config}
		},
		command: func(port int) []string {
			urls := fmt.Sprintf("ldaps://127.0.0.1:%d/ ldap://127.0.0.1:%d/", port, s.PlainPort)
			// -d keeps it in the foreground; 256 logs every operation.
			return []string{slapd, "-f", s.path("slapd.conf"), "-h", urls, "-d", "256"}
		},
		ready: func(context.Context) error { return s.populate() },
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
var OpenLDAP = during(StartOpenLDAP)

// URL returns the server's LDAPS address.
func (s *OpenLDAPServer) URL() string { return "ldaps://" + s.Addr() }

// Connect binds as the administrator until the test's end.
func (s *OpenLDAPServer) Connect(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := s.bind()
	if err != nil {
		t.Fatalf("testserver: bind as the administrator: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *OpenLDAPServer) bind() (*ldap.Conn, error) {
	return bind(s.URL(), s.clientTLS(), s.User, s.Password)
}

// bind connects and binds. It returns the server's error unchanged.
func bind(url string, config *tls.Config, user, password string) (*ldap.Conn, error) {
	conn, err := ldap.DialURL(url, ldap.DialWithTLSConfig(config))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(20 * time.Second)
	if err := conn.Bind(user, password); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
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
	if err := s.Connect(t).Add(request); err != nil {
		t.Fatalf("testserver: add %s: %v", dn, err)
	}
	return dn
}
