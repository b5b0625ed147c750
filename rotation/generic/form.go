package generic

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// encodings returns how many bytes a current value has in each of the encodings that it may be in. A
// value of fewer bytes than are made here, or one that looks like words, is taken for a placeholder
// and has none.
func encodings(value string, binary bool) map[string]int {
	found := map[string]int{}
	add := func(encoding string, n int, err error) {
		if err == nil && n >= fewest {
			found[encoding] = n
		}
	}
	const letters, small, capital = "abcdefABCDEF", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if binary {
		add("binary", len(value), nil)
		return found
	}
	if raw, err := hex.DecodeString(value); err == nil && strings.ContainsAny(value, letters) {
		add("hex", len(raw), nil)
		return found
	}
	if strings.ContainsAny(value, small) && strings.ContainsAny(value, capital) {
		raw, err := base64.StdEncoding.Strict().DecodeString(value)
		add("base64", len(raw), err)
		raw, err = base64.RawURLEncoding.Strict().DecodeString(value)
		add("base64url", len(raw), err)
	}
	return found
}

// isPEM reports whether a current value is a key and no placeholder.
func isPEM(value string) bool {
	block, _ := pem.Decode([]byte(value))
	return block != nil
}

var errPEM = errors.New("is in PEM")

func (password) keeps(current, _ string, binary bool) error {
	found := encodings(current, false)
	switch {
	case isPEM(current):
		return errPEM
	case binary && !utf8.ValidString(current):
		return errors.New("is bytes and would become a password")
	case found["hex"] > 0:
		return fmt.Errorf("is %d bytes in hex and would become a password", found["hex"])
	case found["base64"] > 0 && strings.HasSuffix(current, "="): // without padding it can be a password
		return fmt.Errorf("is %d bytes in base64 and would become a password", found["base64"])
	}
	return nil
}

func (b random) keeps(current, _ string, binary bool) error {
	if isPEM(current) {
		return errPEM
	}
	found := encodings(current, binary)
	n, same := found[b.encoding]
	if same && (n == b.length || b.chosen && n < b.length) {
		return nil
	}
	for _, encoding := range []string{b.encoding, "binary", "hex", "base64", "base64url"} {
		if n, ok := found[encoding]; ok {
			return fmt.Errorf("is %d bytes in %s and would become %d in %s", n, encoding, b.length, b.encoding)
		}
	}
	return nil
}

func (p keyPair) keeps(current, public string, binary bool) error {
	if isPEM(current) {
		return p.check(current, public)
	}
	for encoding, n := range encodings(current, binary) {
		return fmt.Errorf("is %d bytes in %s and would become a key in PEM", n, encoding)
	}
	return nil
}
