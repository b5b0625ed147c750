package mysql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// right is the smallest unit that can be granted.
type right struct {
	name   string // such as SELECT, SELECT (`a`), or a role
	object string // in the server's notation, "" for roles
	option bool   // WITH GRANT OPTION or WITH ADMIN OPTION, if it applies only to this right
	revoke bool   // a partial revoke, which excludes part of a right on everything
}

const (
	// grantOption is the name of a WITH GRANT OPTION that applies to all rights on an object.
	grantOption   = "GRANT OPTION"
	allPrivileges = "ALL PRIVILEGES"
)

type rights map[right]bool

var granted = lazyregexp.New(`^(GRANT|REVOKE) (.+?)(?: ON (.+?))? (?:TO|FROM) (\x00\d+\x00)(?:@(\x00\d+\x00))?( .*)?$`)
var privilege = lazyregexp.New(`([^,()]+)(?:\(([^)]*)\))?`)
var option = lazyregexp.New(`\b(GRANT|ADMIN) OPTION\b`)

// add adds the rights in a row of SHOW GRANTS FOR a. MariaDB also returns rows for other accounts, which are ignored.
func (set rights) add(row string, a account) error {
	if !strings.HasPrefix(row, "GRANT") && !strings.HasPrefix(row, "REVOKE") {
		return nil // SET DEFAULT ROLE is read from the tables
	}
	masked, quoted := mask(row)
	m := granted().FindStringSubmatch(masked)
	if m == nil || strings.HasSuffix(m[2], " ON") || strings.ContainsAny(m[2]+m[3], "`'") {
		return unreadable(row)
	}
	plain := func(s string) string { return unquote(unmask(s, quoted)) }
	if plain(m[4]) != a.user || (m[5] == "") != a.role || plain(m[5]) != a.host {
		return nil
	}
	object, revoke, withOption := unmask(m[3], quoted), m[1] == "REVOKE", option().MatchString(m[6])
	for _, p := range privilege().FindAllStringSubmatch(m[2], -1) {
		name := strings.TrimSpace(unmask(p[1], quoted))
		switch {
		case object == "" || name == "PROXY" || dynamic(name):
			set[right{name, object, withOption, revoke}] = true
			continue
		case p[2] != "":
			for column := range strings.SplitSeq(p[2], ",") {
				set[right{name + " (" + unmask(strings.TrimSpace(column), quoted) + ")", object, false, revoke}] = true
			}
		case name != "USAGE":
			set[right{name, object, false, revoke}] = true
		}
		if withOption {
			set[right{name: grantOption, object: object}] = true
		}
	}
	return nil
}

// dynamic reports whether this is a dynamic privilege of MySQL, each of which has a separate grant option.
func dynamic(name string) bool { return strings.Contains(name, "_") }

// sorted returns rights in the order in which to grant them: restrictions last.
func (set rights) sorted() []right {
	key := func(r right) string { return fmt.Sprint(r.revoke, r.object, "\x00", r.name, r.option) }
	return slices.SortedFunc(maps.Keys(set), func(a, b right) int { return cmp.Compare(key(a), key(b)) })
}

func (r right) give(a account) string {
	name, with := r.name, ""
	switch {
	case r.name == grantOption:
		name, with = "USAGE", " WITH GRANT OPTION"
	case r.option && r.object == "":
		with = " WITH ADMIN OPTION"
	case r.option:
		with = " WITH GRANT OPTION"
	}
	return statement(!r.revoke, name, r.object, a) + with
}

// take revokes the right; for a partial revoke, it lifts the restriction.
func (r right) take(a account) string { return statement(r.revoke, r.name, r.object, a) }

func statement(grant bool, name, object string, a account) string {
	if object != "" {
		name += " ON " + object
	}
	if grant {
		return "GRANT " + name + " TO " + a.name()
	}
	return "REVOKE " + name + " FROM " + a.name()
}

// mighty are the global privileges that make an account an administrator: with any of them, it can grant itself or
// others any right, or act as any user.
// Source: https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html
// and https://mariadb.com/kb/en/grant/#global-privileges
var mighty = []string{allPrivileges, "SUPER", "SYSTEM_USER", "CREATE USER", grantOption, "ROLE_ADMIN", "SET_USER_ID",
	"SET_ANY_DEFINER", "SET USER"}

// writes matches a privilege to change rows, or some of their columns.
var writes = lazyregexp.New(`^(ALL PRIVILEGES|INSERT|UPDATE|DELETE)( |$)`)

// power returns an administrator's right or "": a mighty privilege, or writing system tables.
func (set rights) power() string {
	for _, r := range set.sorted() {
		everything := r.object == "*.*"
		switch {
		case r.revoke:
		case everything && slices.Contains(mighty, r.name):
			return r.name + " on everything"
		case !writes().MatchString(r.name):
		case everything && !set[right{name: r.name, object: "`mysql`.*", revoke: true}]:
			return r.name + " on everything"
		case covers(r.object, "mysql"):
			return r.name + " on " + r.object
		}
	}
	return ""
}

// covers reports whether an object is the database or part of it. Names in grants are patterns.
func covers(object, database string) bool {
	if !strings.HasPrefix(object, "`") {
		return false
	}
	pattern := regexp.QuoteMeta(unquote(quotation().FindString(object)))
	pattern = strings.NewReplacer(`\\_`, "_", `\\%`, "%", "_", ".", "%", ".*").Replace(pattern)
	matched, err := regexp.MatchString("^(?i:"+pattern+")$", database)
	return err == nil && matched
}

// difference returns the rights to take and to give. Rights that ALL PRIVILEGES hides are given in a later pass.
func difference(want, have rights) (toTake, toGive []right) {
	in := func(set rights) func(right, bool) bool {
		return func(r right, _ bool) bool {
			return set[r] || set[right{name: allPrivileges, object: r.object}] && r.name != grantOption && !r.revoke
		}
	}
	less, more := maps.Clone(have), maps.Clone(want)
	maps.DeleteFunc(less, in(want))
	maps.DeleteFunc(more, in(have))
	return less.sorted(), more.sorted()
}

func (s *session) rights(ctx context.Context, a account) (rights, error) {
	set := rights{}
	rows, err := s.Texts(ctx, "the rights of "+a.name()+" cannot be read", "SHOW GRANTS FOR "+a.name())
	for _, row := range rows {
		if err == nil {
			err = set.add(row[0], a)
		}
	}
	return set, err
}

// powers returns the rights of an account and of all its roles, direct or not: the account can switch to any of them.
func (s *session) powers(ctx context.Context, a account) ([]rights, error) {
	var sets []rights
	list := []account{a}
	for i := 0; i < len(list); i++ {
		set, err := s.rights(ctx, list[i])
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
		for r := range set {
			names := append(quotation().FindAllString(r.name, 2), "", "")
			role := account{user: unquote(names[0]), host: unquote(names[1]), role: names[1] == ""}
			if r.object == "" && !slices.ContainsFunc(list, func(a account) bool { return a.name() == role.name() }) {
				list = append(list, role)
			}
		}
	}
	return sets, nil
}

// grants adds the superuser's own grants, and notes those that it hands on: it can grant only what it has WITH GRANT
// OPTION.
// Source: https://dev.mysql.com/doc/refman/8.4/en/grant.html and https://mariadb.com/kb/en/grant/
func grants(_ context.Context, r *engine.Request, n *engine.Needs) error {
	current, _ := r.Current.Text("username")
	pending, _ := r.Pending.Text("username")
	login := account{user: n.Login, host: "%"}
	to := " TO " + login.name()
	n.Grants = []string{"GRANT CREATE USER ON *.*" + to + ";", "GRANT SELECT ON mysql.*" + to + ";"}
	n.Note = "MariaDB with a password-checking plugin also needs UPDATE on mysql.*"
	if r.Strategy == engine.AlternatingUsers {
		n.Grants = append(n.Grants, marking(mark(current, pending), login)+" WITH GRANT OPTION;")
		n.Note = "also grant it each right of the user WITH GRANT OPTION; if the user has roles, in MySQL ROLE_ADMIN, " +
			"in MariaDB each role WITH ADMIN OPTION and UPDATE on mysql.*; " + n.Note
	} else if database, _ := r.Current.Text("dbname"); database != "" { // a login to it needs some right on it
		pattern := strings.NewReplacer("_", `\_`, "%", `\%`).Replace(database)
		n.Grants = append(n.Grants, "GRANT SHOW VIEW ON "+identifier(pattern)+".*"+to+";")
	}
	return nil
}
