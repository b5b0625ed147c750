//go:build repro

package rotation_test

import (
	"testing"

	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/generic"
)

// Whoever may only tag a secret makes its next password one of 2^32.
func TestZZTagsThatWeakenAPassword(t *testing.T) {
	w := zzworld.New(t, generic.New())
	all := `CDEFGHIJKLMNOPQRSTUVWXYZ`
	arn := w.Secret("x", "first-password", "rotator:engine", "generic", "rotator:password-length", "32", "rotator:exclude-lowercase", "true", "rotator:exclude-numbers", "true",
		"rotator:exclude-punctuation", "true", "rotator:exclude-characters", all, "rotator:require-each-included-type", "false")
	err := w.Rotate(arn)
	t.Logf("%v: %s", err, w.Get(arn, "AWSCURRENT"))
	if err == nil {
		t.Error("PROVED: 32 bits")
	}
	_ = engine.SingleUser
}
