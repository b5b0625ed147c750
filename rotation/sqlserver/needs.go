package sqlserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Needs says what the superuser secret's login needs; a login changes its own password without any permission.
// Databases, roles and permissions are read from the server, as the login whose second is to have the same.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/statements/alter-login-transact-sql#permissions,
// https://learn.microsoft.com/en-us/sql/t-sql/statements/alter-server-role-transact-sql#permissions
// and https://learn.microsoft.com/en-us/sql/t-sql/statements/grant-server-permissions-transact-sql#permissions
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if !r.Superuser {
		n.Note = "none: a login may change its own password"
		return nil
	}
	s, err := e.connect(ctx, r.Current)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.existing(ctx, s.target.User)
	if err != nil {
		return err
	}
	login := identifier(n.Login)
	grant := func(database, format string, args ...any) {
		n.Grants = append(n.Grants, "USE "+identifier(database)+"; "+fmt.Sprintf(format, args...)+";")
	}
	if p.contained {
		n.Note = "the superuser is a user of this database; one that is a login needs CREATE USER … FOR LOGIN first"
		grant(s.target.Database, "ALTER ROLE [db_owner] ADD MEMBER %s", login)
		return nil
	}
	grant("master", "GRANT ALTER ANY LOGIN TO %s", login)
	grant("master", "GRANT VIEW ANY DEFINITION TO %s", login)
	if r.Strategy != engine.AlternatingUsers {
		return nil
	}
	rights, err := s.rights(ctx, server, p.name)
	if err != nil {
		return err
	}
	for _, one := range rights {
		switch {
		case slices.Contains(fixedRoles, one.role):
			grant("master", "ALTER %s ADD MEMBER %s", one.role, login)
		case one.role != "":
			grant("master", "GRANT ALTER ON %s TO %s", strings.Replace(one.role, " [", "::[", 1), login)
		case one.what == "CONNECT SQL" && one.state == "G": // every login has it
		case strings.Contains(one.what, unknown): // which the rotation itself refuses to copy
		case one.state == "D":
			n.Note = "to deny something at the server takes CONTROL SERVER: deny the second login by hand what the first is denied"
		default:
			grant("master", "GRANT %s TO %s WITH GRANT OPTION", one.what, login)
		}
	}
	databases, err := s.databases(ctx)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if !d.open {
			continue
		}
		users, err := s.usersOf(ctx, d.place, p.name, p.name)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			grant(string(d.place), "CREATE USER %s FOR LOGIN %s", login, login)
			grant(string(d.place), "ALTER ROLE [db_owner] ADD MEMBER %s", login)
		}
	}
	return nil
}

// fixedRoles are the server's own, to which only their members can add others.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/security/authentication-access/server-level-roles
var fixedRoles = []string{"SERVER ROLE [sysadmin]", "SERVER ROLE [serveradmin]", "SERVER ROLE [securityadmin]", "SERVER ROLE [processadmin]",
	"SERVER ROLE [setupadmin]", "SERVER ROLE [bulkadmin]", "SERVER ROLE [diskadmin]", "SERVER ROLE [dbcreator]"}
