package generic

import (
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// encodings returns the number of bytes that a value encodes, for each likely encoding. A placeholder (short, or words)
// has none.
func encodings(value string, binary bool) map[string]int {
	found := map[string]int{}
	const hexLetters, small, capital = "abcdefABCDEF", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mixed := strings.ContainsAny(value, small) && strings.ContainsAny(value, capital)
	likely := map[string]bool{"binary": binary, "hex": !binary && strings.ContainsAny(value, hexLetters),
		"base64": !binary && mixed, "base64url": !binary && mixed}
	for _, c := range codings {
		raw, err := c.read(value)
		if err == nil && likely[c.name] && len(raw) >= fewest && found["hex"] == 0 {
			found[c.name] = len(raw)
		}
	}
	return found
}

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
	n, same := found[b.coding.name]
	if same && (n == b.length || b.chosen && n < b.length) {
		return nil
	}
	for _, c := range append([]coding{b.coding}, codings...) {
		if n, ok := found[c.name]; ok {
			return fmt.Errorf("is %d bytes in %s and would become %d in %s", n, c.name, b.length, b.coding.name)
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
