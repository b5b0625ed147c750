// Package parity makes one user's rights equal to another's: what every engine whose server cannot let one
// user stand for another does before it sets a second user's password.
package parity

import "slices"

// Level reads what the first user has (want) and what the second has (have), takes from the second what it
// has beyond that, gives it what it lacks, and reads again: the rights in which the two still differ are
// returned, none when they are equal. Where nothing differs, nothing is read twice.
//
// What is too much goes first: a right that may be handed on, and should not be, is given again without that.
// There are two rounds, because some servers take more than they are told to, such as the rights on all columns
// of a table. What is still there then is not taken again, which would also take what was given since.
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

// beyond returns what is in all and not in some.
func beyond[R comparable](all, some []R) []R {
	return slices.DeleteFunc(slices.Clone(all), func(r R) bool { return slices.Contains(some, r) })
}
