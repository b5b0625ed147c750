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

	"golang.org/x/crypto/ssh"

	"example.com/rotator/rotation/engine"
)

// keyPair generates key pairs: PKCS #8 (RFC 5958) and SubjectPublicKeyInfo (RFC 5280) in PEM, or OpenSSH's formats.
type keyPair struct {
	algorithm string
	openssh   bool
}

// algorithms maps the names that nameOf returns to key generators.
var algorithms = map[string]func() (crypto.Signer, error){
	"ed25519":    func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err },
	"rsa-2048":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	"rsa-3072":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) },
	"rsa-4096":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) },
	"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ecdsa-p521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
}

func nameOf(key crypto.PublicKey) string {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", k.Params().BitSize)
	}
	return "another"
}

func newKeyPair(kind, encoding string) (maker, error) {
	if algorithms[kind] == nil {
		names := strings.Join(slices.Sorted(maps.Keys(algorithms)), ", ")
		return nil, engine.Errorf(engine.InvalidConfiguration,
			"set "+engine.OptionName(kindOption)+" to password, bytes, "+names, "the kind of value is %q", kind)
	}
	if !slices.Contains([]string{"", "pem", "openssh"}, encoding) {
		return nil, engine.Errorf(engine.InvalidConfiguration,
			"set "+engine.OptionName(encodingOption)+" to pem or openssh", "the encoding of a key pair is %q", encoding)
	}
	return keyPair{kind, encoding == "openssh"}, nil
}

func (p keyPair) make(*engine.Request) (secret, public string, err error) {
	var block *pem.Block
	key, err := algorithms[p.algorithm]()
	if err == nil {
		public, err = p.public(key)
	}
	switch {
	case err != nil:
	case p.openssh:
		block, err = ssh.MarshalPrivateKey(key, "")
	default:
		var der []byte
		der, err = x509.MarshalPKCS8PrivateKey(key)
		block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	if err != nil {
		return "", "", engine.Errorf(engine.InternalError, "report this as a bug", "generating the key failed: %w", err)
	}
	return string(pem.EncodeToMemory(block)), public, nil
}

func (p keyPair) public(key crypto.Signer) (string, error) {
	if p.openssh {
		k, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			return "", err
		}
		return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(k)), "\n"), nil
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

// check parses both keys. It hides the parsers' errors, which might quote a key.
func (p keyPair) check(secret, public string) error {
	block, rest := pem.Decode([]byte(secret))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return errors.New("is not one private key in PEM")
	}
	kind := "PRIVATE KEY"
	if p.openssh {
		kind = "OPENSSH PRIVATE KEY"
	}
	if block.Type != kind {
		return errors.New("is not a PEM block of type " + kind)
	}
	parsed, err := ssh.ParseRawPrivateKey([]byte(secret))
	if k, ok := parsed.(*ed25519.PrivateKey); ok {
		parsed = *k
	}
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return errors.New("cannot be read as a private key")
	}
	if nameOf(key.Public()) != p.algorithm {
		return errors.New("is not a key of type " + p.algorithm)
	}
	if public == "" {
		return nil
	}
	want, err := p.public(key)
	if err != nil || !p.same(want, public) {
		return errors.New("and its public key do not match")
	}
	return nil
}

// same compares encoded public keys, ignoring the comment at the end of OpenSSH's.
func (p keyPair) same(a, b string) bool {
	if !p.openssh {
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) > 1 && len(y) > 1 && x[0] == y[0] && x[1] == y[1]
}
