package ldap

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

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
