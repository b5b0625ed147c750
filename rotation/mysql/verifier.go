package mysql

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/rotation/engine"
)

// verifier is what a server stores of a password, and the plugin that compares.
type verifier struct{ plugin, stored string }

// accepts reports whether a login by the value would open the account. It is
// computed from what the server stores, because a login meets only the account
// whose host fits the function's address, and tells nothing of the others.
func (a account) accepts(login engine.Value) bool {
	user, _ := login.Text("username")
	password, _ := login.Text("password")
	return user == a.user && password != "" && slices.ContainsFunc(a.verifiers, func(v verifier) bool { return v.accepts(password) })
}

func (v verifier) accepts(password string) bool {
	var want string
	switch v.plugin {
	case "", native:
		want = hash(native, password)
	case ed25519:
		want = hash(ed25519, password)
	case "caching_sha2_password":
		// $A$005$, for 5 times 1000 rounds, then 20 bytes of salt and the digest.
		// Source: https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_caching_sha2_password_digest_rounds
		const head, salt = len("$A$005$"), 20
		if len(v.stored) < head+salt || !strings.HasPrefix(v.stored, "$A$") {
			return false
		}
		thousands, err := strconv.ParseUint(v.stored[3:6], 16, 16)
		if err != nil {
			return false
		}
		want = v.stored[:head+salt] + crypt(password, v.stored[head:head+salt], 1000*int(thousands))
	case "sha256_password":
		// $5$, the salt, $ and the digest.
		rest, _ := strings.CutPrefix(v.stored, "$5$")
		salt, _, ok := strings.Cut(rest, "$")
		if !ok {
			return false
		}
		want = "$5$" + salt + "$" + crypt(password, salt, 5000)
	}
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(v.stored)) == 1
}

// crypt is the digest of SHA-crypt with SHA-256, for a salt of any length.
// Source: https://www.akkadia.org/drepper/SHA-crypt.txt
func crypt(password, salt string, rounds int) string {
	sum := func(parts ...[]byte) []byte {
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	// stretch repeats a digest to n bytes.
	stretch := func(digest []byte, n int) []byte {
		return slices.Concat(slices.Repeat(digest, n/len(digest)), digest[:n%len(digest)])
	}
	p, s := []byte(password), []byte(salt)
	b := sum(p, s, p)
	parts := [][]byte{p, s, stretch(b, len(p))}
	for n := len(p); n > 0; n >>= 1 {
		if n&1 != 0 {
			parts = append(parts, b)
		} else {
			parts = append(parts, p)
		}
	}
	a := sum(parts...)
	dp := stretch(sum(slices.Repeat(p, len(p))), len(p))
	ds := stretch(sum(slices.Repeat(s, 16+int(a[0]))), len(s))
	for i := range rounds {
		parts = parts[:0]
		if i%2 != 0 {
			parts = append(parts, dp)
		} else {
			parts = append(parts, a)
		}
		if i%3 != 0 {
			parts = append(parts, ds)
		}
		if i%7 != 0 {
			parts = append(parts, dp)
		}
		if i%2 != 0 {
			parts = append(parts, a)
		} else {
			parts = append(parts, dp)
		}
		a = sum(parts...)
	}
	// The digest's bytes in the order of the specification, four characters for
	// three of them.
	var out strings.Builder
	write := func(b2, b1, b0 byte, n int) {
		const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		for w := uint(b2)<<16 | uint(b1)<<8 | uint(b0); n > 0; n, w = n-1, w>>6 {
			out.WriteByte(alphabet[w&63])
		}
	}
	for n := range 10 {
		i := n * 21 % 30
		write(a[i], a[(i+10)%30], a[(i+20)%30], 4)
	}
	write(0, a[31], a[30], 3)
	return out.String()
}
