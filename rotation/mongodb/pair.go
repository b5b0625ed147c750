package mongodb

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is the session for package pair. Both users are defined in the pending login's database.
type target struct {
	*session
	kind    engine.Kind
	request *engine.Request
	pending login
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

// The mark in customData tells a second user from a stranger of that name. A user
// may have the right to change its own customData, so that a mark counts only for
// the user that carries it: nobody can say of another that it is his.
const markField = "rotator"

func mark(first string) string { return fmt.Sprintf("second user of %q", first) }

func (u *user) marked(first string) bool {
	return slices.Contains(u.Data, bson.E{Key: markField, Value: mark(first)})
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

// Find also reads what the user's roles give it.
func (t target) Find(ctx context.Context, name string) (*user, error) {
	u, err := t.find(ctx, t.pending.Database, name, restrictions)
	if err != nil || u == nil {
		return nil, err
	}
	all, err := t.find(ctx, t.pending.Database, name, "showPrivileges")
	if all != nil {
		u.AllRoles, u.Privileges = all.AllRoles, all.Privileges
	}
	return u, err
}

// Administrator returns a power over all databases, or over admin, which leads to the others. Where
// the superuser acts on a single user's name alone, any power counts.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/#superuser-roles
func (t target) Administrator(_ context.Context, u *user) (string, error) {
	proved := t.request.Strategy == engine.AlternatingUsers || pair.ProvedCurrent(t.kind, t.request)
	for _, power := range slices.Sorted(maps.Keys(u.powers())) {
		reaches := func(where string) bool { return strings.HasSuffix(power, " on "+where) }
		if !proved || reaches("everything") || reaches(`""`) || reaches(`"admin"`) {
			return "an administrator: it has " + power, nil
		}
	}
	return "", nil
}

func (t target) Exceeds(_ context.Context, current, other *user) (string, error) {
	have := current.powers()
	for power := range other.powers() {
		if !have[power] {
			return power, nil
		}
	}
	return "", nil
}

func (t target) Marked(_ context.Context, current, other *user) (bool, error) {
	return other.marked(current.Name), nil
}

func (t target) Mark(current, other *user) string {
	return fmt.Sprintf("give %s the customData {%s: %q}", other.Name, markField, mark(current.Name))
}

func (t target) Rehearse(_ context.Context, current, _ *user) error {
	if current == nil {
		return t.needs(t.pending.Database, "changePassword")
	}
	if err := t.needs(t.pending.Database, "createUser", "changePassword"); err != nil {
		return err
	}
	_, err := flat(current.Restrictions)
	return err
}

// Create makes the user complete, so it never has the pending password without its rights.
func (t target) Create(ctx context.Context, current *user, name string) (*user, error) {
	other := &user{Name: name}
	return other, t.put(ctx, "createUser", current, other)
}

// Equalize also sets the password: one command makes the whole change.
func (t target) Equalize(ctx context.Context, current, other *user) error {
	err := t.put(ctx, "updateUser", current, other)
	if err == nil {
		for _, change := range changes(current, other) {
			t.request.Changed(change)
		}
	}
	return err
}

// SetPassword has nothing left to do after Equalize.
func (t target) SetPassword(ctx context.Context, _ *user) error {
	if t.request.Strategy == engine.AlternatingUsers {
		return nil
	}
	return t.setPassword(ctx, t.pending)
}

// put creates or changes the other user.
func (t target) put(ctx context.Context, verb string, current, other *user) error {
	command, err := command(verb, current, other, t.pending.Password)
	if err != nil {
		return err
	}
	err = t.run(ctx, t.pending.Database, command, nil)
	if last := len(command) - 1; unsupported(err) && command[last].Key == dataField && len(current.Data)+len(other.Data) == 0 {
		// Without a mark the secret's own versions are the proof.
		err = t.run(ctx, t.pending.Database, command[:last], nil)
	}
	return err
}

const (
	dataField    = "customData"
	restrictions = "showAuthenticationRestrictions"
)

// command is what put sends. It leaves out what neither user has, as not every server knows it;
// customData is last.
func command(verb string, current, other *user, password string) (bson.D, error) {
	command := bson.D{{Key: verb, Value: other.Name}}
	if verb == "createUser" && len(current.Mechanisms) > 0 {
		command = append(command, bson.E{Key: "mechanisms", Value: current.Mechanisms})
	}
	command = append(command, bson.E{Key: "pwd", Value: password}, bson.E{Key: "roles", Value: append([]role{}, current.Roles...)})
	restricted, err := flat(current.Restrictions)
	if err != nil {
		return nil, err
	}
	if len(restricted) > 0 || len(other.Restrictions) > 0 {
		command = append(command, bson.E{Key: "authenticationRestrictions", Value: restricted})
	}
	if data := data(current, other); len(data) > 0 || len(other.Data) > 0 {
		command = append(command, bson.E{Key: dataField, Value: data})
	}
	return command, nil
}

// data returns the other user's customData: the current one's, and the mark where the other is the
// second.
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

// changes describes what makes other equal to current. The values in customData can be secret.
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
	want, _ := flat(current.Restrictions) // command has returned the error
	if have, err := flat(other.Restrictions); err != nil || !reflect.DeepEqual(have, want) {
		out = append(out, fmt.Sprintf("authenticationRestrictions of %q are %v", other.Name, want))
	}
	if !reflect.DeepEqual(unmarked(current.Data), unmarked(other.Data)) {
		out = append(out, fmt.Sprintf("customData of %q is that of %q", other.Name, current.Name))
	}
	return out
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
