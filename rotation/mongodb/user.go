package mongodb

import (
	"context"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// user is what the server knows of a user.
// Source: https://www.mongodb.com/docs/manual/reference/command/usersInfo/
type user struct {
	Name         string   `bson:"user"`
	Roles        []role   `bson:"roles"`
	Data         bson.D   `bson:"customData"`
	Mechanisms   []string `bson:"mechanisms"`
	Restrictions bson.A   `bson:"authenticationRestrictions"`
	// The rest is what its roles give it, where the server tells that.
	AllRoles   []role      `bson:"inheritedRoles"`
	Privileges []privilege `bson:"inheritedPrivileges"`
}

type role struct {
	Role     string `bson:"role"`
	Database string `bson:"db"`
}

// find returns a user, or nil where there is none. A server that does not know the option is asked
// without it.
func (s *session) find(ctx context.Context, database, name, option string) (*user, error) {
	command := bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: database}}}}
	var answer struct {
		Users []user `bson:"users"`
	}
	err := s.run(ctx, database, append(command, bson.E{Key: option, Value: true}), &answer)
	if unsupported(err) {
		err = s.run(ctx, database, command, &answer)
	}
	if err != nil || len(answer.Users) == 0 {
		return nil, err
	}
	return &answer.Users[0], nil
}

// unsupported reports whether the server does not know a part of a command.
func unsupported(err error) bool {
	c := code(err)
	return c == notImplemented || c == notSupported
}

// setPassword is not repeated by the driver, and may be repeated by the core.
func (s *session) setPassword(ctx context.Context, l login) error {
	return s.run(ctx, l.Database, bson.D{{Key: "updateUser", Value: l.User}, {Key: "pwd", Value: l.Password}}, nil)
}

// powers are the roles and the actions by which a user can give itself any other.
// Roles of the operator's own can have both.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/
// and https://www.mongodb.com/docs/manual/reference/privilege-actions/
var powers = []string{"root", "__system", "userAdmin", "userAdminAnyDatabase", "dbOwner", "restore",
	"anyAction", "internal", "grantRole", "changePassword"}

// powers returns those of the powers that a user has, with where it has them.
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
