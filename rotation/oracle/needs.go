package oracle

import (
	"context"

	"example.com/rotator/rotation/engine"
)

// Needs says what the superuser secret's user needs; a user changes its own password without any privilege. What
// kinds of rights have to be handed on is read from the server, as the user.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if !r.Superuser {
		n.Note = "none: a user may change its own password"
		return nil
	}
	privileges := []string{"SELECT_CATALOG_ROLE", "ALTER USER"}
	if r.Strategy == engine.AlternatingUsers {
		s, err := e.connect(ctx, r.Current)
		if err != nil {
			return err
		}
		defer s.Close()
		privileges = append(privileges, "CREATE USER")
		for _, kind := range []struct{ query, privilege string }{
			{"SELECT granted_role FROM user_role_privs", "GRANT ANY ROLE"},
			{"SELECT privilege FROM user_sys_privs", "GRANT ANY PRIVILEGE"},
			{"SELECT privilege FROM user_tab_privs_recd UNION ALL SELECT privilege FROM user_col_privs_recd", "GRANT ANY OBJECT PRIVILEGE"},
		} {
			rows, err := s.Texts(ctx, "the user's own rights could not be read", kind.query)
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				privileges = append(privileges, kind.privilege)
			}
		}
		n.Note = "what belongs to SYS cannot be handed on by these: grant it to both users by hand, on RDS by rdsadmin.rdsadmin_util.grant_sys_object"
	}
	for _, p := range privileges {
		n.Grants = append(n.Grants, "GRANT "+p+" TO "+quoted(canonical(n.Login))+";")
	}
	return nil
}
