package ldap

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// protected are the groups whose members Active Directory itself considers administrators, by the last part of their
// SIDs. Below 1000, these are the same in every domain.
// Sources: https://learn.microsoft.com/en-us/windows-server/identity/ad-ds/plan/security-best-practices/appendix-c--protected-accounts-and-groups-in-active-directory
// and https://learn.microsoft.com/en-us/windows-server/identity/ad-ds/manage/understand-security-identifiers
var protected = []uint32{512, 516, 518, 519, 521, 526, 527, 544, 548, 549, 550, 551, 552}

// mayLend refuses to use the superuser's powers on the superuser itself and on administrators. In Active Directory, an
// entry shows whether it is an administrator. In OpenLDAP, access rules decide that, and a login cannot be expected to
// read them: nothing shows that an entry is ordinary, so the secret must have the entry's own valid credential.
func (s *session) mayLend() error {
	own := s.account.User
	var err error
	if !isDN(own) { // the server's built-in administrator has a DN, but no entry
		own, err = s.find(own)
	}
	power := ""
	if err == nil && s.ad {
		power, err = s.administrator()
	}
	if err != nil {
		return err
	}
	x, xerr := ldap.ParseDN(own)
	y, yerr := ldap.ParseDN(s.dn)
	switch {
	case xerr == nil && yerr == nil && x.EqualFold(y):
		power = "the superuser itself"
	case power == "" && !s.ad && !pair.ProvedCurrent(new(Engine).Kind(), s.r):
		return engine.Errorf(engine.TakeoverRefused,
			"set the entry's password to the one in AWSCURRENT, as an administrator",
			"the server refuses the secret's password of %q, and nothing shows that the entry is not an "+
				"administrator's", s.dn)
	}
	if power != "" {
		return engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "the entry %q is %s", s.dn, power)
	}
	return nil
}

// administrator returns what makes an entry of Active Directory an administrator, or "". adminCount stays set when an
// account leaves its groups, and is set up to an hour after it joins. tokenGroups lists all current groups, including
// nested ones.
// Source: https://learn.microsoft.com/en-us/windows/win32/adschema/a-tokengroups
func (s *session) administrator() (power string, err error) {
	e, err := s.entry(s.dn, "adminCount", "tokenGroups")
	if err != nil {
		return "", err
	}
	groups := e.GetRawAttributeValues("tokenGroups")
	if len(groups) == 0 {
		return "", engine.Errorf(engine.PrivilegeMissing, "let the superuser read the entry's attribute tokenGroups",
			"cannot determine whether %q is an administrator", s.dn)
	}
	for _, sid := range groups {
		if len(sid) >= 4 && slices.Contains(protected, binary.LittleEndian.Uint32(sid[len(sid)-4:])) {
			return "a member of a group of administrators", nil
		}
	}
	if count := e.GetAttributeValue("adminCount"); count != "" && count != "0" {
		return "protected as an administrator (adminCount)", nil
	}
	return "", nil
}

// Needs returns the access that the login needs, as a note: access rules have an order, and adding one requires knowing
// all of them.
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
	n.Login = login.User
	by := "self"
	if r.Superuser {
		by = `dn.exact="` + login.User + `"`
	}
	switch {
	case ad && r.Superuser:
		n.Note = `the right "Reset Password" on ` + entry.User
	case ad:
		n.Note = `the right "Change Password" on itself, which users have by default`
	default:
		n.Note = `in OpenLDAP the rule: to dn.exact="` + entry.User + `" attrs=userPassword by ` + by +
			` write by anonymous auth; and read access to the entry`
	}
	return nil
}
