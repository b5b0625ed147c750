package mongodb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// target is the session for package pair. Both users are defined in the pending login's database.
type target struct {
	*session
	change  pair.Change
	pending engine.Target
}

// markField is the field of customData that distinguishes a second user from a stranger with that name. A user may have
// the right to change its own customData, but not that of others, so a mark counts only for the user that has it.
const markField = "rotator"

func mark(first string) string { return fmt.Sprintf("second user of %q", first) }

func (u *user) marked(first string) bool {
	return slices.Contains(u.Data, bson.E{Key: markField, Value: mark(first)})
}

// unmarked reports whether the user is current's second user without the mark, which a change adds.
func (u *user) unmarked(current *user) bool {
	return u.Name == current.Name+cloneSuffix && !u.marked(current.Name)
}

func (t target) Find(_ context.Context, name string) (*user, error) {
	u, err := t.find(t.pending.Database, name)
	if u != nil && len(u.Restrictions) > 0 && t.change.Request.Strategy == engine.AlternatingUsers {
		return nil, engine.Errorf(engine.TargetFailed, "use the strategy single, or remove the restrictions",
			"the user %q has authenticationRestrictions, which a second user would not have", name)
	}
	return u, err
}

// Administrator returns a power over all databases, or over admin, which leads to the others. If only its name
// identifies a single user, any power counts; for a second user, any that the first one lacks.
// Source: https://www.mongodb.com/docs/manual/reference/built-in-roles/#superuser-roles
func (t target) Administrator(_ context.Context, u, first *user) (string, error) {
	proved := t.change.Request.Strategy == engine.AlternatingUsers || pair.ProvedCurrent(t.change.Kind, t.change.Request)
	for _, power := range u.powers() {
		reaches := func(where string) bool { return strings.HasSuffix(power, " on "+where) }
		if !proved || reaches("everything") || reaches(`""`) || reaches(`"admin"`) {
			return "an administrator: it has " + power, nil
		}
		if first != nil && !slices.Contains(first.powers(), power) {
			return "more powerful: it has " + power, nil
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

func (t target) Rehearse(_ context.Context, current, other *user) error {
	if current == nil {
		return t.needs(t.pending.Database, "changePassword")
	}
	for _, r := range current.Roles {
		if err := t.needs(r.Database, "grantRole"); err != nil {
			return err
		}
	}
	actions := []string{"createUser", "changePassword"}
	if other != nil && other.unmarked(current) {
		actions = append(actions, "changeCustomData")
	}
	return t.needs(t.pending.Database, actions...)
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
			t.change.Request.Changed(change)
		}
	}
	return err
}

// SetPassword has nothing left to do after Equalize.
func (t target) SetPassword(_ context.Context, _ *user) error {
	if t.change.Request.Strategy == engine.AlternatingUsers {
		return nil
	}
	return t.setPassword(t.pending)
}
