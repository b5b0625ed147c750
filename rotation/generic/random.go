package generic

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"

	"example.com/rotator/rotation/engine"
)

// password makes passwords by the policy in force.
type password struct{}

func (password) make(r *engine.Request) (secret, public string, err error) {
	return r.NewPassword(), "", nil
}

func (password) check(secret, _ string) error {
	if secret == "" {
		return errors.New("is empty or no text")
	}
	return nil
}

func (password) pair() bool { return false }

// random makes bytes.
type random struct {
	length   int
	chosen   bool // whether the options have the length
	encoding string
}

// The fewest bytes cannot be guessed, and the most fit into a secret in every encoding.
const fewest, most = 16, 4096

func newBytes(length, encoding string, binary bool) (maker, error) {
	b := random{32, length != "", encoding}
	if b.chosen {
		var err error
		if b.length, err = strconv.Atoi(length); err != nil || b.length < fewest || b.length > most {
			return nil, engine.Errorf(engine.InvalidConfiguration, "set "+bytesOption+" to a whole number from 16 to 4096", "the number of bytes is %q", length)
		}
	}
	if encoding == "" {
		b.encoding = "base64"
		if binary {
			b.encoding = "binary"
		}
	}
	if _, _, ok := b.coder(); !ok {
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+encodingOption+" to base64, base64url, hex or binary", "the encoding of bytes is %q", encoding)
	}
	return b, nil
}

// coder returns how bytes are written and read. base64url has no padding, as in JSON Web Keys.
func (b random) coder() (write func([]byte) string, read func(string) ([]byte, error), ok bool) {
	switch b.encoding {
	case "base64":
		return base64.StdEncoding.EncodeToString, base64.StdEncoding.Strict().DecodeString, true
	case "base64url":
		return base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.Strict().DecodeString, true
	case "hex":
		return hex.EncodeToString, hex.DecodeString, true
	}
	same := func(raw []byte) string { return string(raw) }
	return same, func(s string) ([]byte, error) { return []byte(s), nil }, b.encoding == "binary"
}

func (b random) make(*engine.Request) (secret, public string, err error) {
	raw := make([]byte, b.length)
	_, _ = rand.Read(raw) // never fails, says crypto/rand
	write, _, _ := b.coder()
	return write(raw), "", nil
}

// check reads the bytes. Their number may differ: a longer length can be chosen during a rotation.
func (b random) check(secret, _ string) error {
	_, read, _ := b.coder()
	if _, err := read(secret); err != nil {
		return errors.New("is not " + b.encoding) // the decoder's error quotes the value
	}
	if secret == "" {
		return errors.New("is empty or no text")
	}
	return nil
}

func (random) pair() bool { return false }
