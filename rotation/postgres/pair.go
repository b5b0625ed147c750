package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
)

type role struct {
	oid        string
	name       string
	power      string // what makes it an administrator, or ""
	inherits   bool
	comment    string
	groups     []string // the roles that it is a direct member of
	acts       []string // the groups whose rights it inherits and that it can become
	tokenOnly  []string // RDS's roles, direct or not, whose members cannot log in with passwords
	attributes []string // one clause of ALTER ROLE each; the first three give power over more than its own objects
}

// Find returns a role, or nil if there is none. Administrators are superusers; before version 16, roles with
// CREATEROLE, which can change every other role; and members of these, of a role with the server process's powers, of
// the acting superuser, or of the provider's role on RDS and similar services. From version 16 on, each membership
// specifies whether it inherits.
// Source: https://www.postgresql.org/docs/current/predefined-roles.html,
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/database-authentication.html
func (t *target) Find(ctx context.Context, name string) (*role, error) {
	rows, err := t.Query(ctx, "the role could not be read", 14, `SELECT oid, CASE WHEN rolsuper THEN 'a superuser'
	WHEN rolcreaterole AND $2 < 16 THEN 'a role with CREATEROLE'
	ELSE coalesce((SELECT 'a member of ' || p.rolname FROM pg_roles p
		WHERE p.oid <> r.oid AND pg_has_role(r.oid, p.oid, 'MEMBER') AND (p.rolsuper OR p.rolcreaterole AND $2 < 16
			OR p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',
				'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', session_user))
		ORDER BY p.rolname LIMIT 1), '') END,
	rolinherit, shobj_description(oid, 'pg_authid'),
	(SELECT string_agg(roleid::text, ' ') FROM pg_auth_members WHERE member = r.oid),
	(SELECT string_agg(roleid::text, ' ') FROM pg_auth_members m WHERE member = r.oid
		AND NOT to_jsonb(m) @> '{"inherit_option": false}' AND NOT to_jsonb(m) @> '{"set_option": false}'),
	(SELECT string_agg(p.rolname, ' ') FROM pg_roles p
		WHERE p.rolname IN ('rds_iam', 'rds_ad') AND pg_has_role(r.oid, p.oid, 'MEMBER')),
	CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
	CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
	CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
	CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
	'CONNECTION LIMIT ' || rolconnlimit,
	'VALID UNTIL ' || quote_literal(coalesce(rolvaliduntil, 'infinity'))
	FROM pg_roles r WHERE rolname = $1`, name, t.Major)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	row, list := rows[0], strings.Fields
	return &role{row[0], name, row[1], row[2] == "t", row[3], list(row[4]), list(row[5]), list(row[6]), row[7:]}, nil
}

// Administrator returns a role's power or, for a second user, an attribute that gives power over more than its own
// objects.
func (t *target) Administrator(_ context.Context, r, first *role) (string, error) {
	for i, has := range r.attributes[:3] {
		if r.power == "" && first != nil && has != first.attributes[i] && !strings.HasPrefix(has, "NO") {
			return "a role with " + has, nil
		}
	}
	return r.power, nil
}

// mark returns the comment of a second user. A comment alone proves nothing: from version 16 on, CREATEROLE suffices to
// create a role with any name and comment, but not to grant it another role's rights. See Marked.
func mark(first string) string { return fmt.Sprintf("rotator: second user of %q", first) }

// Marked reports whether one role is the other's second user: it has the mark and is a member of the other. Granting
// that membership requires ADMIN OPTION, or before version 16 CREATEROLE, which allows changing both roles anyway. The
// engine sets mark and membership in the transaction that creates a second user.
// Source: https://www.postgresql.org/docs/18/sql-createrole.html (CREATEROLE)
func (t *target) Marked(_ context.Context, current, other *role) (bool, error) {
	first, second := ranks(current, other)
	return second.comment == mark(first.name) && slices.Contains(second.groups, first.oid), nil
}

// ranks returns which of the two is the first user. Without a membership, their names decide.
func ranks(current, other *role) (first, second *role) {
	if slices.Contains(current.groups, other.oid) ||
		!slices.Contains(other.groups, current.oid) && current.name == other.name+"_clone" {
		return other, current
	}
	return current, other
}

func (t *target) Mark(current, other *role) string {
	first, second := ranks(current, other)
	return "GRANT " + pgsession.Quote(first.name) + " TO " + pgsession.Quote(second.name) + "; " + comment(first, second)
}

// comment returns the statement that marks the second user.
func comment(first, second *role) string {
	return "COMMENT ON ROLE " + pgsession.Quote(second.name) + " IS " + pgsession.Literal(mark(first.name))
}

// Create makes the new user a member of the current one: it is the second, whatever their names.
func (t *target) Create(ctx context.Context, current *role, name string) (*role, error) {
	if err := t.do(ctx, "CREATE ROLE "+pgsession.Quote(name)); err != nil {
		return nil, err
	}
	if err := t.join(ctx, current, &role{name: name}); err != nil {
		return nil, err
	}
	return t.Find(ctx, name)
}

// Equalize makes the second user a member of the first, marks it, and copies current's attributes and settings.
func (t *target) Equalize(ctx context.Context, current, other *role) error {
	for _, group := range other.tokenOnly {
		if !slices.Contains(current.tokenOnly, group) {
			return engine.Errorf(engine.PrivilegeMissing,
				"REVOKE "+group+" FROM "+pgsession.Quote(other.name)+", or from the role through which it is a member",
				"the user %q is a member of %s, which ends logins with a password, and %q is not", other.name, group, current.name)
		}
	}
	first, second := ranks(current, other)
	if err := t.join(ctx, first, second); err != nil {
		return err
	}
	if err := t.attributes(ctx, current, other, other == second); err != nil {
		return err
	}
	if err := t.settings(ctx, first, current, other); err != nil {
		return err
	}
	if second.comment != mark(first.name) {
		if err := t.Change(ctx, comment(first, second)); err != nil {
			return err
		}
	}
	return t.foreign(ctx, first, second)
}

// foreign reports what only the second user owns or was granted directly. The operator decides whether to adopt it.
func (t *target) foreign(ctx context.Context, first, second *role) error {
	found, err := t.Texts(ctx, "the second user's rights could not be read", `
SELECT 'a member of ' || quote_ident(pg_get_userbyid(roleid)) FROM pg_auth_members
	WHERE member = $1 AND roleid <> $2 AND NOT pg_has_role($2, roleid, 'MEMBER')
UNION ALL SELECT format('%s of %s objects or rights in %s',
	CASE deptype WHEN 'o' THEN 'the owner' WHEN 'r' THEN 'named by policies' ELSE 'the holder' END, count(*),
	coalesce('the database ' || quote_ident(d.datname), 'the whole server'))
	FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
	WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND s.deptype IN ('o', 'a', 'r')
		AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
	GROUP BY deptype, d.datname ORDER BY 1`, second.oid, first.oid)
	for _, what := range found {
		t.Request.Warn("only the second user " + second.name + ", not " + first.name + ", is " + what +
			": see `rotatorctl adopt SECRET`")
	}
	return err
}

// join makes the second user a member of the first, with its rights and able to become it.
func (t *target) join(ctx context.Context, first, second *role) error {
	if slices.Contains(second.acts, first.oid) {
		return nil
	}
	return t.Change(ctx, "GRANT "+pgsession.Quote(first.name)+" TO "+pgsession.Quote(second.name)+t.options())
}

// options returns the options of a membership that gives the role's rights and allows becoming the role.
func (t *target) options() string {
	if t.Major < 16 {
		return ""
	}
	return " WITH INHERIT TRUE, SET TRUE"
}

// attributes gives the other user the current user's attributes. A second user inherits, and so has the first's rights
// before its sessions become the first.
func (t *target) attributes(ctx context.Context, current, other *role, second bool) error {
	var words []string
	if second && !other.inherits {
		words = append(words, "INHERIT")
	}
	for i, want := range current.attributes {
		if want == "NOLOGIN" { // the next user must log in
			want = "LOGIN"
		}
		if want != other.attributes[i] {
			words = append(words, want)
		}
	}
	if words == nil {
		return nil
	}
	return t.Change(ctx, "ALTER ROLE "+pgsession.Quote(other.name)+" "+strings.Join(words, " "))
}

func (t *target) SetPassword(ctx context.Context, r *role) error {
	if t.Conn.ParameterStatus("is_superuser") == "on" {
		// Only a superuser can keep pg_stat_statements from storing statements inside a block.
		if err := t.do(ctx, "SELECT set_config('pg_stat_statements.track', 'none', true)"); err != nil {
			return err
		}
	}
	verifier, err := scramVerifier(t.Password, t.Request.Secret, t.Request.Version, r.name)
	if err == nil {
		err = t.exec(ctx, "ALTER ROLE "+pgsession.Quote(r.name)+" PASSWORD", verifier)
	}
	e, _ := errors.AsType[*engine.Error](err)
	switch {
	case pgsession.Code(err) == "22023": // invalid_parameter_value, raised by password check hooks
		return engine.Errorf(engine.PolicyRejected,
			"adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the server's policy",
			"the server rejects the password of %q: %w", r.name, err)
	case err != nil && strings.Contains(err.Error(), "rds_password"):
		e.Advice = "GRANT rds_password TO " + pgsession.Quote(t.Target.User) +
			", or name a superuser secret in masterarn whose user may change passwords"
	case pgsession.Code(err) == "42501" && r.name == t.Target.User && !strings.Contains(e.Advice, "LANGUAGE"):
		e.Advice = "let the user set its own password, or name a superuser secret in masterarn"
	}
	return err
}
