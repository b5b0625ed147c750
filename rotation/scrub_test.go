package rotation

import (
	"strings"
	"testing"
)

// TestScrubLeavesNoRestOfALongerPassword: values are read in any order, and one
// may hold the beginning of another's password.
func TestScrubLeavesNoRestOfALongerPassword(t *testing.T) {
	short, long := StringValue(`{"password":"Hunter"}`), StringValue(`{"password":"Hunter-22"}`)
	for _, values := range [][]Value{{short, long}, {long, short}} {
		if got := scrub("refused Hunter-22 and Hunter%2D22 and Hunter", values); strings.Contains(got, "Hunter") || strings.Contains(got, "-22") {
			t.Errorf("what is left: %s", got)
		}
	}
}
