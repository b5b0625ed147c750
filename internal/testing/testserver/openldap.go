package testserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
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

// OpenLDAPOptions configures OpenLDAP. The zero value refuses simple binds without TLS.
type OpenLDAPOptions struct {
	// AllowPlaintext also accepts simple binds without TLS.
	AllowPlaintext bool
	// Access replaces the access rules for userPassword, such as "by self =wx by anonymous auth".
	Access string
	// Hash is the server's own password hash, such as "{ARGON2}"; the default is "{SSHA}".
	Hash string
	// Config is appended to slapd.conf, in the section of the directory's
	// database, such as "overlay ppolicy" (the module is loaded).
	Config string
	// CA issues the certificate; nil makes a new CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
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
	slapd, err := program("slapd", "deps")
	if err != nil {
		return nil, err
	}
	server, err := prepare("openldap", o.CA, o.Cert)
	if err != nil {
		return nil, fmt.Errorf("openldap: %w", err)
	}
	s := &OpenLDAPServer{Server: *server}
	s.User = "cn=admin," + LDAPBase
	security := "security simple_bind=128"
	if o.AllowPlaintext {
		security = ""
	}
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
%s
database mdb
suffix "%s"
directory %s
rootdn "%s"
rootpw %s
access to attrs=userPassword %s
access to * by self read by users read by * none
%s
`, s.CAFile, s.path("server.crt"), s.path("server.key"), security,
		LDAPBase, s.path("data"), s.User, s.Password, access, o.Config)
	_, err = s.mkdir("data")
	if err == nil {
		s.PlainPort, err = FreePort()
	}
	if err = errors.Join(err, s.write("slapd.conf", config)); err != nil {
		os.RemoveAll(s.Dir)
		return nil, fmt.Errorf("openldap: %w", err)
	}
	err = s.start(ctx, launch{
		command: func(port int) []string {
			urls := fmt.Sprintf("ldaps://127.0.0.1:%d/ ldap://127.0.0.1:%d/", port, s.PlainPort)
			// -d keeps it in the foreground; 256 logs every operation.
			return []string{slapd, "-f", s.path("slapd.conf"), "-h", urls, "-d", "256"}
		},
		ready: func(context.Context) error { return s.populate(o.Cert != nil) },
	})
	if err != nil {
		return nil, fmt.Errorf("openldap: %w", err)
	}
	return s, nil
}

// populate adds the parents of all other entries.
func (s *OpenLDAPServer) populate(anyName bool) error {
	config := s.CA.ClientTLS(s.Host)
	// The test itself refuses a certificate for another name.
	config.InsecureSkipVerify = anyName
	conn, err := ldap.DialURL(s.URL(), ldap.DialWithTLSConfig(config))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Bind(s.User, s.Password); err != nil {
		return err
	}
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
func OpenLDAP(t testing.TB, o OpenLDAPOptions) *OpenLDAPServer {
	t.Helper()
	return during(t, StartOpenLDAP, o)
}

// URL returns the server's LDAPS address.
func (s *OpenLDAPServer) URL() string { return "ldaps://" + s.Addr() }

// Connect binds as the administrator until the test's end.
func (s *OpenLDAPServer) Connect(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := ldap.DialURL(s.URL(), ldap.DialWithTLSConfig(s.CA.ClientTLS(s.Host)))
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	conn.SetTimeout(10 * time.Second)
	t.Cleanup(func() { conn.Close() })
	if err := conn.Bind(s.User, s.Password); err != nil {
		t.Fatalf("testserver: bind as the administrator: %v", err)
	}
	return conn
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
