package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// target is the session for package pair.
type target struct {
	*session
	request  *engine.Request
	password string
}

// markPrefix is how the tag begins that tells a second user from a stranger of
// that name. Only administrators give tags. The first user's name is hashed, as a
// tag must have no comma.
const markPrefix = "rotator-second-user-of-"

func mark(first string) string {
	sum := sha256.Sum256([]byte(first))
	return markPrefix + hex.EncodeToString(sum[:8])
}

func (t target) Find(ctx context.Context, name string) (*user, error) { return t.find(ctx, name) }

func (t target) Administrator(_ context.Context, u *user) (string, error) {
	if u.has(administrator) {
		return "an administrator", nil
	}
	return "", nil
}

func (t target) Exceeds(context.Context, *user, *user) (string, error) { return "", nil }

func (t target) Marked(_ context.Context, current, other *user) (bool, error) {
	return other.has(mark(current.Name)) || current.has(mark(other.Name)), nil
}

func (t target) Mark(current, other *user) string {
	return "give " + other.Name + " the tag " + mark(current.Name) + " in addition to its others"
}

func (t target) Rehearse(ctx context.Context, current, _ *user) error {
	if current == nil {
		return nil
	}
	_, err := t.rights(ctx, current.Name)
	return err
}

// Create makes the user without a hash, so nobody can log in.
func (t target) Create(ctx context.Context, current *user, name string) (*user, error) {
	u := &user{Name: name, Algorithm: current.Algorithm, Tags: tags{mark(current.Name)}}
	return u, t.put(ctx, u)
}

func (t target) Equalize(ctx context.Context, current, other *user) error {
	want, err := t.rights(ctx, current.Name)
	if err != nil {
		return err
	}
	have, err := t.rights(ctx, other.Name)
	if err != nil {
		return err
	}
	wanted := slices.DeleteFunc(slices.Clone(current.Tags), func(tag string) bool { return strings.HasPrefix(tag, markPrefix) })
	if !current.has(mark(other.Name)) {
		wanted = append(wanted, mark(current.Name))
	}
	if !slices.Equal(other.Tags, wanted) { // SetPassword sends them
		t.request.Changed(fmt.Sprintf("the tags of %s are %v", other.Name, wanted))
		other.Tags = wanted
	}
	return t.level(ctx, other.Name, have, want)
}

func (t target) SetPassword(ctx context.Context, u *user) error {
	return t.put(ctx, u.with(t.password, t.request))
}
