package generic

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"

	"example.com/rotator/rotation/engine"
)

type password struct{}

func (password) make(r *engine.Request) (secret, public string, err error) {
	return r.NewPassword(), "", nil
}

func (password) check(secret, _ string) error {
	if secret == "" {
		return errors.New("is empty or not text")
	}
	return nil
}

type random struct {
	length int
	chosen bool // whether an option sets the length
	coding coding
}

type coding struct {
	name  string
	write func([]byte) string
	read  func(string) ([]byte, error)
}

var codings = []coding{
	{"hex", hex.EncodeToString, hex.DecodeString},
	{"base64", base64.StdEncoding.EncodeToString, base64.StdEncoding.Strict().DecodeString},
	// Without padding, as in JSON Web Keys.
	{"base64url", base64.RawURLEncoding.EncodeToString, base64.RawURLEncoding.Strict().DecodeString},
	{"binary", func(raw []byte) string { return string(raw) },
		func(s string) ([]byte, error) { return []byte(s), nil }},
}

// The minimum cannot be guessed; the maximum fits into a secret in every encoding.
const fewest, most = 16, 4096

func newBytes(length, encoding string, binary bool) (maker, error) {
	b := random{length: 32, chosen: length != ""}
	if b.chosen {
		var err error
		if b.length, err = strconv.Atoi(length); err != nil || b.length < fewest || b.length > most {
			return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(
				bytesOption)+" to a whole number from 16 to 4096", "the number of bytes is %q", length)
		}
	}
	if encoding == "" && binary {
		encoding = "binary"
	}
	i := slices.IndexFunc(codings, func(c coding) bool { return c.name == cmp.Or(encoding, "base64") })
	if i < 0 {
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(encodingOption)+
			" to base64, base64url, hex or binary", "the encoding of bytes is %q", encoding)
	}
	b.coding = codings[i]
	return b, nil
}

func (b random) make(*engine.Request) (secret, public string, err error) {
	raw := make([]byte, b.length)
	_, _ = rand.Read(raw) // never fails
	return b.coding.write(raw), "", nil
}

// check decodes the bytes. It accepts any number, because the option can be raised during a rotation.
func (b random) check(secret, _ string) error {
	if _, err := b.coding.read(secret); err != nil {
		return errors.New("is not " + b.coding.name) // the decoder's error quotes the value
	}
	return password{}.check(secret, "")
}
