package mongodb

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
)

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
