package ldap

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// passwordAttribute holds the passwords in OpenLDAP and similar servers.
// Source: https://www.rfc-editor.org/rfc/rfc4519#section-2.41
const passwordAttribute = "userPassword"

// tooYoung matches servers' messages if the policy's minimum password age forbids a change for now. The code, 19, is
// the same as for any rejected password.
var tooYoung = lazyregexp.New(`(?i)too young|minimum age`)

// tooYoungFailure returns an error if the policy does not allow the change yet, or nil. The cause is not
// PolicyRejected, because another password would not help.
func tooYoungFailure(dn string, err error) error {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultConstraintViolation) || !tooYoung().MatchString(err.Error()) {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "wait until the policy's minimum age (pwdMinAge) has passed, and rotate "+
		"less often than that; or name in masterarn the secret of an administrator who is exempt from the policy",
		"the password of %q may not be changed yet: %w", dn, err)
}

// rehearse checks whether the login may change the entry's password now. It requests two changes that a server checks
// but cannot make, because they delete a value that does not exist. A server that accepts changes at all answers the
// first one with noSuchAttribute. The second one would also add a value, which makes a policy check more. Active
// Directory checks nothing in this way.
func (s *session) rehearse() error {
	if s.ad {
		return nil
	}
	const what = "the password could not be changed"
	m := ldap.NewModifyRequest(s.dn, nil)
	m.Delete(passwordAttribute, []string{"{SSHA}" + rand.Text()})
	err := s.conn.Modify(m)
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultReferral, ldap.LDAPResultBusy,
		ldap.LDAPResultUnavailable, ldap.ErrorNetwork), s.ctx.Err() != nil:
		return s.failed(what, err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform):
		return engine.Errorf(engine.TargetFailed, "name as the host a server that accepts changes of entries",
			what+": %w", err)
	}
	m.Add(passwordAttribute, []string{"{SSHA}" + rand.Text()})
	err = s.conn.Modify(m)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.ErrorNetwork) || s.ctx.Err() != nil {
		return s.failed(what, err)
	}
	return tooYoungFailure(s.dn, err)
}

// set makes the pending password valid. If the current one is valid and the server allows two, it stays valid.
func (s *session) set() error {
	if s.ad {
		return s.only()
	}
	have, err := s.values()
	if err != nil {
		return err
	}
	name, ok := best(have)
	want := find(have, s.pending)
	if want == nil && ok {
		want = []string{hashed(name, s.pending, s.salt())}
	}
	current, _ := s.r.Current.Text("password")
	want = append(want, find(have, current)...)
	// Without a readable value, the server's hash scheme is unknown.
	if !ok || len(have) == 0 || s.r.KeepCurrent && len(want) == 1 {
		return s.only()
	}
	if sameValues(have, want) {
		return nil
	}
	err = s.exchange(have, want)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform) {
		// The policy allows only one value, accepts no hashes, or requires the old password with the new one.
		return s.only()
	}
	return s.failed("the password could not be changed", err)
}

// only has the server replace all passwords with the pending one. The server chooses the hash scheme.
func (s *session) only() error {
	switch {
	case s.r.KeepCurrent:
		return engine.ErrOneAtATime
	case !s.r.Superuser && s.account.Password == s.pending:
		return nil // an earlier call set it, or the login would have failed
	case s.ad:
		return s.unicodePwd()
	}
	return s.exop()
}

// exchange replaces the entry's values, read as have, with want. A plain replacement would also remove a password that
// somebody has set in the meantime.
func (s *session) exchange(have, want []string) error {
	m := ldap.NewModifyRequest(s.dn, nil)
	m.Delete(passwordAttribute, have)
	m.Add(passwordAttribute, want)
	err := s.conn.Modify(m)
	if !ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchAttribute, ldap.LDAPResultAttributeOrValueExists) {
		return err
	}
	now, rerr := s.values()
	switch {
	case rerr != nil:
		return rerr
	case sameValues(now, want):
		return nil // a concurrent call of this step was faster
	}
	return engine.Errorf(engine.TargetFailed, "let Secrets Manager retry the step",
		"somebody else has just changed the password of %q: %w", s.dn, err)
}

// sameValues compares values regardless of order.
func sameValues(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// values returns the entry's passwords, as far as the login may read them.
func (s *session) values() ([]string, error) {
	e, err := s.entry(s.dn, passwordAttribute)
	if err != nil {
		return nil, err
	}
	return e.GetAttributeValues(passwordAttribute), nil
}

// exop has the server set, hash and check the password. All other passwords stop working.
// Source: https://www.rfc-editor.org/rfc/rfc3062
func (s *session) exop() error {
	// If users change their own passwords, a server expects the old password and no name.
	request := ldap.NewPasswordModifyRequest("", s.account.Password, s.pending)
	if s.r.Superuser {
		request = ldap.NewPasswordModifyRequest(s.dn, "", s.pending)
	}
	_, err := s.conn.PasswordModify(request)
	if young := tooYoungFailure(s.dn, err); young != nil {
		return young
	}
	if ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) && !s.r.Superuser {
		// The bind has just proved the password, but the server does not accept it as the old one. OpenLDAP answers
		// with this code instead of 49, and also if the user may not change the password.
		if err := s.rehearse(); err != nil {
			return err
		}
		return engine.Errorf(engine.TargetFailed,
			"let Secrets Manager retry the step; if that fails, check the server's log and its password policy",
			"the server does not accept the login's password as the old one; somebody may have just changed it: %w",
			err)
	}
	return s.failed("the password could not be changed", err)
}

// unicodePwd sets a password in Active Directory. A user sends the old one with the new one; a login that may reset
// passwords sends only the new one.
// Source: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-adts/6e803168-f140-4d23-b2d3-c3a8ab5917d2
func (s *session) unicodePwd() error {
	const attribute = "unicodePwd"
	m := ldap.NewModifyRequest(s.dn, nil)
	if s.r.Superuser {
		m.Replace(attribute, []string{quotedUTF16(s.pending)})
	} else {
		m.Delete(attribute, []string{quotedUTF16(s.account.Password)})
		m.Add(attribute, []string{quotedUTF16(s.pending)})
	}
	err := s.conn.Modify(m)
	e, ok := errors.AsType[*ldap.Error](err)
	if !ok || e.Err == nil {
		return s.failed("the password could not be changed", err)
	}
	// With both 19 and 53, the message gives the reason as a Windows error code.
	// Source: https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes
	switch code, _, _ := strings.Cut(strings.ToUpper(e.Err.Error()), ":"); code {
	case "0000052D": // ERROR_PASSWORD_RESTRICTION
		return engine.Errorf(engine.PolicyRejected,
			"adapt the password settings to the domain's policy: length, complexity, history, and the minimum age "+
				"for users who change their own",
			"the domain's policy rejects the password of %q: %w", s.dn, err)
	case "00000056": // ERROR_INVALID_PASSWORD
		// Logins accept the previous password for an hour. So this may be the previous one, and an earlier call may
		// have set the pending one.
		// Source: https://learn.microsoft.com/en-us/troubleshoot/windows-server/windows-security/new-setting-modifies-ntlm-network-authentication
		return engine.Errorf(engine.TargetFailed,
			"let Secrets Manager retry the step; Active Directory may accept an old password at logins for an hour",
			"the server does not accept the login's password as the old one: %w", err)
	case "00000005": // ERROR_ACCESS_DENIED
		return engine.Errorf(engine.PrivilegeMissing, "let the user change its own password, or the superuser reset it",
			"the password of %q may not be changed: %w", s.dn, err)
	}
	return s.failed("the password could not be changed", err)
}

// quotedUTF16 is the format of unicodePwd: in quotation marks, in little-endian UTF-16.
func quotedUTF16(password string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

// digests are the salted schemes whose values can be computed here. Of two names, the greater has the longer digest.
// Source: https://www.openldap.org/doc/admin26/security.html#Password%20Storage
var digests = map[string]func() hash.Hash{
	"SSHA": sha1.New, "SSHA256": sha256.New, "SSHA384": sha512.New384, "SSHA512": sha512.New,
}

// scheme splits a value into its scheme, or "" for a plaintext password, and the rest.
func scheme(value string) (name, rest string) {
	if name, rest, ok := strings.Cut(value, "}"); ok && strings.HasPrefix(name, "{") {
		return strings.ToUpper(name[1:]), rest
	}
	return "", value
}

// best returns the scheme for a value next to others: the strongest among theirs, or at least SSHA, which every
// OpenLDAP supports. SHA-1 is fast, but that does not help in guessing 32 random characters. ok is false if a value has
// another scheme, such as {ARGON2}, which cannot be matched here.
func best(values []string) (name string, ok bool) {
	name = "SSHA"
	for _, v := range values {
		other, _ := scheme(v)
		if digests[other] == nil && other != "" {
			return "", false
		}
		name = max(name, other)
	}
	return name, true
}

// hashed returns a password as OpenLDAP stores it with one of the digests.
func hashed(scheme, password string, salt []byte) string {
	h := digests[scheme]()
	h.Write([]byte(password))
	h.Write(salt)
	return "{" + scheme + "}" + base64.StdEncoding.EncodeToString(append(h.Sum(nil), salt...))
}

// salt is derived, so a repeated Set sends the same value.
func (s *session) salt() []byte {
	sum := sha256.Sum256([]byte(s.r.Secret + s.r.Version + s.dn + s.pending))
	return sum[:8]
}

// find returns the first value that is the password, in plaintext or with one of the digests.
func find(values []string, password string) []string {
	for _, v := range values {
		name, rest := scheme(v)
		match := name == "" && v == password
		if digest := digests[name]; digest != nil {
			raw, err := base64.StdEncoding.DecodeString(rest)
			size := digest().Size()
			match = err == nil && len(raw) >= size && hashed(name, password, raw[size:]) == "{"+name+"}"+rest
		}
		if match {
			return []string{v}
		}
	}
	return nil
}
