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
	"strings"

	"golang.org/x/crypto/ssh"

	"example.com/rotator/rotation/engine"
)

// keyPair makes pairs of keys of one algorithm: as PKCS #8 (RFC 5958) and
// SubjectPublicKeyInfo (RFC 5280) in PEM, or as OpenSSH has them.
type keyPair struct {
	algorithm algorithm
	openssh   bool
}

// algorithm is a way to make keys, and to know one.
type algorithm struct {
	name     string
	generate func() (crypto.Signer, error)
	fits     func(crypto.PublicKey) bool
}

var algorithms = []algorithm{
	{
		"ed25519",
		func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err },
		func(k crypto.PublicKey) bool { _, ok := k.(ed25519.PublicKey); return ok },
	},
	rsaOf("rsa-2048", 2048), rsaOf("rsa-3072", 3072), rsaOf("rsa-4096", 4096),
	ecdsaOf("ecdsa-p256", elliptic.P256()), ecdsaOf("ecdsa-p384", elliptic.P384()), ecdsaOf("ecdsa-p521", elliptic.P521()),
}

func rsaOf(name string, bits int) algorithm {
	return algorithm{
		name,
		func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) },
		func(k crypto.PublicKey) bool { r, ok := k.(*rsa.PublicKey); return ok && r.N.BitLen() == bits },
	}
}

func ecdsaOf(name string, curve elliptic.Curve) algorithm {
	return algorithm{
		name,
		func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) },
		func(k crypto.PublicKey) bool { e, ok := k.(*ecdsa.PublicKey); return ok && e.Curve == curve },
	}
}

func newKeyPair(kind, encoding string) (maker, error) {
	var names []string
	for _, a := range algorithms {
		names = append(names, a.name)
		if a.name != kind {
			continue
		}
		switch encoding {
		case "", "pem", "openssh":
			return keyPair{a, encoding == "openssh"}, nil
		}
		return nil, engine.Errorf(engine.InvalidConfiguration, "set "+encodingOption+" to pem or openssh", "the encoding of a key pair is %q", encoding)
	}
	return nil, engine.Errorf(engine.InvalidConfiguration, "set "+kindOption+" to password, bytes, "+strings.Join(names, ", "), "the kind of value is %q", kind)
}

func (p keyPair) make(*engine.Request) (secret, public string, err error) {
	key, err := p.algorithm.generate()
	if err != nil {
		return "", "", engine.Errorf(engine.InternalError, "report this", "no key was made: %w", err)
	}
	var block *pem.Block
	if p.openssh {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		var der []byte
		der, err = x509.MarshalPKCS8PrivateKey(key)
		block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	if err == nil {
		public, err = p.public(key)
	}
	if err != nil {
		return "", "", engine.Errorf(engine.InternalError, "report this", "the key cannot be written: %w", err)
	}
	return string(pem.EncodeToMemory(block)), public, nil
}

// public writes the public key.
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

// check reads both keys. The parsers' words are not passed on, as they might
// quote a key.
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
		return errors.New("is not of the form " + kind)
	}
	parsed, err := ssh.ParseRawPrivateKey([]byte(secret))
	if k, ok := parsed.(*ed25519.PrivateKey); ok {
		parsed = *k
	}
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return errors.New("cannot be read as a private key")
	}
	if !p.algorithm.fits(key.Public()) {
		return errors.New("is not a key of the kind " + p.algorithm.name)
	}
	if public == "" {
		return nil
	}
	want, err := p.public(key)
	if err != nil || !p.same(want, public) {
		return errors.New("and its public key do not belong together")
	}
	return nil
}

// same compares public keys as they are written; a comment that OpenSSH's may end
// in does not count.
func (p keyPair) same(a, b string) bool {
	if !p.openssh {
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) > 1 && len(y) > 1 && x[0] == y[0] && x[1] == y[1]
}

func (keyPair) pair() bool { return true }
