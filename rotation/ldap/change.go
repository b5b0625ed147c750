package ldap

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// passwordAttribute holds the passwords in OpenLDAP and similar servers.
// Source: https://www.rfc-editor.org/rfc/rfc4519#section-2.41
const passwordAttribute = "userPassword"

// errTooYoung is wrapped by a rehearsal's error if the policy's minimum password age forbids the change for now.
var errTooYoung = errors.New("the password was changed too recently")

// tooYoung matches servers' messages for that. The code, 19, is the same as for any rejected password.
var tooYoung = lazyregexp.New(`(?i)too young|minimum age`)

// tooYoungFailure returns an error if the policy does not allow the change yet, or nil.
func tooYoungFailure(cause engine.Cause, dn string, err error) error {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultConstraintViolation) || !tooYoung.MatchString(err.Error()) {
		return nil
	}
	return engine.Errorf(cause, "wait until the policy's minimum age (pwdMinAge) has passed, and rotate less often "+
		"than that; or name in masterarn the secret of an administrator who is exempt from the policy",
		"%w: the password of %q may not be changed yet: %w", errTooYoung, dn, err)
}

// rehearse checks whether the login may change the entry's password now. It requests two changes that a server checks
// but cannot make, because they delete a value that does not exist. A server that accepts changes at all answers the
// first one with noSuchAttribute. The second one would also add a value, which makes a policy check more. This does not
// work with Active Directory: see warnOfAge.
func (s *session) rehearse() error {
	if s.ad {
		s.warnOfAge()
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
	case ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) && !s.one:
		return engine.Errorf(engine.TargetFailed,
			"name a server as the host that accepts changes of entries; if it accepts only Password Modify, set "+
				changeOption+" to exop", what+": %w", err)
	}
	m.Add(passwordAttribute, []string{"{SSHA}" + rand.Text()})
	err = s.conn.Modify(m)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.ErrorNetwork) || s.ctx.Err() != nil {
		return s.failed(what, err)
	}
	return tooYoungFailure(engine.PolicyRejected, s.dn, err)
}

// warnOfAge warns if the domain's minimum password age has not passed for a user who changes its own password. Only
// administrators can read fine-grained policies, so under one there is no warning.
// Source: https://learn.microsoft.com/en-us/windows/win32/adschema/a-minpwdage
func (s *session) warnOfAge() {
	if s.r.Superuser {
		return // a reset is possible at any age
	}
	base, err := s.defaultBase()
	if err != nil {
		return
	}
	user, err := s.entry(s.dn, "pwdLastSet", "msDS-ResultantPSO")
	if err != nil || user.GetAttributeValue("msDS-ResultantPSO") != "" {
		return
	}
	domain, err := s.entry(base, "minPwdAge")
	if err != nil {
		return
	}
	set, serr := strconv.ParseInt(user.GetAttributeValue("pwdLastSet"), 10, 64)
	age, aerr := strconv.ParseInt(domain.GetAttributeValue("minPwdAge"), 10, 64)
	// Both are in units of 100 ns, the first since 1601 and the second negative.
	end := time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + (set-age)/1e7
	if serr == nil && aerr == nil && time.Now().Unix() < end {
		s.r.Warn(fmt.Sprintf("the domain's minimum password age forbids %q to change its password before %s: "+
			"finishSecret will fail until then",
			s.dn, time.Unix(end, 0).UTC().Format(time.RFC3339)))
	}
}

// mayChange checks whether the login may change the entry's password, now or later.
func (s *session) mayChange() error {
	if s.ad {
		return nil
	}
	if err := s.rehearse(); !errors.Is(err, errTooYoung) {
		return err
	}
	return nil
}

// set makes the pending password valid. If current is valid and the server allows two, it stays valid.
func (s *session) set(current string) error {
	if s.ad || s.one {
		return s.only(nil)
	}
	have, err := s.values()
	if err != nil {
		return err
	}
	if current == "" && len(have) == 1 {
		return nil // this is the pending password
	}
	name, ok := best(have)
	want := keep(have, s.pending, current)
	lost := !slices.ContainsFunc(want, func(v string) bool { return !matches(v, s.pending) })
	// Without a readable value, the server's hash scheme is unknown.
	if !ok || len(have) == 0 || s.r.KeepCurrent && lost {
		return s.only(have)
	}
	if len(want) == 0 || !matches(want[0], s.pending) {
		want = append([]string{hashed(name, s.pending, salt(s.r, s.dn, s.pending))}, want...)
	}
	if sameValues(have, want) {
		return nil
	}
	err = s.exchange(have, want)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform) {
		// The policy allows only one value, accepts no hashes, or requires the old password with the new one.
		return s.only(have)
	}
	return s.failed("the password could not be changed", err)
}

// only has the server replace the values, read as have, with the pending password. The server chooses the hash scheme.
// A scheme that differs from the previous one is reported.
func (s *session) only(have []string) error {
	switch {
	case s.r.KeepCurrent:
		return engine.ErrOneAtATime
	case !s.r.Superuser && s.account.Password == s.pending:
		return nil // an earlier call set it, or the login would have failed
	case s.ad:
		return s.unicodePwd()
	}
	if err := s.exop(); err != nil || len(have) == 0 {
		return err
	}
	now, err := s.values()
	if err != nil || len(now) == 0 {
		return err
	}
	before, _ := scheme(have[0])
	if after, _ := scheme(now[0]); after != before {
		s.r.Changed(fmt.Sprintf("the server keeps the password of %q by the scheme %q, and kept the one before by "+
			"%q; its setting password-hash decides", s.dn, after, before))
	}
	return nil
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
	if young := tooYoungFailure(engine.TargetFailed, s.dn, err); young != nil {
		return young
	}
	exists := ldap.IsErrorAnyOf(err, ldap.LDAPResultConstraintViolation, ldap.LDAPResultAttributeOrValueExists)
	unwilling := ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform)
	switch {
	case err == nil:
		return nil
	case exists:
		return s.failed("the server rejects the password", ldap.NewError(ldap.LDAPResultConstraintViolation, err))
	case unwilling && !s.r.Superuser:
		// The bind has just proved the password, but the server does not accept it as the old one. OpenLDAP answers
		// with this code instead of 49, and also if the user may not change the password.
		if err := s.mayChange(); err != nil {
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

// digests are the schemes whose values can be checked here.
// Source: https://www.openldap.org/doc/admin26/security.html#Password%20Storage
var digests = map[string]func() hash.Hash{
	"SSHA": sha1.New, "SHA": sha1.New, "SMD5": md5.New, "MD5": md5.New,
	"SSHA256": sha256.New, "SHA256": sha256.New, "SSHA384": sha512.New384, "SHA384": sha512.New384,
	"SSHA512": sha512.New, "SHA512": sha512.New,
}

// form matches the beginning of a value that is not a plaintext password.
var form = lazyregexp.New(`^\{([\w./-]+)\}`)

// scheme splits a value into its scheme, or "" for a plaintext password, and the rest.
func scheme(value string) (name, rest string) {
	if m := form.FindStringSubmatch(value); m != nil && !strings.EqualFold(m[1], "CLEARTEXT") {
		return strings.ToUpper(m[1]), value[len(m[0]):]
	}
	return "", strings.TrimPrefix(value, "{CLEARTEXT}")
}

// best returns the scheme for a value next to others: the one with the longest digest among theirs, or at least SSHA,
// the strongest that every OpenLDAP supports. SHA-1 is fast, but that does not help in guessing 32 random characters.
// ok is false if a value has another scheme, such as {ARGON2}, which cannot be matched here.
func best(values []string) (name string, ok bool) {
	name = "SSHA"
	for _, v := range values {
		other, _ := scheme(v)
		digest := digests[other]
		if digest == nil && other != "" {
			return "", false
		}
		if digest != nil && digest().Size() > digests[name]().Size() {
			name = "SSHA" + other[strings.LastIndex(other, "A")+1:]
		}
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
func salt(r *engine.Request, dn, password string) []byte {
	mac := hmac.New(sha256.New, []byte(password))
	fmt.Fprintf(mac, "rotator ldap salt\x00%s\x00%s\x00%s", r.Secret, r.Version, dn)
	return mac.Sum(nil)[:8]
}

// matches reports whether a value, in plaintext or with one of the digests, is the password.
func matches(value, password string) bool {
	name, rest := scheme(value)
	digest := digests[name]
	if digest == nil {
		return name == "" && rest == password
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	size := digest().Size()
	return err == nil && len(raw) >= size &&
		hmac.Equal([]byte(hashed(name, password, raw[size:])), []byte("{"+name+"}"+rest))
}

// keep returns the values that stay: one for the pending password and one for the current one.
func keep(values []string, pending, current string) (kept []string) {
	for _, password := range []string{pending, current} {
		i := slices.IndexFunc(values, func(v string) bool { return matches(v, password) })
		if i >= 0 && password != "" && !slices.Contains(kept, values[i]) {
			kept = append(kept, values[i])
		}
	}
	return kept
}
