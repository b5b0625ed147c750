// Package parity makes one user's rights equal to another's. Engines whose server cannot let one
// user act as another do this before they set the second user's password.
package parity

import "slices"

// Level reads the rights of the first user (want) and of the second (have), takes from the second
// what is extra, gives it what it lacks, and reads again. It returns the rights in which the two
// still differ. If nothing differs, it reads only once.
//
// Extra rights go first: a right with a grant option that it should not have is given again without
// it. There are two rounds, because some servers take more than requested, such as the rights on
// all columns of a table. A right that is still there is not taken again, because that would also
// take what was given since.
func Level[R comparable](read func() (want, have []R, err error), take, give func(R) error) (left []R, err error) {
	var taken []R
	for round := 0; ; round++ {
		want, have, err := read()
		if err != nil {
			return nil, err
		}
		extra, missing := beyond(have, want), beyond(want, have)
		if round == 2 || len(extra)+len(missing) == 0 {
			return append(extra, missing...), nil
		}
		for _, r := range beyond(extra, taken) {
			taken = append(taken, r)
			if err := take(r); err != nil {
				return nil, err
			}
		}
		for _, r := range missing {
			if err := give(r); err != nil {
				return nil, err
			}
		}
	}
}

// beyond returns what is in all but not in some.
func beyond[R comparable](all, some []R) []R {
	return slices.DeleteFunc(slices.Clone(all), func(r R) bool { return slices.Contains(some, r) })
}
