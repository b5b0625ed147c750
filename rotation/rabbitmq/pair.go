package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// twoUsers are the two users that alternate.
type twoUsers struct {
	current, other string
	proved         bool // other is proved to be the secret's own
}

// markPrefix is how the tag begins that tells a second user from a stranger of
// that name. Only administrators give tags. The first user's name is hashed, as a
// tag must have no comma.
const markPrefix = "rotator-second-user-of-"

func mark(first string) string {
	sum := sha256.Sum256([]byte(first))
	return markPrefix + hex.EncodeToString(sum[:8])
}

// alternate makes the other user equal to the current one and sets its password
// last, together with its tags.
func (s *session) alternate(ctx context.Context, p twoUsers, r *engine.Request, password string, rehearsal bool) error {
	if p.current == s.target.User {
		return engine.Errorf(engine.TakeoverRefused, "give the superuser a secret of its own", "the superuser %q cannot alternate with itself", s.target.User)
	}
	current, other, err := s.order(ctx, p)
	if err != nil {
		return err
	}
	want, err := s.rights(ctx, p.current)
	if err != nil {
		return err
	}
	if rehearsal {
		return nil
	}
	if other == nil {
		// Without a hash nobody can log in.
		other = &user{Name: p.other, Algorithm: current.Algorithm, Tags: tags{mark(p.current)}}
		if err := s.put(ctx, other); err != nil {
			return err
		}
	}
	have, err := s.rights(ctx, p.other)
	if err != nil {
		return err
	}
	if err := s.level(ctx, p.other, have, want); err != nil {
		return err
	}
	other.Tags = p.tags(current)
	return s.put(ctx, other.with(password, r))
}

// order reads both users and refuses to touch an other that is not ours.
func (s *session) order(ctx context.Context, p twoUsers) (current, other *user, err error) {
	if current, err = s.existing(ctx, p.current); err != nil {
		return nil, nil, err
	}
	if current.has(administrator) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, adviceOwn, "the user %q is an administrator", p.current)
	}
	if other, err = s.find(ctx, p.other); err != nil || other == nil {
		return current, nil, err
	}
	if other.has(administrator) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused, "use a user name without the suffix _clone, or take the tag administrator from that user",
			"the user %q is an administrator and %q is not", p.other, p.current)
	}
	if !p.proved && !other.has(mark(p.current)) && !current.has(mark(p.other)) {
		return nil, nil, engine.Errorf(engine.TakeoverRefused,
			"if it is this secret's second user all the same, say so as an administrator by giving it the tag "+mark(p.current)+" beside its others",
			"the user %q exists, and nothing but its name says that it belongs to %q", p.other, p.current)
	}
	return current, other, nil
}

// tags returns the other user's: the current one's, and the mark of the second
// user on whichever of the two that is.
func (p twoUsers) tags(current *user) tags {
	out := slices.DeleteFunc(slices.Clone(current.Tags), func(t string) bool { return strings.HasPrefix(t, markPrefix) })
	if !current.has(mark(p.other)) {
		out = append(out, mark(p.current))
	}
	return out
}
