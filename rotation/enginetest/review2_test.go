//go:build repro

package enginetest

import (
	"testing"

	"example.com/rotator/rotation"
)

// Seal: what somebody who has the passwords and the version ids (CloudTrail, the function's log) can tell.
func TestReviewSealLinks(t *testing.T) {
	p := rotation.PasswordPolicy{Length: 32, ExcludeCharacters: `:/@"'\`, RequireEachIncludedType: true}
	ids := []string{"v1", "v2", "v3", "v4"}
	leaked := p.New("v3")
	for _, id := range ids {
		t.Logf("%s: %v", id, p.SealedTo(id, leaked))
	}
	n := 0
	for range 200000 {
		if p.SealedTo("v1", p.New("v2")) {
			n++
		}
	}
	t.Logf("false acceptances in 200000: %d", n)
	for _, q := range []rotation.PasswordPolicy{
		{Length: 24, ExcludeCharacters: "GHIJKLMNOPQRSTUVWXYZ", ExcludeLowercase: true, ExcludePunctuation: true},
		{Length: 30, ExcludeUppercase: true, ExcludeLowercase: true, ExcludePunctuation: true},
		{Length: 20}, {Length: 24, ExcludePunctuation: true}, {Length: 32, ExcludeCharacters: `:/@"'\`},
	} {
		a := q.New("x")
		// which suffix is determined: the longest that is reproduced for the same body
		t.Logf("%+v: example length %d sealed %v", q, len(a), q.SealedTo("x", a))
	}
}
