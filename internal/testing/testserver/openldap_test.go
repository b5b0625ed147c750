package testserver

import (
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestOpenLDAP(t *testing.T) {
	s := OpenLDAP(t, OpenLDAPOptions{})
	dn := s.Person(t, Unique("app"), "fixture")
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
	CheckTLS(t, &s.Server)
	CheckStop(t, &s.Server)
}
