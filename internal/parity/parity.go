// Package parity makes one user's rights equal to another's: what every engine
// whose server cannot let one user stand for another does before it sets a
// second user's password.
package parity

import "slices"

// Level reads what the first user has (want) and what the second has (have),
// takes from the second what it has beyond that, gives it what it lacks, and
// then reads again: the rights in which the two still differ are returned, none
// when they are equal. Where nothing differed, nothing is read twice.
//
// What is too much goes first, so that a right that may be handed on, where it
// should not be, can be given again without that.
func Level[R comparable](read func() (want, have []R, err error), take, give func(R) error) (left []R, err error) {
	want, have, err := read()
	if err != nil {
		return nil, err
	}
	extra, missing := beyond(have, want), beyond(want, have)
	for _, r := range extra {
		if err := take(r); err != nil {
			return nil, err
		}
	}
	for _, r := range missing {
		if err := give(r); err != nil {
			return nil, err
		}
	}
	if len(extra)+len(missing) == 0 {
		return nil, nil
	}
	if want, have, err = read(); err != nil {
		return nil, err
	}
	return append(beyond(have, want), beyond(want, have)...), nil
}

// beyond returns what is in all and not in some.
func beyond[R comparable](all, some []R) []R {
	return slices.DeleteFunc(slices.Clone(all), func(r R) bool { return slices.Contains(some, r) })
}
