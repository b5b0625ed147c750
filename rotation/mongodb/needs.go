package mongodb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"example.com/rotator/rotation/engine"
)

// allowed is a privilege as createRole takes it.
type allowed struct {
	Resource map[string]string `json:"resource"`
	Actions  []string          `json:"actions"`
}

// Needs says which role the login needs, as statements of mongosh: a separate one, as the built-in userAdmin could give
// itself all others. The roles that a superuser has to hand on are read from the server, as the user.
// Source: https://www.mongodb.com/docs/manual/reference/command/updateUser/#required-access
// and https://www.mongodb.com/docs/manual/reference/command/createUser/#required-access
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	if engine, _ := r.Current.Text("engine"); engine == "documentdb" {
		n.Note = "DocumentDB's roles were not tried: its primary user may do all that is needed, and a user may change its own password where DocumentDB lets it"
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
			err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name or dbname", "there is no user %q in the database %q", s.login.User, s.login.Database)
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
		// The roles of a user that is there are replaced, which asks for this on all.
		add("", "revokeRole")
	}
	// In admin a role can be about any database.
	name := "rotator-" + login.User
	n.Login = login.User
	n.Grants = []string{
		fmt.Sprintf(`db.getSiblingDB("admin").createRole({"role":%s,"privileges":%s,"roles":[]});`, text(name), text(privileges)),
		fmt.Sprintf(`db.getSiblingDB(%s).grantRolesToUser(%s, [{"role":%s,"db":"admin"}]);`, text(login.Database), text(login.User), text(name)),
	}
	return nil
}

// text writes a value of JavaScript.
func text(v any) string {
	b, _ := json.Marshal(v) // of texts this cannot fail
	return string(b)
}
