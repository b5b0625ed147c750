//go:build repro

package generic_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/generic"
	"example.com/rotator/rotation/operator"
)

// G1: the form of the current value is not looked at: clients that read PKCS #1, or hex,
// get something else without a word from check or createSecret.
func TestZZFormChangesSilently(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	for name, c := range map[string]struct {
		value string
		tags  []string
	}{
		"PKCS #1":            {pkcs1, []string{"rotator:generic-kind", "rsa-2048"}},
		"3072 bits become":   {pkcs1, []string{"rotator:generic-kind", "ed25519"}},
		"hex":                {strings.Repeat("0123456789abcdef", 4), []string{"rotator:generic-kind", "bytes"}},
		"64 bytes become 32": {strings.Repeat("QUJD", 21) + "QQ==", []string{"rotator:generic-kind", "bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := zzworld.New(t, generic.New())
			arn := w.Secret("x", c.value, append([]string{"rotator:engine", "generic"}, c.tags...)...)
			rep := ""
			for _, r := range operator.Check(t.Context(), w.Rotator(), arn) {
				rep += r.Check + "=" + string(r.State) + " " + r.Detail + "; "
			}
			err := w.Rotate(arn)
			t.Logf("check %s\nrotate %v: %.40q became %.40q", rep, err, c.value, w.Get(arn, "AWSCURRENT"))
		})
	}
	_ = engine.SingleUser
}
