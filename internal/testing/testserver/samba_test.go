package testserver

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestSamba(t *testing.T) {
	s := During(StartSamba)(t, SambaOptions{})
	name := Unique("app")
	dn := s.Person(t, name, "First-Passw0rd")
	upn := name + "@" + strings.ToLower(ADRealm)
	for _, user := range []string{dn, upn} {
		if err := s.Bind(user, "First-Passw0rd"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if err := s.Bind(user, "wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			t.Errorf("%s, a wrong password: %v", user, err)
		}
	}
	s.Set(t, dn, "unicodePwd", ADPassword("Second-Passw0rd"))
	if err := s.Bind(upn, "First-Passw0rd"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Errorf("the old password: %v", err)
	}
	s.Policy(t, dn, "msDS-LockoutThreshold", "1")
	_ = s.Bind(upn, "wrong")
	if err := s.Bind(upn, "Second-Passw0rd"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Errorf("the policy does not lock the account: %v", err)
	}
	CheckTLS(t, &s.Server)
	CheckStop(t, &s.Server)
}
