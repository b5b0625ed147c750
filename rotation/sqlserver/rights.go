package sqlserver

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/parity"
)

// place is where rights are held: a database, or "" for the server.
type place string

const server place = ""

// run returns a statement that is run in the place without leaving the session's own database. Those about the
// server's rights must be run in master.
func (p place) run(statement string) string {
	return "EXEC " + identifier(cmp.Or(string(p), "master")) + ".sys.sp_executesql " + text(statement)
}

// right is a role or a permission that a principal holds by its own name.
type right struct {
	role string // such as SERVER ROLE [r], or "" for a permission
	// state is G, W for one that may be handed on, or D for one that is denied.
	// Source: https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-database-permissions-transact-sql
	state string
	what  string // such as SELECT ON OBJECT::[dbo].[t]
}

// unknown begins what could not be written down.
const unknown = "?"

// give returns the statement that gives the right to a principal.
func (p place) give(r right, to string) string {
	switch {
	case r.role != "":
		return p.run("ALTER " + r.role + " ADD MEMBER " + identifier(to))
	case r.state == "D":
		return p.run("DENY " + r.what + " TO " + identifier(to))
	case r.state == "W":
		return p.run("GRANT " + r.what + " TO " + identifier(to) + " WITH GRANT OPTION")
	}
	return p.run("GRANT " + r.what + " TO " + identifier(to))
}

// take returns the statement that takes the right from a principal.
func (p place) take(r right, from string) string {
	switch {
	case r.role != "":
		return p.run("ALTER " + r.role + " DROP MEMBER " + identifier(from))
	case r.state == "W":
		// The server wants CASCADE for a right that may be handed on; what was handed on goes with it.
		return p.run("REVOKE " + r.what + " FROM " + identifier(from) + " CASCADE")
	}
	return p.run("REVOKE " + r.what + " FROM " + identifier(from))
}

// serverRights makes one row of each role and each permission of a login. The server quotes the names.
const serverRights = `SELECT N'SERVER ROLE ' + QUOTENAME(r.name), N'', N'' FROM sys.server_role_members m JOIN sys.server_principals r ON r.principal_id = m.role_principal_id
	JOIN sys.server_principals l ON l.principal_id = m.member_principal_id WHERE l.name = %s
UNION ALL SELECT N'', p.state, p.permission_name + COALESCE(CASE p.class WHEN 100 THEN N''
	WHEN 101 THEN (SELECT CASE o.type WHEN 'R' THEN N' ON SERVER ROLE::' ELSE N' ON LOGIN::' END + QUOTENAME(o.name) FROM sys.server_principals o WHERE o.principal_id = p.major_id)
	WHEN 105 THEN (SELECT N' ON ENDPOINT::' + QUOTENAME(e.name) FROM sys.endpoints e WHERE e.endpoint_id = p.major_id)
	END, N'?' + p.class_desc)
FROM sys.server_permissions p JOIN sys.server_principals l ON l.principal_id = p.grantee_principal_id WHERE l.name = %s`

// databaseRights is serverRights for a user of the database that it runs in.
const databaseRights = `SELECT N'ROLE ' + QUOTENAME(r.name), N'', N'' FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id
	JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE u.name = %s
UNION ALL SELECT N'', p.state, p.permission_name + COALESCE(CASE p.class WHEN 0 THEN N''
	WHEN 1 THEN N' ON OBJECT::' + QUOTENAME(OBJECT_SCHEMA_NAME(p.major_id)) + N'.' + QUOTENAME(OBJECT_NAME(p.major_id)) + CASE WHEN p.minor_id = 0 THEN N'' ELSE N' (' + QUOTENAME(COL_NAME(p.major_id, p.minor_id)) + N')' END
	WHEN 3 THEN N' ON SCHEMA::' + QUOTENAME(SCHEMA_NAME(p.major_id))
	WHEN 4 THEN (SELECT CASE o.type WHEN 'R' THEN N' ON ROLE::' WHEN 'A' THEN N' ON APPLICATION ROLE::' ELSE N' ON USER::' END + QUOTENAME(o.name) FROM sys.database_principals o WHERE o.principal_id = p.major_id)
	WHEN 5 THEN (SELECT N' ON ASSEMBLY::' + QUOTENAME(o.name) FROM sys.assemblies o WHERE o.assembly_id = p.major_id)
	WHEN 6 THEN (SELECT N' ON TYPE::' + QUOTENAME(SCHEMA_NAME(o.schema_id)) + N'.' + QUOTENAME(o.name) FROM sys.types o WHERE o.user_type_id = p.major_id)
	WHEN 10 THEN (SELECT N' ON XML SCHEMA COLLECTION::' + QUOTENAME(SCHEMA_NAME(o.schema_id)) + N'.' + QUOTENAME(o.name) FROM sys.xml_schema_collections o WHERE o.xml_collection_id = p.major_id)
	WHEN 15 THEN (SELECT N' ON MESSAGE TYPE::' + QUOTENAME(o.name) FROM sys.service_message_types o WHERE o.message_type_id = p.major_id)
	WHEN 16 THEN (SELECT N' ON CONTRACT::' + QUOTENAME(o.name) FROM sys.service_contracts o WHERE o.service_contract_id = p.major_id)
	WHEN 17 THEN (SELECT N' ON SERVICE::' + QUOTENAME(o.name) FROM sys.services o WHERE o.service_id = p.major_id)
	WHEN 18 THEN (SELECT N' ON REMOTE SERVICE BINDING::' + QUOTENAME(o.name) FROM sys.remote_service_bindings o WHERE o.remote_service_binding_id = p.major_id)
	WHEN 19 THEN (SELECT N' ON ROUTE::' + QUOTENAME(o.name) FROM sys.routes o WHERE o.route_id = p.major_id)
	WHEN 23 THEN (SELECT N' ON FULLTEXT CATALOG::' + QUOTENAME(o.name) FROM sys.fulltext_catalogs o WHERE o.fulltext_catalog_id = p.major_id)
	WHEN 24 THEN (SELECT N' ON SYMMETRIC KEY::' + QUOTENAME(o.name) FROM sys.symmetric_keys o WHERE o.symmetric_key_id = p.major_id)
	WHEN 25 THEN (SELECT N' ON CERTIFICATE::' + QUOTENAME(o.name) FROM sys.certificates o WHERE o.certificate_id = p.major_id)
	WHEN 26 THEN (SELECT N' ON ASYMMETRIC KEY::' + QUOTENAME(o.name) FROM sys.asymmetric_keys o WHERE o.asymmetric_key_id = p.major_id)
	WHEN 29 THEN (SELECT N' ON FULLTEXT STOPLIST::' + QUOTENAME(o.name) FROM sys.fulltext_stoplists o WHERE o.stoplist_id = p.major_id)
	WHEN 31 THEN (SELECT N' ON SEARCH PROPERTY LIST::' + QUOTENAME(o.name) FROM sys.registered_search_property_lists o WHERE o.property_list_id = p.major_id)
	END, N'?' + p.class_desc)
FROM sys.database_permissions p JOIN sys.database_principals u ON u.principal_id = p.grantee_principal_id WHERE u.name = %s`

// rights returns what a principal holds in the place; "" stands for one that is not there.
func (s *session) rights(ctx context.Context, p place, name string) ([]right, error) {
	if name == "" {
		return nil, nil
	}
	query := strings.ReplaceAll(serverRights, "%s", text(name))
	if p != server {
		query = p.run(strings.ReplaceAll(databaseRights, "%s", text(name)))
	}
	rows, err := s.Texts(ctx, "the rights of "+identifier(name)+" could not be read", query)
	var all []right
	for _, r := range rows {
		found := right{role: r[0], state: strings.TrimSpace(r[1]), what: r[2]}
		if found.state == "R" {
			// A column that a permission on the whole table leaves out. No single statement gives it.
			found.what = unknown + "REVOKE " + found.what
		}
		all = append(all, found)
	}
	return all, err
}

// level gives other in the place what want says or current has, and takes what other has beyond that. Permissions on
// the two themselves, such as the mark, do not count.
func (t *target) level(ctx context.Context, at place, current, other string, want []right) error {
	between := func(r right) bool {
		_, name, _ := strings.Cut(r.what, "::")
		return name != "" && (name == identifier(current) || name == identifier(other)) && (strings.Contains(r.what, " ON LOGIN::") || strings.Contains(r.what, " ON USER::"))
	}
	read := func() (wanted, have []right, err error) {
		if wanted = slices.Clone(want); wanted == nil {
			wanted, err = t.rights(ctx, at, current)
		}
		if err == nil {
			have, err = t.rights(ctx, at, other)
		}
		return slices.DeleteFunc(wanted, between), slices.DeleteFunc(have, between), err
	}
	differ := func(r right) error {
		return engine.Errorf(engine.PrivilegeMissing, "give both the same by hand, or the superuser the right to", "%q and %q differ in %s in %q", current, other, cmp.Or(r.role, r.state+" "+r.what), cmp.Or(at, "master"))
	}
	change := func(statement func(right, string) string) func(right) error {
		return func(r right) error {
			if strings.Contains(r.what, unknown) {
				return differ(r)
			}
			return t.Change(ctx, t.request, statement(r, other))
		}
	}
	left, err := parity.Level(read, change(at.take), change(at.give))
	if err == nil && len(left) > 0 {
		err = differ(left[0])
	}
	return err
}

// home is the place of the pair's own permissions.
func (s *session) home(p *principal) place {
	if p.contained {
		return place(s.target.Database)
	}
	return server
}
