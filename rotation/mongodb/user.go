package mongodb

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
)

// user is a user in the format of usersInfo.
// Source: https://www.mongodb.com/docs/manual/reference/command/usersInfo/
type user struct {
	Name         string   `bson:"user"`
	Roles        []role   `bson:"roles"`
	Data         bson.D   `bson:"customData"`
	Mechanisms   []string `bson:"mechanisms"`
	Restrictions bson.A   `bson:"authenticationRestrictions"`
	// The remaining fields are what its roles grant, if the server reveals it.
	AllRoles   []role      `bson:"inheritedRoles"`
	Privileges []privilege `bson:"inheritedPrivileges"`
}

type role struct {
	Role     string `bson:"role"`
	Database string `bson:"db"`
}

// find returns a user, or nil if there is none. It omits options that the server does not support.
func (s *session) find(database, name string) (u *user, err error) {
	restrictions, privileges := "showAuthenticationRestrictions", "showPrivileges"
	for _, options := range [][]string{{restrictions, privileges}, {privileges}, nil} {
		command := bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: database}}}}
		for _, o := range options {
			command = append(command, bson.E{Key: o, Value: true})
		}
		var answer struct {
			Users []user `bson:"users"`
		}
		if err = s.run(database, command, &answer); len(answer.Users) > 0 {
			u = &answer.Users[0]
		}
		if !unsupported(err) {
			break
		}
	}
	return u, err
}

func unsupported(err error) bool {
	c := code(err)
	return c == notImplemented || c == notSupported
}

func (s *session) setPassword(t engine.Target) error {
	return s.run(t.Database, bson.D{{Key: "updateUser", Value: t.User}, {Key: "pwd", Value: t.Password}}, new(bson.D))
}

// powers are the roles and actions with which a user can grant itself any other right. Custom roles can contain both.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/
// and https://www.mongodb.com/docs/manual/reference/privilege-actions/
var powers = []string{"root", "__system", "userAdmin", "userAdminAnyDatabase", "dbOwner", "restore",
	"anyAction", "internal", "grantRole", "changePassword"}

func (u *user) powers() (all []string) {
	add := func(name, where string) {
		if slices.Contains(powers, name) {
			all = append(all, name+" on "+where)
		}
	}
	for _, r := range slices.Concat(u.Roles, u.AllRoles) {
		add(r.Role, strconv.Quote(r.Database))
	}
	for _, p := range u.Privileges {
		where := "everything"
		if d := p.Resource.Database; d != nil && !p.Resource.AnyResource {
			where = strconv.Quote(*d)
		}
		for _, action := range p.Actions {
			add(action, where)
		}
	}
	return all
}

func (t target) put(verb string, current, other *user) error {
	command := command(verb, current, other, t.pending.Password)
	err := t.run(t.pending.Database, command, new(bson.D))
	if last := len(command) - 1; unsupported(err) && command[last].Key == dataField && len(other.Data) == 0 {
		// Without a mark, the secret's versions are the proof.
		err = t.run(t.pending.Database, command[:last], new(bson.D))
	}
	return err
}

const dataField = "customData"

// command returns put's command. Its last field marks an unmarked second user.
func command(verb string, current, other *user, password string) bson.D {
	command := bson.D{{Key: verb, Value: other.Name}}
	if verb == "createUser" && len(current.Mechanisms) > 0 {
		command = append(command, bson.E{Key: "mechanisms", Value: current.Mechanisms})
	}
	command = append(command, bson.E{Key: "pwd", Value: password},
		bson.E{Key: "roles", Value: append([]role{}, current.Roles...)})
	if other.unmarked(current) {
		others := slices.DeleteFunc(slices.Clone(other.Data), func(e bson.E) bool { return e.Key == markField })
		command = append(command, bson.E{Key: dataField,
			Value: append(others, bson.E{Key: markField, Value: mark(current.Name)})})
	}
	return command
}

// changes describes how other's roles become equal to current's.
func changes(current, other *user) []string {
	var out []string
	for _, d := range []struct {
		from, to []role
		verb     string
	}{{other.Roles, current.Roles, "revoked from"}, {current.Roles, other.Roles, "granted to"}} {
		for _, r := range d.from {
			if !slices.Contains(d.to, r) {
				out = append(out, fmt.Sprintf("role %q on %q is %s %q", r.Role, r.Database, d.verb, other.Name))
			}
		}
	}
	return out
}

// Needs returns the role that the login needs, as mongosh statements. It is a custom role, because userAdmin could
// grant itself any other. Needs logs in as the current user to read the roles that a superuser must grant.
// Source: https://www.mongodb.com/docs/manual/reference/command/updateUser/#required-access
// and https://www.mongodb.com/docs/manual/reference/command/createUser/#required-access
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if engine, _ := r.Current.Text("engine"); engine == "documentdb" {
		n.Note = "not tested with DocumentDB: its primary user has all that is needed; whether a user may change its " +
			"own password depends on DocumentDB"
		return nil
	}
	login, err := e.Parse(r.Login)
	if err != nil {
		return err
	}
	current, err := e.Parse(r.Current)
	if err != nil {
		return err
	}
	allow := func(database string, actions ...string) any {
		return map[string]any{"resource": map[string]string{"db": database, "collection": ""}, "actions": actions}
	}
	var privileges []any
	switch {
	case !r.Superuser:
		privileges = []any{allow(current.Database, "changeOwnPassword")}
	case r.Strategy != engine.AlternatingUsers:
		privileges = []any{allow(current.Database, "viewUser", "changePassword")}
	default:
		from := map[string]bool{}
		if err := e.With(ctx, r.Current, func(s *session) error {
			u, err := s.find(current.Database, current.User)
			if u != nil {
				for _, role := range u.Roles {
					from[role.Database] = true
				}
			}
			return err
		}); err != nil {
			return err
		}
		privileges = []any{allow(current.Database, "viewUser", "createUser", "changePassword", "changeCustomData")}
		for _, database := range slices.Sorted(maps.Keys(from)) {
			privileges = append(privileges, allow(database, "grantRole"))
		}
		// Replacing the roles of an existing user requires revokeRole on every database.
		privileges = append(privileges, allow("", "revokeRole"))
	}
	// A role in admin can have privileges on any database.
	name := "rotator-" + login.User
	n.Grants = []string{
		fmt.Sprintf(`db.getSiblingDB("admin").createRole({"role":%s,"privileges":%s,"roles":[]});`,
			text(name), text(privileges)),
		fmt.Sprintf(`db.getSiblingDB(%s).grantRolesToUser(%s, [{"role":%s,"db":"admin"}]);`,
			text(login.Database), text(login.User), text(name)),
	}
	return nil
}

func text(v any) string {
	b, _ := json.Marshal(v) // cannot fail for these types
	return string(b)
}
