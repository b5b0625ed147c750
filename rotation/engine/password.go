package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// PasswordPolicy describes generated passwords. Its fields but Rejected are GetRandomPassword's parameters.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetRandomPassword.html
type PasswordPolicy struct {
	Length            int
	ExcludeCharacters string
	Rejected          string // characters that the target rejects, whatever a setting excludes
	// These exclude a whole class of characters, or require one of each that is not excluded.
	ExcludeNumbers, ExcludePunctuation, ExcludeUppercase, ExcludeLowercase, RequireEachIncludedType bool
}

// The four classes of characters.
const (
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// classes returns the allowed characters of each class that is not excluded, and all of them together.
func (p PasswordPolicy) classes() (classes []string, alphabet string) {
	for _, c := range []struct {
		excluded bool
		set      string
	}{
		{p.ExcludeUppercase, uppercase}, {p.ExcludeLowercase, lowercase},
		{p.ExcludeNumbers, numbers}, {p.ExcludePunctuation, punctuation},
	} {
		if !c.excluded {
			classes = append(classes, strings.Map(func(r rune) rune {
				if strings.ContainsRune(p.ExcludeCharacters+p.Rejected, r) {
					return -1
				}
				return r
			}, c.set))
		}
	}
	return classes, strings.Join(classes, "")
}

// Check returns an error with the cause InvalidConfiguration if the policy allows no password, or only one. It sets no
// minimum strength; see Strength and Seals.
func (p PasswordPolicy) Check() error {
	invalid := func(format string, args ...any) error {
		const advice = "change PASSWORD_LENGTH, EXCLUDE_* or REQUIRE_EACH_INCLUDED_TYPE"
		return Errorf(InvalidConfiguration, advice, format, args...)
	}
	classes, alphabet := p.classes()
	switch {
	case p.Length < 1 || p.Length > 4096:
		return invalid("the password length %d is not between 1 and 4096", p.Length)
	case len(alphabet) < 2:
		return invalid("passwords have only %d characters to choose from", len(alphabet))
	case p.RequireEachIncludedType && p.Length < len(classes):
		return invalid("a password of %d characters cannot contain each of the %d required types", p.Length,
			len(classes))
	case p.RequireEachIncludedType && slices.Contains(classes, ""):
		return invalid("a required type of characters is completely excluded")
	}
	return nil
}

// sealBits is the minimum strength of a seal: a forged value passes less than once in 16 million attempts. A password
// that would have fewer bits than bodyBits without the seal gets no seal.
const (
	sealBits = 24
	bodyBits = 64
)

// strength returns a lower bound for the bits in a character of the alphabet.
func strength(alphabet string) int { return bits.Len(uint(len(alphabet))) - 1 }

// sealLength returns how many of a password's last characters are its seal: four with the default alphabets.
func (p PasswordPolicy) sealLength(alphabet string) int {
	each := strength(alphabet)
	n := (sealBits + each - 1) / each
	if (p.Length-n)*each < bodyBits {
		return 0
	}
	return n
}

// Strength returns a lower bound for the bits in a password.
func (p PasswordPolicy) Strength() int {
	_, alphabet := p.classes()
	return p.Length * strength(alphabet)
}

// Seals reports whether passwords are long enough for a seal; see New.
func (p PasswordPolicy) Seals() bool {
	_, alphabet := p.classes()
	return p.Length > 0 && p.sealLength(alphabet) > 0
}

// New returns a new password. If it is long enough, it ends in a seal: a few characters computed from the others, from
// base, the id of the version that the password follows, and from key, a password that the target accepts. The seal
// proves, without any stored state, from which version a pending value was made, and that its maker knew the key. The
// other characters are random, with every allowed choice equally likely. The policy must have passed Check.
func (p PasswordPolicy) New(base, key string) string {
	classes, alphabet := p.classes()
	n := p.sealLength(alphabet)
	for {
		// never fails, as crypto/rand documents
		body := pick(alphabet, p.Length-n, func(b []byte) { _, _ = rand.Read(b) })
		password := body + seal(alphabet, body, base, key, n)
		lacks := func(class string) bool { return !strings.ContainsAny(password, class) }
		// Drawing a whole new password keeps every allowed one equally likely.
		if !p.RequireEachIncludedType || !slices.ContainsFunc(classes, lacks) {
			return password
		}
	}
}

// SealedTo reports whether the password was made by New with the same characters, base and key.
func (p PasswordPolicy) SealedTo(base, key, password string) bool {
	_, alphabet := p.classes()
	n := p.sealLength(alphabet)
	if n == 0 || len(password) != p.Length || base == "" {
		return false
	}
	body := password[:p.Length-n]
	return subtle.ConstantTimeCompare([]byte(seal(alphabet, body, base, key, n)), []byte(password[len(body):])) == 1
}

// seal derives the last n characters of a password from the others.
func seal(alphabet, body, base, key string, n int) string {
	var counter uint64
	return pick(alphabet, n, func(b []byte) {
		counter++
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(binary.BigEndian.AppendUint64([]byte("rotator seal\x00"+base+"\x00"+body+"\x00"), counter))
		sum := mac.Sum(nil)
		for i := range b {
			b[i] = sum[i%len(sum)]
		}
	})
}

// pick draws n equally likely characters of the alphabet: it discards bytes beyond the last multiple of its length.
func pick(alphabet string, n int, fill func([]byte)) string {
	limit := 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	buf := make([]byte, 32)
	for len(out) < n {
		fill(buf)
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}
