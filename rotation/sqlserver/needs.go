package sqlserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says what the superuser secret's login needs; a login changes its own
// password without any permission. Databases, roles and permissions are read from
// the server, as the login whose second is to have the same.
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
	defer s.close()
	p, err := s.find(ctx, s.target.User)
	if err == nil && p == nil {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no login and no contained user %q", s.target.User)
	}
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
		case one.role != "" && slices.Contains(fixedRoles, one.role):
			grant("master", "ALTER SERVER ROLE %s ADD MEMBER %s", identifier(one.role), login)
		case one.role != "":
			grant("master", "GRANT ALTER ON SERVER ROLE::%s TO %s", identifier(one.role), login)
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
		u, err := s.userOf(ctx, place{d}, p.name)
		if err != nil {
			return err
		}
		if u.name != "" {
			grant(d, "CREATE USER %s FOR LOGIN %s", login, login)
			grant(d, "ALTER ROLE [db_owner] ADD MEMBER %s", login)
		}
	}
	return nil
}

// fixedRoles are the server's own, to which only their members can add others.
// Source: https://learn.microsoft.com/en-us/sql/relational-databases/security/authentication-access/server-level-roles
var fixedRoles = []string{"sysadmin", "serveradmin", "securityadmin", "processadmin", "setupadmin", "bulkadmin", "diskadmin", "dbcreator"}
