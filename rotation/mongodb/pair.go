package mongodb

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate, both defined in one database.
type twoUsers struct {
	database       string
	current, other string
	proved         bool // other is proved to be the secret's own
}

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

// find returns a user, or nil where there is none.
func (s *session) find(ctx context.Context, database, name string) (*user, error) {
	command := bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: database}}}}
	var answer struct {
		Users []user `bson:"users"`
	}
	err := s.run(ctx, database, append(command, bson.E{Key: "showAuthenticationRestrictions", Value: true}), &answer)
	if unsupported(err) {
		err = s.run(ctx, database, command, &answer)
	}
	if err != nil || len(answer.Users) == 0 {
		return nil, err
	}
	return &answer.Users[0], nil
}

// existing returns a user that there must be.
func (s *session) existing(ctx context.Context, database, name string) (*user, error) {
	u, err := s.find(ctx, database, name)
	if err == nil && u == nil {
		err = engine.Errorf(engine.InvalidSecret, "correct the secret's user name or dbname", "there is no user %q in the database %q", name, database)
	}
	return u, err
}

// unsupported reports whether the server does not know a part of a command.
func unsupported(err error) bool {
	c := code(err)
	return c == notImplemented || c == notSupported
}

// update changes what is given of a user. It is not repeated by the driver, and
// may be repeated by the core.
func (s *session) update(ctx context.Context, database, name string, fields bson.D) error {
	return s.run(ctx, database, append(bson.D{{Key: "updateUser", Value: name}}, fields...), nil)
}

// The mark in customData tells a second user from a stranger of that name. A user
// may have the right to change its own customData, so that a mark counts only for
// the user that carries it: nobody can say of another that it is his.
const markField = "rotator"

func mark(first string) string { return fmt.Sprintf("second user of %q", first) }

func (u *user) marked(first string) bool {
	for _, e := range u.Data {
		if text, ok := e.Value.(string); ok && e.Key == markField && text == mark(first) {
			return true
		}
	}
	return false
}

// powers are the roles and the actions by which a user can give itself any other.
// Roles of the operator's own can have both.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/
// and https://www.mongodb.com/docs/manual/reference/privilege-actions/
var powers = []string{"root", "__system", "userAdmin", "userAdminAnyDatabase", "dbOwner", "restore",
	"anyAction", "internal", "grantRole", "changePassword"}

// powers reads what a user's roles give it, and returns those of the powers that
// it has, with where it has them.
func (s *session) powers(ctx context.Context, database string, u *user) (map[string]bool, error) {
	var answer struct {
		Users []user `bson:"users"`
	}
	err := s.run(ctx, database, bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: u.Name}, {Key: "db", Value: database}}}, {Key: "showPrivileges", Value: true}}, &answer)
	if err != nil && !unsupported(err) {
		return nil, err
	}
	if len(answer.Users) == 1 {
		u = &answer.Users[0]
	}
	return u.powers(), nil
}

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

// alternate makes the other user equal to the current one, with the pending
// password, by one command: there is no state between.
func (s *session) alternate(ctx context.Context, p twoUsers, password string, rehearsal bool) error {
	if p.current == s.login.User && p.database == s.login.Database {
		return engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.login.User)
	}
	if err := s.needs(p.database, "createUser", "changePassword"); err != nil {
		return err
	}
	current, other, err := s.order(ctx, p)
	if err != nil || rehearsal {
		return err
	}
	command, err := p.command(current, other, password)
	if err != nil {
		return err
	}
	err = s.run(ctx, p.database, command, nil)
	if last := len(command) - 1; unsupported(err) && command[last].Key == dataField && len(current.Data) == 0 && (other == nil || len(other.Data) == 0) {
		// Without a mark the secret's own versions are the proof.
		err = s.run(ctx, p.database, command[:last], nil)
	}
	return err
}

const dataField = "customData"

// command makes or changes the other user, who is nil where there is none. What
// neither user has is not sent, as not every server knows it; customData is last.
func (p twoUsers) command(current, other *user, password string) (bson.D, error) {
	command := bson.D{{Key: "updateUser", Value: p.other}}
	if other == nil {
		command[0].Key = "createUser"
		if len(current.Mechanisms) > 0 {
			command = append(command, bson.E{Key: "mechanisms", Value: current.Mechanisms})
		}
		other = &user{}
	}
	roles := bson.A{}
	for _, r := range current.Roles {
		roles = append(roles, bson.D{{Key: "role", Value: r.Role}, {Key: "db", Value: r.Database}})
	}
	command = append(command, bson.E{Key: "pwd", Value: password}, bson.E{Key: "roles", Value: roles})
	restrictions, err := flat(current.Restrictions)
	if err != nil {
		return nil, err
	}
	if len(restrictions) > 0 || len(other.Restrictions) > 0 {
		command = append(command, bson.E{Key: "authenticationRestrictions", Value: restrictions})
	}
	if data := p.data(current); len(data) > 0 || len(other.Data) > 0 {
		command = append(command, bson.E{Key: dataField, Value: data})
	}
	return command, nil
}

// order reads both users and refuses to touch an other that is not ours.
func (s *session) order(ctx context.Context, p twoUsers) (current, other *user, err error) {
	if current, err = s.existing(ctx, p.database, p.current); err != nil {
		return nil, nil, err
	}
	if other, err = s.find(ctx, p.database, p.other); err != nil || other == nil {
		return current, nil, err
	}
	theirs, err := s.powers(ctx, p.database, other)
	if err != nil {
		return nil, nil, err
	}
	ours, err := s.powers(ctx, p.database, current)
	if err != nil {
		return nil, nil, err
	}
	for power := range theirs {
		if !ours[power] {
			return nil, nil, engine.Errorf(engine.TakeoverRefused, "use a user name without the suffix _clone, or take the role from that user",
				"the user %q has %s and %q has not", p.other, power, p.current)
		}
	}
	if !p.proved && !other.marked(p.current) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused,
			"if it is this secret's second user all the same, say so by giving it the customData "+fmt.Sprintf("{%s: %q}", markField, mark(p.current)),
			"the user %q exists, and nothing but its name says that it belongs to %q", p.other, p.current)
	}
	return current, other, nil
}

// data returns the other user's customData: the current one's, and the mark where
// the other is the second.
func (p twoUsers) data(current *user) bson.D {
	data := slices.DeleteFunc(slices.Clone(current.Data), func(e bson.E) bool { return e.Key == markField })
	if p.other == p.current+cloneSuffix {
		data = append(data, bson.E{Key: markField, Value: mark(p.current)})
	}
	if data == nil {
		data = bson.D{}
	}
	return data
}

// flat returns restrictions as they are given to a command. Servers show them as
// they are given, or once more as a list within a list.
func flat(shown bson.A) (bson.A, error) {
	out := bson.A{}
	for _, x := range shown {
		inner, nested := x.(bson.A)
		switch {
		case !nested:
			out = append(out, x)
		case len(shown) == 1:
			return inner, nil
		default:
			return nil, engine.Errorf(engine.TargetFailed, "rotate the user by the strategy single", "the user's authenticationRestrictions have a form that is not known")
		}
	}
	return out, nil
}
