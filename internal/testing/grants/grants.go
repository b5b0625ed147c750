// Package grants checks the rights that `rotatorctl policy` prints for a login at an engine's target.
package grants

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// Target is an engine's target, for one kind of rotation.
type Target struct {
	Engine engine.Engine
	Env    map[string]string // the function's variables
	// New creates a user and a superuser, both without rights, and returns their values. The superuser is the zero Value
	// if the user changes its own credential.
	New func() (value, superuser engine.Value)
	// Exec executes a line of the rights.
	Exec func(line string)
	// Before, unless it is nil, is called before each rotation of a user.
	Before func(value engine.Value)
	// Least is how many lines there are at least.
	Least int
}

// Prove checks that a rotation succeeds with the printed rights, and fails for lack of a privilege if any line, or any
// privilege of a line, is missing.
func (x Target) Prove(t *testing.T) {
	t.Helper()
	w := world.New(t, x.Engine)
	w.Env = x.Env
	for i, n := 0, 1; i < n; i++ { // n is known once the first rights are
		v, superuser := x.New()
		if !superuser.IsZero() {
			v = v.With("masterarn", w.Secret(testserver.Unique("superuser-"), superuser))
		}
		arn := w.Secret(testserver.Unique("user-"), v)
		r, err := w.Rotator()
		if err != nil {
			t.Fatal(err)
		}
		needs, err := operator.Needs(t.Context(), r, arn)
		if err != nil || len(needs.Grants) < x.Least {
			t.Fatalf("the rights are only %q: %v", needs.Grants, err)
		}
		variants := append([][]string{needs.Grants}, less(needs.Grants)...)
		if i > 0 && n != len(variants) {
			t.Fatalf("not the rights of the first user: %q", needs.Grants)
		}
		n = len(variants)
		for _, line := range variants[i] {
			x.Exec(strings.TrimSuffix(line, ";"))
		}
		if x.Before != nil {
			x.Before(v)
		}
		err = w.Rotate(arn)
		switch {
		case i == 0 && err != nil:
			t.Errorf("with all of %q: %v", needs.Grants, err)
		case i > 0 && !errors.Is(err, engine.PrivilegeMissing):
			t.Errorf("with no more than %q of %q: %v, want PrivilegeMissing", variants[i], needs.Grants, err)
		}
	}
}

// privileges matches the global privileges in one GRANT, and commands the commands in one line of Redis that every login
// needs.
var (
	privileges = regexp.MustCompile(`^GRANT (.+, .+) ON \*\.\* `)
	commands   = regexp.MustCompile(` \+(?:info|config\|get|acl\|[gs]etuser)`)
)

// less returns all variants of the lines with one line, or one privilege of a line, removed.
func less(lines []string) (all [][]string) {
	for i, line := range lines {
		if strings.HasPrefix(line, "ACL SETUSER ") {
			for _, at := range commands.FindAllStringIndex(line, -1) {
				shorter := slices.Clone(lines)
				shorter[i] = line[:at[0]] + line[at[1]:]
				all = append(all, shorter)
			}
			continue
		}
		all = append(all, slices.Delete(slices.Clone(lines), i, i+1))
		if m := privileges.FindStringSubmatch(line); m != nil {
			list := strings.Split(m[1], ", ")
			for j := range list {
				shorter := slices.Clone(lines)
				rest := slices.Delete(slices.Clone(list), j, j+1)
				shorter[i] = strings.Replace(line, m[1], strings.Join(rest, ", "), 1)
				all = append(all, shorter)
			}
		}
	}
	return all
}
