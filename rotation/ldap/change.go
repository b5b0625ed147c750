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

// passwordAttribute holds the passwords of OpenLDAP and its kin.
// Source: https://www.rfc-editor.org/rfc/rfc4519#section-2.41
const passwordAttribute = "userPassword"

// errTooYoung is in the error of a rehearsal where the policy's minimum age of passwords stands in the way for now.
var errTooYoung = errors.New("the password was changed too recently")

// tooYoung is how servers say so, by the code 19 of any rejected password.
var tooYoung = lazyregexp.New(`(?i)too young|minimum age`)

// tooYoungFailure returns the failure of a change that the policy does not allow yet, or nil.
func tooYoungFailure(cause engine.Cause, dn string, err error) error {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultConstraintViolation) || !tooYoung.MatchString(err.Error()) {
		return nil
	}
	return engine.Errorf(cause, "wait until the policy's minimum age (pwdMinAge) has passed, and rotate less often than that; or name in masterarn the secret of an administrator to whom the policy does not apply",
		"%w: the password of %q may not be changed yet: %w", errTooYoung, dn, err)
}

// rehearse finds out whether the login may change the entry's password now. A server judges a change
// before it makes it, and these two cannot succeed: they take away a value that is not there. The
// first one is answered by noSuchAttribute where changes are taken at all. The second one would also
// add a value, on which a policy has more to say. Active Directory cannot be asked so: see warnOfAge.
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
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultReferral, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.ErrorNetwork), s.ctx.Err() != nil:
		return s.failed(what, err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) && !s.one:
		return engine.Errorf(engine.TargetFailed, "name a server that takes changes of entries as the host; where it takes none but by Password Modify, set "+changeOption+" to exop", what+": %w", err)
	}
	m.Add(passwordAttribute, []string{"{SSHA}" + rand.Text()})
	err = s.conn.Modify(m)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInsufficientAccessRights, ldap.ErrorNetwork) || s.ctx.Err() != nil {
		return s.failed(what, err)
	}
	return tooYoungFailure(engine.PolicyRejected, s.dn, err)
}

// warnOfAge warns if the domain's minimum age of passwords has not passed for a user who changes its own. What
// fine-grained policies ask for is shown to administrators only: under one, there is no warning.
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
		s.r.Warn(fmt.Sprintf("the domain's minimum password age forbids %q to change its password before %s: finishSecret will fail until then",
			s.dn, time.Unix(end, 0).UTC().Format(time.RFC3339)))
	}
}

// mayChange finds out whether the login may change the entry's password, if not now then later.
func (s *session) mayChange() error {
	if s.ad {
		return nil
	}
	if err := s.rehearse(); !errors.Is(err, errTooYoung) {
		return err
	}
	return nil
}

// set makes the pending password valid, and leaves current valid next to it if it is and the server allows that.
func (s *session) set(current string) error {
	if s.ad || s.one {
		return s.only(nil)
	}
	have, err := s.values()
	if err != nil {
		return err
	}
	if current == "" && len(have) == 1 {
		return nil // it is the pending one's
	}
	name, ok := best(have)
	want := keep(have, s.pending, current)
	lost := !slices.ContainsFunc(want, func(v string) bool { return !matches(v, s.pending) })
	// Without a value to be seen, nothing says how the server hashes.
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
		// A policy that allows one value only, that does not take hashes, or that wants the old password with the new.
		return s.only(have)
	}
	return s.failed("the password could not be changed", err)
}

// only has the server make the pending password the only one, in place of the values that it shows.
// How it is hashed is the server's choice, which is reported where it is another than before.
func (s *session) only(have []string) error {
	switch {
	case s.r.KeepCurrent:
		return engine.ErrOneAtATime
	case !s.r.Superuser && s.account.Password == s.pending:
		return nil // it was set by an earlier call, or the login would have failed
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
		s.r.Changed(fmt.Sprintf("the server keeps the password of %q by the scheme %q, and kept the one before by %q; its setting password-hash decides", s.dn, after, before))
	}
	return nil
}

// exchange makes want of the entry's values, which were read as have. A plain
// replacement would also take a password that somebody has set since then.
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
		return nil // another call of this step was faster
	}
	return engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step", "the password of %q was changed by somebody else in this moment: %w", s.dn, err)
}

// sameValues compares sets.
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

// exop has the server set the password, and hash and judge it. All others stop working.
// Source: https://www.rfc-editor.org/rfc/rfc3062
func (s *session) exop() error {
	// For oneself a server wants the old password, and no name.
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
		// The bind has just proved the password, which the server refuses to see as the old one:
		// OpenLDAP answers so, and not with 49. It says the same where the user may not change it.
		if err := s.mayChange(); err != nil {
			return err
		}
		return engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step; if that fails, see the server's log and its password policy",
			"the server does not take the login's password as the old one, which may have been changed in this moment: %w", err)
	}
	return s.failed("the password could not be changed", err)
}

// unicodePwd sets a password of Active Directory: a user gives the old one with
// the new, one with the right to reset passwords gives the new alone.
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
	// Both 19 and 53 carry the reason as a number of Windows.
	// Source: https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes
	switch code := windowsCode(e.Err.Error()); {
	case code == 0x52D: // ERROR_PASSWORD_RESTRICTION
		return engine.Errorf(engine.PolicyRejected, "adapt the password settings to the domain's policy: length, complexity, history, and the minimum age for users who change their own",
			"the domain's policy rejects the password of %q: %w", s.dn, err)
	case code == 0x56: // ERROR_INVALID_PASSWORD
		// Logins accept the password before for an hour. So this one may be it,
		// and the pending one have been set by an earlier call.
		// Source: https://learn.microsoft.com/en-us/troubleshoot/windows-server/windows-security/new-setting-modifies-ntlm-network-authentication
		return engine.Errorf(engine.TargetFailed, "let Secrets Manager repeat the step; Active Directory may still take an old password at logins for an hour",
			"the server does not take the login's password as the old one: %w", err)
	case code == 5: // ERROR_ACCESS_DENIED
		return engine.Errorf(engine.PrivilegeMissing, "let the user change its own password, or the superuser reset it",
			"the password of %q may not be changed: %w", s.dn, err)
	}
	return s.failed("the password could not be changed", err)
}

// quotedUTF16 is the form of unicodePwd: in quotation marks, in UTF-16 with the low byte first.
func quotedUTF16(password string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

// digests are the schemes that need no more than the value to be compared.
// Source: https://www.openldap.org/doc/admin26/security.html#Password%20Storage
var digests = map[string]func() hash.Hash{
	"SSHA": sha1.New, "SHA": sha1.New, "SMD5": md5.New, "MD5": md5.New,
	"SSHA256": sha256.New, "SHA256": sha256.New, "SSHA384": sha512.New384, "SHA384": sha512.New384, "SSHA512": sha512.New, "SHA512": sha512.New,
}

// form is how a value begins that is not a password in clear.
var form = lazyregexp.New(`^\{([\w./-]+)\}`)

// scheme splits a value into its scheme, or "" for a password in clear, and the rest.
func scheme(value string) (name, rest string) {
	if m := form.FindStringSubmatch(value); m != nil && !strings.EqualFold(m[1], "CLEARTEXT") {
		return strings.ToUpper(m[1]), value[len(m[0]):]
	}
	return "", strings.TrimPrefix(value, "{CLEARTEXT}")
}

// best returns the scheme for a value next to others: the longest digest among theirs, and SSHA at least, which is the
// strongest that every OpenLDAP knows. That SHA-1 is a fast hash does not help to guess a password of 32 random
// characters. A value of another scheme, such as {ARGON2}, cannot be equaled here: ok is false.
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

// hashed returns a password as OpenLDAP keeps it by one of the digests.
func hashed(scheme, password string, salt []byte) string {
	h := digests[scheme]()
	h.Write([]byte(password))
	h.Write(salt)
	return "{" + scheme + "}" + base64.StdEncoding.EncodeToString(append(h.Sum(nil), salt...))
}

// salt is derived, so that a repeated Set sends the same again.
func salt(r *engine.Request, dn, password string) []byte {
	mac := hmac.New(sha256.New, []byte(password))
	fmt.Fprintf(mac, "rotator ldap salt\x00%s\x00%s\x00%s", r.Secret, r.Version, dn)
	return mac.Sum(nil)[:8]
}

// matches reports whether a value in clear or of one of the digests is the password's.
func matches(value, password string) bool {
	name, rest := scheme(value)
	digest := digests[name]
	if digest == nil {
		return name == "" && rest == password
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	size := digest().Size()
	return err == nil && len(raw) >= size && hmac.Equal([]byte(hashed(name, password, raw[size:])), []byte("{"+name+"}"+rest))
}

// keep returns the values that stay: one of the pending password, and one of the current one.
func keep(values []string, pending, current string) (kept []string) {
	for _, password := range []string{pending, current} {
		i := slices.IndexFunc(values, func(v string) bool { return matches(v, password) })
		if i >= 0 && password != "" && !slices.Contains(kept, values[i]) {
			kept = append(kept, values[i])
		}
	}
	return kept
}

// windowsForm is how Active Directory's diagnostic messages begin.
var windowsForm = lazyregexp.New(`\b([0-9A-Fa-f]{8}): `)

// windowsCode returns the number in a diagnostic message, or 0.
func windowsCode(text string) (code uint64) {
	if m := windowsForm.FindStringSubmatch(text); m != nil {
		code, _ = strconv.ParseUint(m[1], 16, 32) // its form is checked
	}
	return code
}
