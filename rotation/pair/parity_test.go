package pair

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

// named returns rights by their names, such as "a", or "a by b" for a right that is revoked like "a".
func named(names ...string) (rights []Right) {
	for _, n := range names {
		first, _, _ := strings.Cut(n, " by ")
		rights = append(rights, Right{"+" + n, "-" + first})
	}
	return rights
}

func TestLevelTakesFirstThenGivesThenLooksAgain(t *testing.T) {
	want, have := named("a", "b"), named("b with grant", "c", "a")
	var done []string
	read := func() ([]Right, []Right, error) { return want, have, nil }
	run := func(statement string) error {
		done = append(done, statement)
		name := statement[1:]
		if statement[0] == '+' {
			have = append(have, named(name)...)
		} else {
			have = slices.DeleteFunc(slices.Clone(have), func(r Right) bool { return r.Take == statement })
		}
		return nil
	}
	left, err := Level(read, run)
	if err != nil || len(left) > 0 || !slices.Equal(done, []string{"-b with grant", "-c", "+b"}) {
		t.Errorf("%q, left %q, %v", done, left, err)
	}
	done = nil
	if left, err := Level(read, run); err != nil || len(left) > 0 || done != nil {
		t.Errorf("a second time: %q, left %q, %v", done, left, err)
	}
}

func TestLevelReportsWhatTheServerDidNotDo(t *testing.T) {
	read := func() ([]Right, []Right, error) { return named("a"), named("b"), nil }
	left, err := Level(read, func(string) error { return nil })
	if err != nil || !slices.Equal(left, named("b", "a")) {
		t.Errorf("left %q, %v", left, err)
	}
	for _, failing := range []string{"-b", "+a"} {
		failure := errors.New("no")
		if _, err := Level(read, func(s string) error {
			if s == failing {
				return failure
			}
			return nil
		}); !errors.Is(err, failure) {
			t.Errorf("%s: %v", failing, err)
		}
	}
}

func TestSameReportsWhatOnlyOneUserHas(t *testing.T) {
	rights := map[string][]Right{"app": {{Give: "role a"}}, "app_clone": {{Give: "role b"}}}
	read := func(user string) ([]Right, error) { return rights[user], nil }
	same := func(run func(string) error) error { return Same("app", "app_clone", read, run) }
	err := same(func(string) error { return nil })
	if !errors.Is(err, engine.PrivilegeMissing) || !strings.Contains(err.Error(), "role b") {
		t.Error(err)
	}
	var ran []string
	err = same(func(statement string) error {
		ran = append(ran, statement)
		rights["app_clone"] = []Right{{Give: statement}}
		return nil
	})
	if err != nil || !slices.Equal(ran, []string{"role a"}) { // a right without Take is only replaced
		t.Errorf("%q, %v", ran, err)
	}
}

func TestLevelTakesNothingTwice(t *testing.T) {
	want, have := named("a"), named("a by another", "a by a third", "a")
	taken := 0
	left, err := Level(func() ([]Right, []Right, error) { return want, have, nil }, func(statement string) error {
		if statement == "-a" { // revokes the right, but not where others granted it
			taken++
			have = named("a by another")
		} else {
			have = append(have, named("a")...)
		}
		return nil
	})
	if err != nil || !slices.Equal(left, named("a by another")) || taken != 1 {
		t.Errorf("left %q, taken %d times, %v", left, taken, err)
	}
}
