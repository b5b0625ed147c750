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

// keyPair generates key pairs with an algorithm, as PKCS #8 (RFC 5958) and SubjectPublicKeyInfo (RFC 5280) in PEM.
type keyPair string

// algorithms maps the names that nameOf returns to key generators.
var algorithms = map[keyPair]func() (crypto.Signer, error){
	"ed25519":    func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err },
	"rsa-2048":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	"rsa-3072":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) },
	"rsa-4096":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) },
	"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ecdsa-p521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
}

func nameOf(key crypto.PublicKey) keyPair {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		return keyPair(fmt.Sprintf("rsa-%d", k.N.BitLen()))
	case *ecdsa.PublicKey:
		return keyPair(fmt.Sprintf("ecdsa-p%d", k.Params().BitSize))
	}
	return "another"
}

func newKeyPair(kind string) (maker, error) {
	if algorithms[keyPair(kind)] == nil {
		names := fmt.Sprint(slices.Sorted(maps.Keys(algorithms)))
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+engine.OptionName(kindOption)+
			" to password, bytes or one of "+names, "the kind of value is %q", kind)
	}
	return keyPair(kind), nil
}

func (p keyPair) make(*engine.Request) (secret, public string, err error) {
	var der []byte
	key, err := algorithms[p]()
	if err == nil {
		public, err = publicOf(key)
	}
	if err == nil {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return "", "", engine.Errorf(engine.InternalError, "report this as a bug", "generating the key failed: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der})), public, nil
}

const privateType = "PRIVATE KEY"

func publicOf(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

// check parses both keys. It hides the parsers' errors, which might quote a key.
func (p keyPair) check(secret, public string) error {
	block, rest := pem.Decode([]byte(secret))
	if block == nil || block.Type != privateType || strings.TrimSpace(string(rest)) != "" {
		return errors.New("is not one PEM block of type " + privateType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return errors.New("cannot be read as a private key")
	}
	if nameOf(key.Public()) != p {
		return errors.New("is not a key of type " + string(p))
	}
	want, err := publicOf(key)
	if err != nil || public != "" && strings.TrimSpace(want) != strings.TrimSpace(public) {
		return errors.New("and its public key do not match")
	}
	return nil
}
