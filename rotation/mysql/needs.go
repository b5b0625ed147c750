package mysql

import (
	"context"

	"example.com/rotator/rotation/engine"
)

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
	defer s.Close()
	login := account{user: n.Login, host: "%"}
	allow := func(privilege, object string) {
		n.Grants = append(n.Grants, "GRANT "+privilege+" ON "+object+" TO "+login.name()+";")
	}
	allow("SELECT", "mysql.*")
	update := false
	maria, isMaria := s.dialect.(*mariadb)
	if isMaria {
		// The server asks for it before SET DEFAULT ROLE FOR and SET PASSWORD FOR.
		update, err = maria.strict(ctx)
		if err == nil && r.Strategy == engine.AlternatingUsers && !update {
			err = s.Conn.QueryRowContext(ctx, "SELECT CURRENT_ROLE() IS NOT NULL").Scan(&update)
		}
		if err != nil {
			return s.failure("the user's default role cannot be read", err)
		}
		if update {
			allow("UPDATE", "mysql.*")
		}
	}
	if !update || r.Strategy == engine.AlternatingUsers { // ALTER USER asks MariaDB for either of the two
		allow("CREATE USER", "*.*")
	}
	if r.Strategy != engine.AlternatingUsers {
		return nil
	}
	set, err := s.show(ctx, s.self, "SHOW GRANTS")
	if err != nil {
		return err
	}
	set[right{name: "SHOW VIEW", object: markObject(mark(s.target.User, pending.User))}] = true
	handed, roles := rights{}, false
	for r := range set {
		if r.object == "" && !isMaria { // ROLE_ADMIN gives all roles
			roles = true
		} else if !r.revoke && r.name != grantOption {
			r.option = true
			handed[r] = true
		}
	}
	if roles {
		allow("ROLE_ADMIN", "*.*")
	}
	for _, group := range groups(handed.sorted()) {
		n.Grants = append(n.Grants, give(group, login)+";")
	}
	return nil
}
