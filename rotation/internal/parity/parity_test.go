package parity

import (
	"errors"
	"slices"
	"testing"
)

func TestLevelTakesFirstThenGivesThenLooksAgain(t *testing.T) {
	want, have := []string{"a", "b"}, []string{"b with grant", "c", "a"}
	var done []string
	read := func() ([]string, []string, error) { return want, have, nil }
	take := func(r string) error {
		done = append(done, "-"+r)
		have = slices.DeleteFunc(slices.Clone(have), func(h string) bool { return h == r })
		return nil
	}
	give := func(r string) error {
		done = append(done, "+"+r)
		have = append(have, r)
		return nil
	}
	left, err := Level(read, take, give)
	if err != nil || len(left) > 0 || !slices.Equal(done, []string{"-b with grant", "-c", "+b"}) {
		t.Errorf("%q, left %q, %v", done, left, err)
	}
	done = nil
	if left, err := Level(read, take, give); err != nil || len(left) > 0 || done != nil {
		t.Errorf("a second time: %q, left %q, %v", done, left, err)
	}
}

func TestLevelReportsWhatTheServerDidNotDo(t *testing.T) {
	nothing := func(string) error { return nil }
	left, err := Level(func() ([]string, []string, error) {
		return []string{"a"}, []string{"b"}, nil
	}, nothing, nothing)
	if err != nil || !slices.Equal(left, []string{"b", "a"}) {
		t.Errorf("left %q, %v", left, err)
	}
	failure := errors.New("no")
	if _, err := Level(func() ([]string, []string, error) {
		return nil, []string{"b"}, nil
	}, func(string) error { return failure }, nothing); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
}

func TestLevelTakesNothingTwice(t *testing.T) {
	want, have := []string{"a"}, []string{"a by another", "a"}
	take := func(string) error { // takes the right itself and cannot take the other's
		have = []string{"a by another"}
		return nil
	}
	give := func(r string) error { have = append(have, r); return nil }
	left, err := Level(func() ([]string, []string, error) { return want, have, nil }, take, give)
	if err != nil || !slices.Equal(left, []string{"a by another"}) {
		t.Errorf("left %q, %v", left, err)
	}
}
