package generic

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/rotator/rotation/engine"
)

type password struct{}

func (password) make(r *engine.Request) (string, error) { return r.NewPassword(), nil }

func (password) check(secret string) error {
	block, _ := pem.Decode([]byte(secret))
	switch {
	case secret == "":
		return errors.New("is empty or not text")
	case block != nil:
		return errors.New("is a key in PEM, not a password")
	case !utf8.ValidString(secret):
		return errors.New("is bytes, not a password")
	}
	return nil
}

type random struct {
	length   int
	chosen   bool // whether an option sets the length
	encoding string
}

type coding struct {
	write func([]byte) string
	read  func(string) ([]byte, error)
}

var codings = map[string]coding{
	"hex":    {hex.EncodeToString, hex.DecodeString},
	"base64": {base64.StdEncoding.EncodeToString, base64.StdEncoding.Strict().DecodeString},
	// Without padding, as in JSON Web Keys.
	"base64url": {base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.Strict().DecodeString},
	// For a SecretBinary.
	"": {func(raw []byte) string { return string(raw) }, func(s string) ([]byte, error) { return []byte(s), nil }},
}

// guess returns the encoding that a text seems to have, or "", and how many bytes it encodes. Digits alone, and base64
// without padding, may be a password.
func guess(text string) (encoding string, size int) {
	for name, sign := range map[string]string{"hex": "abcdefABCDEF", "base64": "="} {
		if raw, err := codings[name].read(text); err == nil && len(raw) >= fewest && strings.ContainsAny(text, sign) {
			return name, len(raw)
		}
	}
	return "", 0
}

// The minimum cannot be guessed; the maximum fits into a secret in every encoding.
const fewest, most = 16, 4096

func newBytes(length, encoding string, binary bool) (maker, error) {
	b := random{32, length != "", encoding}
	if b.chosen {
		var err error
		if b.length, err = strconv.Atoi(length); err != nil || b.length < fewest || b.length > most {
			return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(
				bytesOption)+" to a whole number from 16 to 4096", "the number of bytes is %q", length)
		}
	}
	if !binary {
		b.encoding = cmp.Or(encoding, "base64")
	}
	if _, ok := codings[b.encoding]; !ok {
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(encodingOption)+
			" to base64, base64url or hex, or remove it for a SecretBinary", "the encoding of bytes is %q", encoding)
	}
	return b, nil
}

func (b random) make(*engine.Request) (string, error) {
	raw := make([]byte, b.length)
	_, _ = rand.Read(raw) // never fails
	return codings[b.encoding].write(raw), nil
}

// check accepts fewer bytes if an option sets the number, because the option can raise it.
func (b random) check(secret string) error {
	block, _ := pem.Decode([]byte(secret))
	raw, err := codings[b.encoding].read(secret)
	seems, size := guess(secret)
	switch n := len(raw); {
	case block != nil:
		return errors.New("is a key in PEM, not bytes")
	case seems != "" && seems != b.encoding: // hex is also valid base64
		return fmt.Errorf("looks like %d bytes in %s, not %s", size, seems, cmp.Or(b.encoding, "raw bytes"))
	case err != nil:
		return errors.New("is not " + b.encoding) // the decoder's error quotes the value
	case n < fewest || n > b.length || n < b.length && !b.chosen:
		return fmt.Errorf("is %d bytes, not %d", n, b.length)
	}
	return nil
}
