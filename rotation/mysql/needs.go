package mysql

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says what the superuser secret's account needs; a user changes its own
// password without any privilege. A superuser can only hand on what it has with
// GRANT OPTION, so that what the user has is read from the server, as the user.
// Source: https://dev.mysql.com/doc/refman/8.4/en/grant.html
// and https://mariadb.com/kb/en/grant/
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if !r.Superuser {
		n.Note = "none: a user may change its own password (how old and new work at once is in docs/engines/mysql.md and mariadb.md)"
		return nil
	}
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Current)
	if err != nil {
		return err
	}
	defer s.close()
	login := account{user: n.Login, host: "%"}
	maria, isMaria := s.dialect.(*mariadb)
	everywhere := "CREATE USER"
	if m, ok := s.dialect.(*mysqld); ok && m.modern() && r.Strategy == engine.AlternatingUsers {
		everywhere = "CREATE USER, ROLE_ADMIN"
	}
	update := false
	if isMaria {
		// The server then asks for it before SET PASSWORD FOR.
		if update, err = maria.strict(ctx); err != nil {
			return err
		}
	}
	var rights []string
	if r.Strategy == engine.AlternatingUsers {
		mark := role(s.target.User, pending.User)
		if err := s.rows(ctx, "the user's own rights", "SHOW GRANTS", func(rows *sql.Rows) error {
			var row string
			if err := rows.Scan(&row); err != nil {
				return err
			}
			// And before SET DEFAULT ROLE FOR.
			update = update || isMaria && strings.HasPrefix(row, "SET DEFAULT ROLE")
			g, ok, err := parseGrant(row, s.self)
			isRole := g.object == ""
			switch {
			case err != nil:
				return err
			case !ok || g.revoke || slices.Equal(g.rights, []string{"USAGE"}):
			case isRole && !isMaria: // ROLE_ADMIN gives all roles
			case isRole && strings.Trim(g.rights[0], "`'") == mark: // of the superuser's making
			default:
				g.option = true
				if head, _, ok := strings.Cut(g.head, " IDENTIFIED "); ok {
					g.head = head
				}
				rights = append(rights, g.statement(login)+";")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	n.Grants = []string{"GRANT SELECT ON mysql.* TO " + login.name() + ";"}
	if update {
		n.Grants = append(n.Grants, "GRANT UPDATE ON mysql.* TO "+login.name()+";")
	}
	// ALTER USER asks MariaDB for either of the two, and only a new user for this one.
	if !update || r.Strategy == engine.AlternatingUsers {
		n.Grants = append(n.Grants, "GRANT "+everywhere+" ON *.* TO "+login.name()+";")
	}
	n.Grants = append(n.Grants, rights...)
	return nil
}
