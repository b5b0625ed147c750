package oracle

import (
	"context"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/parity"
)

// right is something that a user was granted by name.
type right struct {
	what   string // what stands between GRANT and TO
	taken  string // what stands between REVOKE and FROM
	option string // what follows the user's name in GRANT
}

// words is the form of a privilege's name and of a kind of object, which cannot
// be quoted.
var words = lazyregexp.New(`^[A-Z][A-Z ]*$`)

// kinds are the objects whose kind stands before their name, and whether a
// schema's name belongs to it.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html
var kinds = map[string]struct {
	keyword string
	schema  bool
}{
	"DIRECTORY": {"DIRECTORY ", false}, "EDITION": {"EDITION ", false}, "USER": {"USER ", false},
	"MINING MODEL": {"MINING MODEL ", true}, "SQL TRANSLATION PROFILE": {"SQL TRANSLATION PROFILE ", true},
	"JAVA SOURCE": {"JAVA SOURCE ", true}, "JAVA RESOURCE": {"JAVA RESOURCE ", true},
}

// rights returns the roles, system privileges and rights on objects and columns
// that a user was granted, but for those on what one of the pair owns: an owner
// needs none, so that they can be compared with nothing.
func (s *session) rights(ctx context.Context, name, current, other string) ([]right, error) {
	const what = "the user's rights could not be read"
	var all []right
	var err error
	read := func(query string, make func(r []string) right, unquoted ...int) {
		if err != nil {
			return
		}
		var rows [][]string
		if rows, err = s.texts(ctx, what, query, name); err != nil {
			return
		}
		for _, r := range rows {
			for _, i := range unquoted {
				if !words.MatchString(r[i]) {
					err = engine.Errorf(engine.PrivilegeMissing, "bring both users to the same rights by hand", "the user %q has a right %q that is not known", name, r[i])
					return
				}
			}
			all = append(all, make(r))
		}
	}
	option := func(value, clause string) string {
		if value == "YES" {
			return " WITH " + clause + " OPTION"
		}
		return ""
	}
	read("SELECT granted_role, admin_option, delegate_option FROM dba_role_privs WHERE grantee = :1", func(r []string) right {
		return right{what: quoted(r[0]), taken: quoted(r[0]), option: option(r[1], "ADMIN") + option(r[2], "DELEGATE")}
	})
	read("SELECT privilege, admin_option FROM dba_sys_privs WHERE grantee = :1", func(r []string) right {
		return right{what: r[0], taken: r[0], option: option(r[1], "ADMIN")}
	}, 0)
	beside := " AND owner NOT IN ('" + strings.ReplaceAll(current, "'", "''") + "', '" + strings.ReplaceAll(other, "'", "''") + "')"
	read("SELECT privilege, owner, table_name, NVL(type, 'TABLE'), grantable, hierarchy FROM dba_tab_privs WHERE grantee = :1"+beside, func(r []string) right {
		k, named := kinds[r[3]]
		on := " ON " + k.keyword
		if k.schema || !named {
			on += quoted(r[1]) + "."
		}
		on += quoted(r[2])
		return right{what: r[0] + on, taken: r[0] + on, option: option(r[5], "HIERARCHY") + option(r[4], "GRANT")}
	}, 0, 3)
	read("SELECT privilege, owner, table_name, column_name, grantable FROM dba_col_privs WHERE grantee = :1"+beside, func(r []string) right {
		on := " ON " + quoted(r[1]) + "." + quoted(r[2])
		// Oracle takes a right on columns from all of them at once.
		return right{what: r[0] + " (" + quoted(r[3]) + ")" + on, taken: r[0] + on, option: option(r[4], "GRANT")}
	}, 0)
	return all, err
}

// level gives the other user what the current one has and takes what it has
// beyond that, and then makes the same roles its default ones.
func (t target) level(ctx context.Context, current, other string) error {
	taken := map[string]bool{}
	left, err := parity.Level(
		func() (want, have []right, err error) {
			clear(taken)
			if want, err = t.rights(ctx, current, current, other); err == nil {
				have, err = t.rights(ctx, other, current, other)
			}
			return want, have, err
		},
		func(r right) error {
			if taken[r.taken] {
				return nil // gone with another column
			}
			taken[r.taken] = true
			return t.change(ctx, "REVOKE "+r.taken+" FROM "+quoted(other))
		},
		func(r right) error { return t.change(ctx, "GRANT "+r.what+" TO "+quoted(other)+r.option) })
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return engine.Errorf(engine.PrivilegeMissing, "give both users the same by hand, or the superuser the right to", "the users %q and %q differ in %s", current, other, left[0].what)
	}
	want, err := t.defaults(ctx, current)
	if err != nil {
		return err
	}
	have, err := t.defaults(ctx, other)
	if err != nil || slices.Equal(want, have) {
		return err
	}
	list := "NONE"
	if len(want) > 0 {
		list = strings.Join(want, ", ")
	}
	return t.change(ctx, "ALTER USER "+quoted(other)+" DEFAULT ROLE "+list)
}

// defaults returns the user's default roles, quoted.
func (s *session) defaults(ctx context.Context, name string) ([]string, error) {
	rows, err := s.texts(ctx, "the default roles could not be read", "SELECT granted_role FROM dba_role_privs WHERE grantee = :1 AND default_role = 'YES' ORDER BY granted_role", name)
	var roles []string
	for _, r := range rows {
		roles = append(roles, quoted(r[0]))
	}
	return roles, err
}

// mayChange proves that the session's user may change other users.
func (s *session) mayChange(ctx context.Context, privileges ...string) error {
	rows, err := s.texts(ctx, "the login's privileges could not be read", "SELECT privilege FROM session_privs")
	if err != nil {
		return err
	}
	for _, needed := range privileges {
		if !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == needed }) {
			return engine.Errorf(engine.PrivilegeMissing, adviceGrant, "the user %q has not the privilege %s", s.target.User, needed)
		}
	}
	return nil
}
