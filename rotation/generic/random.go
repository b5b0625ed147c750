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

// The fewest and the most bytes: 16 are the least that cannot be guessed, and the
// most fit into a secret in every encoding.
const fewest, most = 16, 4096

func newBytes(length, encoding string, binary bool) (maker, error) {
	b := random{32, length != "", encoding}
	if length != "" {
		var err error
		if b.length, err = strconv.Atoi(length); err != nil || b.length < fewest || b.length > most {
			return nil, engine.Errorf(engine.InvalidConfiguration, "set "+bytesOption+" to a whole number from 16 to 4096", "the number of bytes is %q", length)
		}
	}
	switch encoding {
	case "base64", "base64url", "hex", "binary":
	case "":
		b.encoding = "base64"
		if binary {
			b.encoding = "binary"
		}
	default:
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+encodingOption+" to base64, base64url, hex or binary", "the encoding of bytes is %q", encoding)
	}
	return b, nil
}

func (b random) make(*engine.Request) (secret, public string, err error) {
	raw := make([]byte, b.length)
	_, _ = rand.Read(raw) // never fails, says crypto/rand
	switch b.encoding {
	case "base64":
		return base64.StdEncoding.EncodeToString(raw), "", nil
	case "base64url":
		// Without padding, as JSON Web Keys have it.
		return base64.RawURLEncoding.EncodeToString(raw), "", nil
	case "hex":
		return hex.EncodeToString(raw), "", nil
	}
	return string(raw), "", nil
}

// check reads the bytes. How many they are is not asked, so that a longer length
// can be chosen while a rotation is under way.
func (b random) check(secret, _ string) error {
	var err error
	switch b.encoding {
	case "base64":
		_, err = base64.StdEncoding.Strict().DecodeString(secret)
	case "base64url":
		_, err = base64.RawURLEncoding.Strict().DecodeString(secret)
	case "hex":
		_, err = hex.DecodeString(secret)
	}
	if err != nil {
		return errors.New("is not " + b.encoding) // the decoder's words quote the value
	}
	if secret == "" {
		return errors.New("is empty or no text")
	}
	return nil
}

func (random) pair() bool { return false }
