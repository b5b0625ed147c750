package pair

import (
	"slices"

	"example.com/rotator/rotation/engine"
)

// Right is the pair of statements that grant a right to a user and revoke it. Take is "" if another right replaces it.
type Right struct{ Give, Take string }

// Level makes one user's rights equal to another's, for engines whose server cannot let one user act as another. It
// reads the rights that the user should have and those that it has, revokes the extra ones, grants the missing ones,
// and reads again. It returns the rights that still differ. If nothing differs, it reads only once.
//
// Level revokes first, because a right with an unwanted grant option is then granted again without it. There are two
// rounds, because some servers revoke more than requested, such as the rights on all columns of a table. Level revokes
// no right twice, because that would also revoke what was granted since.
func Level(read func() (want, have []Right, err error), run func(statement string) error) (left []Right, err error) {
	var taken []string
	for round := 0; ; round++ {
		want, have, err := read()
		if err != nil {
			return nil, err
		}
		extra, missing := beyond(have, want), beyond(want, have)
		if round == 2 || len(extra)+len(missing) == 0 {
			return append(extra, missing...), nil
		}
		var statements []string
		for _, r := range extra {
			if r.Take != "" && !slices.Contains(taken, r.Take) {
				taken, statements = append(taken, r.Take), append(statements, r.Take)
			}
		}
		for _, r := range missing {
			statements = append(statements, r.Give)
		}
		for _, s := range statements {
			if err := run(s); err != nil {
				return nil, err
			}
		}
	}
}

// Same levels the rights of two users or fails. read returns a user's rights as rights of the user other.
func Same(current, other string, read func(user string) ([]Right, error), run func(statement string) error) error {
	left, err := Level(func() (want, have []Right, err error) {
		if want, err = read(current); err == nil {
			have, err = read(other)
		}
		return want, have, err
	}, run)
	if err == nil && len(left) > 0 {
		err = engine.Errorf(engine.PrivilegeMissing, "grant both the same by hand, or let the superuser grant it",
			"only one of the users %q and %q has what this gives: %s", current, other, left[0].Give)
	}
	return err
}

// beyond returns what is in all but not in some.
func beyond(all, some []Right) []Right {
	return slices.DeleteFunc(slices.Clone(all), func(r Right) bool { return slices.Contains(some, r) })
}
