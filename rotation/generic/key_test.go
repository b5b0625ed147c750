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
		makers = append(makers, name)
		if strings.HasPrefix(string(name), "rsa-") && name != "rsa-2048" {
			continue // slow to generate
		}
		secret, err := name.make(&engine.Request{})
		if err != nil {
			f.Fatal(err)
		}
		if err := name.check(secret); err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		f.Add(secret)
	}
	for encoding := range codings {
		makers = append(makers, random{length: 16, encoding: encoding})
	}
	f.Fuzz(func(t *testing.T, secret string) {
		for _, m := range makers {
			if err := m.check(secret); err != nil && len(secret) > 24 && strings.Contains(err.Error(), secret) {
				t.Errorf("%v quotes the value", err)
			}
		}
	})
}
