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
	"strconv"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// hashed returns a password as OpenLDAP keeps it. Of the schemes that every build
// of it knows, this is the strongest; that SHA-1 is a fast hash does not help to
// guess a password of 32 random characters.
// Source: https://www.openldap.org/doc/admin26/security.html#Password%20Storage
func hashed(password string, salt []byte) string {
	sum := sha1.Sum(append([]byte(password), salt...))
	return "{SSHA}" + base64.StdEncoding.EncodeToString(append(sum[:], salt...))
}

// salt is derived, so that a repeated Set sends the same again.
func salt(r *engine.Request, dn, password string) []byte {
	mac := hmac.New(sha256.New, []byte(password))
	fmt.Fprintf(mac, "rotator ldap salt\x00%s\x00%s\x00%s", r.Secret, r.Version, dn)
	return mac.Sum(nil)[:8]
}

// digests are the schemes that need no more than the value to be compared.
var digests = map[string]func() hash.Hash{
	"SSHA": sha1.New, "SHA": sha1.New, "SMD5": md5.New, "MD5": md5.New,
	"SSHA256": sha256.New, "SHA256": sha256.New, "SSHA384": sha512.New384, "SHA384": sha512.New384, "SSHA512": sha512.New, "SHA512": sha512.New,
}

// scheme is how a value begins that is no password in clear.
var scheme = lazyregexp.New(`^\{([\w./-]+)\}`)

// compare reports whether a value is the password's, and whether that can be told
// here.
func compare(value, password string) (match, known bool) {
	m := scheme.FindStringSubmatch(value)
	if m == nil {
		return value == password, true
	}
	name, rest := strings.ToUpper(m[1]), value[len(m[0]):]
	if name == "CLEARTEXT" {
		return rest == password, true
	}
	digest, ok := digests[name]
	if !ok {
		return false, false
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	h := digest()
	if err != nil || len(raw) < h.Size() {
		return false, true // a value that opens nothing
	}
	h.Write([]byte(password))
	h.Write(raw[h.Size():])
	return hmac.Equal(h.Sum(nil), raw[:h.Size()]), true
}

func matches(value, password string) bool {
	match, _ := compare(value, password)
	return match
}

// keep returns which values stay: the pending password's first, then the current
// one's, if there is one to be kept. A value of a scheme that cannot be told here
// may be the current one's as long as no other is; it goes at the next rotation.
func keep(values []string, pending, current string) []string {
	var ofPending, ofCurrent, unknown []string
	for _, v := range values {
		if matches(v, pending) {
			ofPending = append(ofPending, v)
		} else if match, known := compare(v, current); !known {
			unknown = append(unknown, v)
		} else if match && current != "" {
			ofCurrent = append(ofCurrent, v)
		}
	}
	if len(ofPending) > 1 {
		ofPending = ofPending[:1]
	}
	switch {
	case current == "" || current == pending:
		return ofPending
	case len(ofCurrent) > 0:
		return append(ofPending, ofCurrent[0])
	}
	return append(ofPending, unknown...)
}

// windowsForm is how Active Directory's diagnostic messages begin.
var windowsForm = lazyregexp.New(`\b([0-9A-Fa-f]{8}): `)

// windowsCode returns the number in a diagnostic message, or 0.
func windowsCode(text string) uint64 {
	m := windowsForm.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 16, 32) // its form is checked
	return n
}
