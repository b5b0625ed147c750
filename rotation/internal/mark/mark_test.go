package mark

import (
	"fmt"
	"testing"
	"time"
)

func TestAbandoned(t *testing.T) {
	const secret, version = "arn:secret", "11111111-2222"
	at := func(age time.Duration) string {
		return fmt.Sprintf("%s%s-%08x00000000", Prefix(secret), version, time.Now().Add(-age).Unix())
	}
	for name, c := range map[string]struct {
		mark string
		want bool
	}{
		"new":                 {New(secret, version), false},
		"another version's":   {New(secret, "99999999-2222"), true},
		"a longer version's":  {New(secret, version+"-3333"), true},
		"another secret's":    {New("arn:other", "99999999-2222"), false},
		"half a minute old":   {at(30 * time.Second), false},
		"two minutes old":     {at(2 * time.Minute), true},
		"written by a person": {Prefix(secret) + "first", true},
		"no mark":             {"rotator", false},
		"none":                {"", false},
	} {
		if got := Abandoned(c.mark, secret, version); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if one, other := New(secret, version), New(secret, version); one == other {
		t.Error("two marks are the same")
	}
}
