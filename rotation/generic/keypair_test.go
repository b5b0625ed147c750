package generic

import (
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

// FuzzCheck: any value is checked without a panic, and no error quotes it.
func FuzzCheck(f *testing.F) {
	var makers []maker
	for name := range algorithms {
		for _, encoding := range []string{"pem", "openssh"} {
			m, err := newKeyPair(name, encoding)
			if err != nil {
				f.Fatal(err)
			}
			makers = append(makers, m)
			if strings.HasPrefix(name, "rsa-") && name != "rsa-2048" {
				continue // slow to generate
			}
			secret, public, err := m.make(&engine.Request{})
			if err != nil {
				f.Fatal(err)
			}
			if err := m.check(secret, public); err != nil {
				f.Fatalf("%s %s: %v", name, encoding, err)
			}
			f.Add(secret, public)
		}
	}
	for _, c := range codings {
		makers = append(makers, random{length: 16, coding: c})
	}
	f.Fuzz(func(t *testing.T, secret, public string) {
		for _, m := range makers {
			if err := m.check(secret, public); err != nil && len(secret) > 24 && strings.Contains(err.Error(), secret) {
				t.Errorf("%v quotes the value", err)
			}
		}
	})
}
