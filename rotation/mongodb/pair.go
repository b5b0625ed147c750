package mongodb

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

// markField is the field of customData that distinguishes a second user from a stranger with that name. A user may have
// the right to change its own customData, but not that of others, so a mark counts only for the user that has it.
const markField = "rotator"

func mark(first string) string { return fmt.Sprintf("second user of %q", first) }

func (u *user) marked(first string) bool {
	return slices.Contains(u.Data, bson.E{Key: markField, Value: mark(first)})
}

// Find also reads what the user's roles grant.
func (t target) Find(_ context.Context, name string) (*user, error) {
	u, err := t.find(t.pending.Database, name, restrictions)
	if err != nil || u == nil {
		return nil, err
	}
	all, err := t.find(t.pending.Database, name, "showPrivileges")
	if all != nil {
		u.AllRoles, u.Privileges = all.AllRoles, all.Privileges
	}
	if err == nil && t.request.Strategy == engine.AlternatingUsers {
		err = u.flatten()
	}
	return u, err
}

// Administrator returns a power over all databases, or over admin, which leads to the others. If only its name
// identifies a single user, any power counts.
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
	return t.needs(t.pending.Database, "createUser", "changePassword")
}

// Create creates the user with all its rights, so it never has the pending password without them.
func (t target) Create(_ context.Context, current *user, name string) (*user, error) {
	other := &user{Name: name}
	return other, t.put("createUser", current, other)
}

// Equalize also sets the password: one command makes the whole change.
func (t target) Equalize(_ context.Context, current, other *user) error {
	err := t.put("updateUser", current, other)
	if err == nil {
		for _, change := range changes(current, other) {
			t.request.Changed(change)
		}
	}
	return err
}

// SetPassword has nothing left to do after Equalize.
func (t target) SetPassword(_ context.Context, _ *user) error {
	if t.request.Strategy == engine.AlternatingUsers {
		return nil
	}
	return t.setPassword(t.pending)
}
