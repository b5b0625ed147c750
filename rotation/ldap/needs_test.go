package ldap

import (
	"regexp"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestNeedsAreEnoughAndNothingInThemTooMuch: a rotation in OpenLDAP succeeds with the printed rule, and fails with a
// rule that lacks the login or lets it only read.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	for name, superuser := range map[string]bool{"itself": false, "a superuser": true} {
		t.Run(name, func(t *testing.T) {
			request := func(f *fixture) *engine.Request {
				app := f.person("app")
				r := f.self(app, "first-app", "second")
				if superuser {
					r.Login, r.Superuser, r.SuperuserChanges = f.value(f.person("login"), "first-login"), true, true
					r.Proofs = []engine.Value{r.Current}
				}
				return r
			}
			var n engine.Needs
			f := newFixture(t, openLDAPOptions{})
			r := request(f)
			if err := f.engine.Needs(enginetest.Within(t), r, &n); err != nil {
				t.Fatal(err)
			}
			rule := regexp.MustCompile(`to (dn.exact="[^"]+") attrs=userPassword (by .+ write) by anonymous auth;`)
			m := rule.FindStringSubmatch(n.Note)
			if m == nil {
				t.Fatal(n.Note)
			}
			for access, passes := range map[string]bool{m[2] + " by anonymous auth": true, "by anonymous auth": false,
				strings.Replace(m[2], "write", "read", 1) + " by anonymous auth": false} {
				g := newFixture(t, openLDAPOptions{Access: access})
				err := g.engine.Set(enginetest.Within(t), request(g))
				if passes && err != nil {
					t.Errorf("%s: %v", access, err)
				}
				if !passes {
					enginetest.WantCause(t, err, engine.PrivilegeMissing, "")
				}
			}
		})
	}
}
