package ldap

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// Needs says which access the login needs, as a note: rules of access have an order,
// and only who knows them all can put in one more.
// Source: https://www.openldap.org/doc/admin26/access-control.html
// and https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-adts/6e803168-f140-4d23-b2d3-c3a8ab5917d2
func (e *Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	ad := isAD(r.Current)
	login, err := parse(r.Login, ad)
	if err != nil {
		return err
	}
	entry, err := parse(r.Current, ad)
	if err != nil {
		return err
	}
	n.Login = login.name()
	switch {
	case ad && r.Superuser:
		n.Note = `the right "Reset Password" on ` + entry.name()
	case ad:
		n.Note = `the right "Change Password" on itself, which users have by default`
	case r.Superuser:
		n.Note = `in OpenLDAP the rule: to dn.exact="` + entry.dn + `" attrs=userPassword by dn.exact="` + login.dn + `" write by anonymous auth; and read access to the entry`
	default:
		n.Note = `in OpenLDAP the rule: to dn.exact="` + entry.dn + `" attrs=userPassword by self write by anonymous auth; and read access to the entry`
	}
	return nil
}
