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

type target struct {
	*session
	request  *engine.Request
	password string
}

// markPrefix begins the tag that distinguishes a second user from a stranger with that name. Only administrators can
// set tags. The first user's name is hashed because a tag must not contain a comma.
const markPrefix = "rotator-second-user-of-"

func mark(first string) string {
	sum := sha256.Sum256([]byte(first))
	return markPrefix + hex.EncodeToString(sum[:8])
}

func (t target) Find(ctx context.Context, name string) (*user, error) { return t.find(ctx, name) }

func (t target) Administrator(_ context.Context, u, _ *user) (string, error) {
	if u.has(administrator) {
		return "an administrator", nil
	}
	return "", nil
}

func (t target) Marked(_ context.Context, current, other *user) (bool, error) {
	return other.has(mark(current.Name)) || current.has(mark(other.Name)), nil
}

func (t target) Mark(current, other *user) string {
	return "give " + other.Name + " the tag " + mark(current.Name) + " in addition to its others"
}

func (t target) Rehearse(ctx context.Context, current, other *user) error {
	if current == nil {
		return nil
	}
	_, err := t.permissions(ctx, current.Name)
	if err == nil && other != nil {
		_, err = t.permissions(ctx, other.Name)
	}
	return err
}

// Create creates the user without a hash, so nobody can log in.
func (t target) Create(ctx context.Context, current *user, name string) (*user, error) {
	u := &user{Name: name, Algorithm: algorithm, Tags: []string{mark(current.Name)}}
	return u, t.put(ctx, u)
}

// SetPassword reads the tags again, because it must send them: one that was removed since Find must not come back.
func (t target) SetPassword(ctx context.Context, u *user) error {
	name, _ := t.request.Current.Text("username")
	current, err := t.existing(ctx, name)
	if err != nil {
		return err
	}
	next := u.with(t.password, t.request)
	next.Tags = current.Tags
	if u.Name != current.Name {
		next.Tags = slices.DeleteFunc(slices.Clone(current.Tags),
			func(tag string) bool { return strings.HasPrefix(tag, markPrefix) })
		if !current.has(mark(u.Name)) {
			next.Tags = append(next.Tags, mark(current.Name))
		}
	}
	if err := t.put(ctx, next); err != nil {
		return err
	}
	if u.Name != current.Name && !slices.Equal(u.Tags, next.Tags) {
		t.request.Changed(fmt.Sprintf("the tags of %s are %v", u.Name, next.Tags))
	}
	return nil
}
