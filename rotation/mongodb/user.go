package mongodb

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
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

// find returns a user, or nil if there is none. It omits an option that the server does not support.
func (s *session) find(database, name, option string) (*user, error) {
	command := bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: database}}}}
	var answer struct {
		Users []user `bson:"users"`
	}
	err := s.run(database, append(command, bson.E{Key: option, Value: true}), &answer)
	if unsupported(err) {
		err = s.run(database, command, &answer)
	}
	if err != nil || len(answer.Users) == 0 {
		return nil, err
	}
	return &answer.Users[0], nil
}

func unsupported(err error) bool {
	c := code(err)
	return c == notImplemented || c == notSupported
}

func (s *session) setPassword(l login) error {
	return s.run(l.Database, bson.D{{Key: "updateUser", Value: l.User}, {Key: "pwd", Value: l.Password}}, nil)
}

// powers are the roles and actions with which a user can grant itself any other right. Custom roles can contain both.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/
// and https://www.mongodb.com/docs/manual/reference/privilege-actions/
var powers = []string{"root", "__system", "userAdmin", "userAdminAnyDatabase", "dbOwner", "restore",
	"anyAction", "internal", "grantRole", "changePassword"}

func (u *user) powers() map[string]bool {
	all := map[string]bool{}
	add := func(name, where string) {
		if slices.Contains(powers, name) {
			all[name+" on "+where] = true
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
	err := t.run(t.pending.Database, command, nil)
	if last := len(command) - 1; unsupported(err) && command[last].Key == dataField &&
		len(current.Data)+len(other.Data) == 0 {
		// Without a mark, the secret's versions are the proof.
		err = t.run(t.pending.Database, command[:last], nil)
	}
	return err
}

const (
	dataField    = "customData"
	restrictions = "showAuthenticationRestrictions"
)

// command returns put's command, without fields that neither user has and some servers lack; customData is last.
func command(verb string, current, other *user, password string) bson.D {
	command := bson.D{{Key: verb, Value: other.Name}}
	if verb == "createUser" && len(current.Mechanisms) > 0 {
		command = append(command, bson.E{Key: "mechanisms", Value: current.Mechanisms})
	}
	command = append(command, bson.E{Key: "pwd", Value: password},
		bson.E{Key: "roles", Value: append([]role{}, current.Roles...)})
	if len(current.Restrictions)+len(other.Restrictions) > 0 {
		command = append(command, bson.E{Key: "authenticationRestrictions",
			Value: append(bson.A{}, current.Restrictions...)})
	}
	if data := data(current, other); len(data) > 0 || len(other.Data) > 0 {
		command = append(command, bson.E{Key: dataField, Value: data})
	}
	return command
}

// data returns the other user's customData: the current user's, and the mark if the other is the second user.
func data(current, other *user) bson.D {
	data := unmarked(current.Data)
	if other.Name == current.Name+cloneSuffix {
		data = append(data, bson.E{Key: markField, Value: mark(current.Name)})
	}
	return data
}

func unmarked(data bson.D) bson.D {
	return slices.DeleteFunc(append(bson.D{}, data...), func(e bson.E) bool { return e.Key == markField })
}

// changes describes how other becomes equal to current, without the values in customData, which can be secret.
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
	want := append(bson.A{}, current.Restrictions...)
	if !reflect.DeepEqual(append(bson.A{}, other.Restrictions...), want) {
		out = append(out, fmt.Sprintf("authenticationRestrictions of %q are %v", other.Name, want))
	}
	if !reflect.DeepEqual(unmarked(current.Data), unmarked(other.Data)) {
		out = append(out, fmt.Sprintf("customData of %q is copied from %q", other.Name, current.Name))
	}
	return out
}

// flatten puts the restrictions into the format of commands. Some servers return them as a list within a list.
func (u *user) flatten() error {
	nested := func(x any) bool { _, ok := x.(bson.A); return ok }
	switch {
	case !slices.ContainsFunc(u.Restrictions, nested):
	case len(u.Restrictions) == 1:
		u.Restrictions = u.Restrictions[0].(bson.A)
	default:
		return engine.Errorf(engine.TargetFailed, "use the strategy single",
			"the user's authenticationRestrictions have an unknown format")
	}
	return nil
}

type allowed struct {
	Resource map[string]string `json:"resource"`
	Actions  []string          `json:"actions"`
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
	login, err := parse(r.Login)
	if err != nil {
		return err
	}
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	var privileges []allowed
	add := func(database string, actions ...string) {
		privileges = append(privileges, allowed{map[string]string{"db": database, "collection": ""}, actions})
	}
	switch {
	case !r.Superuser:
		add(pending.Database, "changeOwnPassword")
	case r.Strategy != engine.AlternatingUsers:
		add(pending.Database, "viewUser", "changePassword")
	default:
		s, err := e.open(ctx, r.Current)
		if err != nil {
			return err
		}
		defer s.close()
		current, err := s.find(s.login.Database, s.login.User, restrictions)
		if err == nil && current == nil {
			err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name or dbname",
				"there is no user %q in the database %q", s.login.User, s.login.Database)
		}
		if err != nil {
			return err
		}
		actions := []string{"viewUser", "createUser", "changePassword", "changeCustomData"}
		if len(current.Restrictions) > 0 {
			actions = append(actions, "setAuthenticationRestriction")
		}
		add(pending.Database, actions...)
		var from []string
		for _, role := range current.Roles {
			from = append(from, role.Database)
		}
		slices.Sort(from)
		for _, database := range slices.Compact(from) {
			add(database, "grantRole")
		}
		// Replacing the roles of an existing user requires revokeRole on every database.
		add("", "revokeRole")
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
