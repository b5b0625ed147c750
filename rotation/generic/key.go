package generic

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// privateKey generates private keys for an algorithm, as PKCS #8 (RFC 5958) in PEM. Readers derive the public key.
type privateKey string

// algorithms maps the names that nameOf returns to key generators.
var algorithms = map[privateKey]func() (crypto.Signer, error){
	"ed25519":    func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err },
	"rsa-2048":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	"rsa-3072":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) },
	"rsa-4096":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) },
	"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ecdsa-p521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
}

func nameOf(key crypto.PublicKey) privateKey {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		return privateKey(fmt.Sprintf("rsa-%d", k.N.BitLen()))
	case *ecdsa.PublicKey:
		return privateKey(fmt.Sprintf("ecdsa-p%d", k.Params().BitSize))
	}
	return "another"
}

func newPrivateKey(kind string) (maker, error) {
	if algorithms[privateKey(kind)] == nil {
		names := fmt.Sprint(slices.Sorted(maps.Keys(algorithms)))
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(kindOption)+
			" to password, bytes or one of "+names, "the kind of value is %q", kind)
	}
	return privateKey(kind), nil
}

const pemType = "PRIVATE KEY"

func (p privateKey) make(*engine.Request) (string, error) {
	var der []byte
	key, err := algorithms[p]()
	if err == nil {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return "", engine.Errorf(engine.InternalError, "report this as a bug", "generating the key failed: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})), nil
}

// check parses the key. It hides the parser's errors, which might quote a key.
func (p privateKey) check(secret string) error {
	block, rest := pem.Decode([]byte(secret))
	if block == nil || block.Type != pemType || strings.TrimSpace(string(rest)) != "" {
		return errors.New("is not one PEM block of type " + pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return errors.New("cannot be read as a private key")
	}
	if nameOf(key.Public()) != p {
		return errors.New("is not a key of type " + string(p))
	}
	return nil
}
