package mysql

import (
	"context"
	"database/sql"
	"maps"
	"regexp"
	"slices"
	"strings"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
)

// token is a word, a punctuation mark or something quoted, which is the place
// where names may hold what looks like a keyword.
type token struct {
	text     string // without its quotes
	quoted   bool
	from, to int // where it stands, quotes included
}

// scan splits a statement that the server has written.
func scan(statement string) ([]token, error) {
	var list []token
	for i := 0; i < len(statement); {
		c := statement[i]
		from := i
		switch {
		case c == ' ':
			i++
			continue
		case c == '`' || c == '\'' || c == '"':
			var b strings.Builder
			for i++; ; i++ {
				if i == len(statement) {
					return nil, unreadable(statement)
				}
				if statement[i] == c {
					if i+1 == len(statement) || statement[i+1] != c {
						break
					}
					i++
				}
				b.WriteByte(statement[i])
			}
			i++
			list = append(list, token{b.String(), true, from, i})
		case word(c):
			for i < len(statement) && word(statement[i]) {
				i++
			}
			list = append(list, token{statement[from:i], false, from, i})
		default:
			i++
			list = append(list, token{statement[from:i], false, from, i})
		}
	}
	return list, nil
}

func word(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c >= 0x80
}

// unreadable tells of a row, but for what follows IDENTIFIED, which is a verifier.
func unreadable(row string) error {
	row, _, _ = strings.Cut(row, "IDENTIFIED")
	return engine.Errorf(engine.TargetFailed, "report this with the server's version", "the server's answer cannot be understood: %s", row)
}

// grant is one row of SHOW GRANTS.
type grant struct {
	head   string // the row up to TO or FROM
	revoke bool   // a partial revoke: REVOKE ... ON ... FROM
	rights []string
	object string // as the server writes it, "" for roles
	option bool   // WITH GRANT OPTION or WITH ADMIN OPTION
}

// right is the smallest thing that can be granted.
type right struct {
	name, object string
	option       bool // only where it belongs to the one right
	revoke       bool
}

// grantOption stands for WITH GRANT OPTION where that belongs to an object.
const grantOption = "GRANT OPTION"

// grants are the rows of one account.
type grants []grant

// parseGrant reads a row of SHOW GRANTS FOR a. It reports false for a row that
// is no grant to the account itself, which MariaDB shows beside those that are.
func parseGrant(row string, a account) (grant, bool, error) {
	tokens, err := scan(row)
	if err != nil {
		return grant{}, false, err
	}
	if len(tokens) == 0 || tokens[0].quoted || tokens[0].text != "GRANT" && tokens[0].text != "REVOKE" {
		return grant{}, false, nil // SET DEFAULT ROLE is read from the tables
	}
	g := grant{revoke: tokens[0].text == "REVOKE"}
	preposition := "TO"
	if g.revoke {
		preposition = "FROM"
	}
	begin, depth, on := 1, 0, 0
	end := len(tokens)
	right := func(i int) {
		if i > begin {
			g.rights = append(g.rights, row[tokens[begin].from:tokens[i-1].to])
		}
		begin = i + 1
	}
	for i, t := range tokens {
		if t.quoted || end < len(tokens) {
			continue
		}
		switch {
		case t.text == "(":
			depth++
		case t.text == ")":
			depth--
		case depth > 0:
		case t.text == "," && on == 0:
			right(i)
		case t.text == "ON" && on == 0:
			right(i)
			on = i
		case t.text == preposition:
			if on == 0 {
				right(i)
			} else if i > on+1 {
				g.object = row[tokens[on+1].from:tokens[i-1].to]
			}
			g.head, end = row[:tokens[i-1].to], i
		}
	}
	rest := tokens[min(end+1, len(tokens)):]
	if len(rest) < 1 || len(g.rights) == 0 || on > 0 && g.object == "" {
		return grant{}, false, unreadable(row)
	}
	host := len(rest) > 2 && rest[1].text == "@"
	if rest[0].text != a.user || host != !a.role || host && rest[2].text != a.host {
		return grant{}, false, nil // a row of a role, or of another one
	}
	for i, t := range rest {
		if !t.quoted && t.text == "OPTION" && (rest[i-1].text == "GRANT" || rest[i-1].text == "ADMIN") {
			g.option = true
		}
	}
	return g, true, nil
}

// set returns the single rights that a row stands for.
func (g grant) set() map[right]bool {
	set := map[right]bool{}
	static := false
	for _, name := range g.rights {
		single := g.object == "" || name == "PROXY" || dynamic(name)
		static = static || !single
		switch {
		case name == "USAGE":
		case single:
			set[right{name, g.object, g.option, g.revoke}] = true
		default:
			for _, column := range columns(name) {
				set[right{column, g.object, false, g.revoke}] = true
			}
		}
	}
	if g.option && static {
		set[right{grantOption, g.object, false, false}] = true
	}
	return set
}

// dynamic reports whether MySQL registers the privilege at run time and keeps its
// own grant option: only their names have an underscore.
func dynamic(name string) bool { return strings.Contains(name, "_") && !strings.Contains(name, "(") }

// columns splits SELECT (a, b) into SELECT (a) and SELECT (b).
func columns(name string) []string {
	open := strings.IndexByte(name, '(')
	if open < 0 {
		return []string{name}
	}
	tokens, err := scan(name[open:])
	if err != nil {
		return []string{name} // unreachable: it was scanned before
	}
	var list []string
	for _, t := range tokens {
		if t.quoted || t.text != "(" && t.text != ")" && t.text != "," {
			list = append(list, name[:open]+"("+name[open:][t.from:t.to]+")")
		}
	}
	return list
}

func (g grants) set() map[right]bool {
	all := map[right]bool{}
	for _, row := range g {
		maps.Copy(all, row.set())
	}
	return all
}

// mighty are the privileges on everything that make an account an administrator: with each of them it
// can give itself or others any right, or act as any user.
// Source: https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html
// and https://mariadb.com/kb/en/grant/#global-privileges
var mighty = []string{"ALL PRIVILEGES", "SUPER", "SYSTEM_USER", "CREATE USER", grantOption, "ROLE_ADMIN", "SET_USER_ID", "SET_ANY_DEFINER", "SET USER"}

// writes matches a privilege to change rows, of a table or of columns.
var writes = lazyregexp.New(`^(ALL PRIVILEGES|INSERT|UPDATE|DELETE)( |$)`)

// power names a right that makes an account an administrator, or is "": one on everything, one to write
// the server's own tables, or the role of RDS's master user.
func (g grants) power() string {
	set := g.set()
	for _, name := range mighty {
		if set[right{name: name, object: "*.*"}] || set[right{name: name, object: "*.*", option: true}] {
			return name + " on everything"
		}
	}
	for _, row := range g {
		for _, name := range row.rights {
			switch {
			case row.revoke:
			case row.object == "" && strings.Trim(strings.TrimSuffix(name, "@`%`"), "`") == "rds_superuser_role":
				return "the role rds_superuser_role"
			case !writes.MatchString(name):
			case row.object == "*.*" && !set[right{name: name, object: "`mysql`.*", revoke: true}]:
				return name + " on everything"
			case system(row.object):
				return name + " on " + row.object
			}
		}
	}
	return ""
}

// system reports whether an object is the database mysql or in it. The name in a grant is a pattern.
func system(object string) bool {
	tokens, err := scan(object)
	if err != nil || len(tokens) == 0 || !tokens[0].quoted {
		return false
	}
	pattern := regexp.QuoteMeta(tokens[0].text)
	pattern = strings.NewReplacer(`\\_`, "_", `\\%`, "%", "_", ".", "%", ".*").Replace(pattern)
	matched, err := regexp.MatchString("^(?i:"+pattern+")$", "mysql")
	return err == nil && matched
}

// exceeds names a right on everything that g has and other has not, or is "".
func (g grants) exceeds(other grants) string {
	has := other.set()
	for r := range g.set() {
		if r.object == "*.*" && !has[r] && !has[right{name: "ALL PRIVILEGES", object: "*.*"}] {
			return r.name
		}
	}
	return ""
}

// statement grants the row to another account.
func (g grant) statement(a account) string {
	s := g.head + " TO "
	if g.revoke {
		s = g.head + " FROM "
	}
	s += a.name()
	switch {
	case g.option && g.object == "":
		s += " WITH ADMIN OPTION"
	case g.option:
		s += " WITH GRANT OPTION"
	}
	return s
}

// alone returns the row of which only one right is left.
func (g grant) alone(r right) grant {
	g.rights = []string{r.name}
	g.option = r.option
	if r.name == grantOption {
		g.rights[0], g.option = "USAGE", true
	}
	verb, _, _ := strings.Cut(g.head, " ")
	g.head = verb + " " + g.rights[0]
	if g.object != "" {
		g.head += " ON " + g.object
	}
	return g
}

// statement takes the right from an account.
func (r right) statement(a account) string {
	switch {
	case r.revoke:
		return "GRANT " + r.name + " ON " + r.object + " TO " + a.name() // lifts the restriction
	case r.object == "":
		return "REVOKE " + r.name + " FROM " + a.name()
	}
	return "REVOKE " + r.name + " ON " + r.object + " FROM " + a.name()
}

// gift is a row of rights, of which an account lacks some.
type gift struct {
	grant
	missing []right
}

// difference returns what brings an account that has the rights have to the
// rights want. Those that take away go first, because a privilege on everything
// may hide a smaller one; restrictions go last.
func difference(want, have grants) (take []right, give []gift) {
	wanted, had := want.set(), have.set()
	var restrict []gift
	for r := range had {
		all := wanted[right{name: "ALL PRIVILEGES", object: r.object}] && r.name != grantOption
		if !wanted[r] && (!all || r.revoke) {
			take = append(take, r)
		}
	}
	sortRights(take)
	for _, row := range want {
		g := gift{grant: row}
		for r := range row.set() {
			if !had[r] {
				g.missing = append(g.missing, r)
			}
		}
		sortRights(g.missing)
		switch {
		case g.missing == nil:
		case row.revoke:
			restrict = append(restrict, g)
		default:
			give = append(give, g)
		}
	}
	return take, append(give, restrict...)
}

// sortRights orders rights by their statements.
func sortRights(list []right) {
	slices.SortFunc(list, func(a, b right) int { return strings.Compare(a.statement(nobody), b.statement(nobody)) })
}

// grants reads the rights of an account.
func (s *session) grants(ctx context.Context, a account) (grants, error) {
	return s.show(ctx, a, "SHOW GRANTS FOR "+a.name())
}

// show runs a SHOW GRANTS and returns its rows that are about the account.
func (s *session) show(ctx context.Context, a account, statement string) (grants, error) {
	var list grants
	return list, s.rows(ctx, "the rights of "+a.name(), statement, func(rows *sql.Rows) error {
		var row string
		if err := rows.Scan(&row); err != nil {
			return err
		}
		g, ok, err := parseGrant(row, a)
		if ok {
			list = append(list, g)
		}
		return err
	})
}

// powers reads the rights of an account and of the roles that it was given, to
// any of which it can switch, default or not.
func (s *session) powers(ctx context.Context, a account) (grants, error) {
	own, err := s.grants(ctx, a)
	if err != nil {
		return nil, err
	}
	var roles []string
	for _, g := range own {
		if g.object == "" {
			roles = append(roles, g.rights...)
		}
	}
	if roles == nil {
		return own, nil
	}
	inherited, err := s.dialect.inherited(ctx, a, roles)
	return append(own, inherited...), err
}
