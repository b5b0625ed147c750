// Package pair implements alternating users for the engines and the machine.
package pair

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Target is a superuser's session. It supplies facts and single changes; Apply decides which users may be changed, and
// in which order. U is the engine's data about a user.
type Target[U any] interface {
	// Find returns a user, or nil if it does not exist.
	Find(ctx context.Context, name string) (*U, error)
	// Administrator returns what makes the user an administrator in the target's terms, such as "a superuser", or "".
	// For a second user, a power that the first one lacks and that Equalize does not revoke also counts.
	Administrator(ctx context.Context, u, first *U) (power string, err error)
	// Marked reports whether a mark at the target identifies the two as a pair. Only those who could set both passwords
	// anyway can write the mark.
	Marked(ctx context.Context, current, other *U) (bool, error)
	// Mark returns instructions for marking the two as a pair: statements, or a clause that starts with a verb.
	Mark(current, other *U) string
	// Create creates a marked user without any rights. Its error wraps ErrExists if the user exists.
	Create(ctx context.Context, current *U, name string) (*U, error)
	// Equalize gives other the rights of current, marks an unmarked pair, and reports every change
	// with Request.Changed.
	Equalize(ctx context.Context, current, other *U) error
	// SetPassword makes the pending password valid. It is the last change.
	SetPassword(ctx context.Context, u *U) error
}

// Rehearser is a Target whose changes cannot be rolled back. Other targets rehearse by making the
// changes and rolling them back.
type Rehearser[U any] interface {
	Target[U]
	// Rehearse proves, as far as the target allows, that the changes will succeed. current is nil
	// for a single user, and other is nil if it will be created.
	Rehearse(ctx context.Context, current, other *U) error
}

// Change describes what a superuser changes at a target.
type Change struct {
	Kind    engine.Kind
	Request *engine.Request
	// Superuser, Current and Pending are the users' names as the target stores them.
	Superuser, Current, Pending string
	Rehearsal                   bool // only rehearse; the target is a Rehearser
	// Marked requires the mark in addition to the proof: an unmarked pair, which something else
	// created, is taken over only if an operator allows it.
	Marked bool
}

// ErrExists is wrapped by Create's error if the user exists.
var ErrExists = errors.New("the user already exists")

// AdviceOwn is the advice for a user that a superuser must not change at a secret's request.
const AdviceOwn = "rotate an administrator with a separate secret that names no superuser secret"

// Apply makes or rehearses the change. It refuses to change an administrator, the superuser itself, or a second user
// unless credentials in the secret or a mark at the target prove that this user belongs to the secret.
func Apply[U any](ctx context.Context, t Target[U], c Change) error {
	alternating := c.Request.Strategy == engine.AlternatingUsers
	if c.Pending == c.Superuser || alternating && c.Current == c.Superuser {
		return engine.Errorf(engine.TakeoverRefused, AdviceOwn, "the user %q is the superuser itself", c.Superuser)
	}
	var current, u *U // u is the user to change
	var err error
	if alternating {
		current, u, err = Find(ctx, t, c)
	} else {
		u, err = ordinary(ctx, t, c.Pending)
	}
	if err != nil {
		return err
	}
	if c.Rehearsal {
		return t.(Rehearser[U]).Rehearse(ctx, current, u)
	}
	if alternating && u == nil {
		if u, err = t.Create(ctx, current, c.Pending); err == nil {
			c.Request.Changed("the user " + c.Pending + " is created, as the second user of " + c.Current)
		}
		if created := err; errors.Is(err, ErrExists) { // created since Find, by a concurrent call or by a stranger
			if current, u, err = Find(ctx, t, c); u == nil {
				err = cmp.Or(err, created)
			}
		}
		if err != nil {
			return err
		}
	}
	if alternating {
		if err := t.Equalize(ctx, current, u); err != nil {
			return err
		}
	}
	return t.SetPassword(ctx, u)
}

// Find returns the two users of a secret; other is nil if it does not exist. It refuses what Apply refuses.
func Find[U any](ctx context.Context, t Target[U], c Change) (current, other *U, err error) {
	if current, err = ordinary(ctx, t, c.Current); err != nil {
		return nil, nil, err
	}
	if other, err = t.Find(ctx, c.Pending); err == nil && other != nil {
		err = ours(ctx, t, c, current, other)
	}
	return current, other, err
}

// ordinary returns a user that a superuser may change at a secret's request.
func ordinary[U any](ctx context.Context, t Target[U], name string) (*U, error) {
	u, err := t.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", name)
	}
	power, err := t.Administrator(ctx, u, nil)
	if err == nil && power != "" {
		err = engine.Errorf(engine.TakeoverRefused, AdviceOwn, "the user %q is %s", name, power)
	}
	return u, err
}

// ours refuses a second user that may belong to someone else.
func ours[U any](ctx context.Context, t Target[U], c Change, current, other *U) error {
	power, err := t.Administrator(ctx, other, current)
	if err == nil && power != "" {
		err = engine.Errorf(engine.TakeoverRefused,
			"revoke that from the user, or use another user name in the secret",
			"the user %q, which would be the second user of %q, is %s", c.Pending, c.Current, power)
	}
	proved := Proved(c.Kind, c.Request)
	if err != nil || proved && !c.Marked {
		return err
	}
	marked, err := t.Marked(ctx, current, other)
	switch {
	case err != nil || marked:
	case proved:
		err = engine.Errorf(engine.TakeoverRefused,
			"adopt the pair with `rotatorctl adopt --yes`, which without --yes only prints the changes; "+
				"or set ADOPT_PAIRS",
			"the users %q and %q were not created by this function, which has no permission to take them over",
			c.Current, c.Pending)
	default:
		err = engine.Errorf(engine.TakeoverRefused,
			"use another user name in the secret; or, if the user belongs to the secret, "+
				"do this as an administrator of the target: "+t.Mark(current, other),
			"the user %q already exists and cannot be shown to belong to %q", c.Pending, c.Current)
	}
	return err
}

// Next is engine.NextPassword and, if users alternate, also sets the other user's name. It
// validates both values with parse and returns its error.
func Next[T any](k engine.Kind, r *engine.Request, parse func(engine.Value) (T, error)) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	next := engine.NextPassword(k, r)
	if r.Strategy == engine.AlternatingUsers {
		user, _ := r.Current.Text(k.UserField)
		other, err := Other(k, r, user)
		if err != nil {
			return engine.Value{}, err
		}
		next = next.With(k.UserField, other)
	}
	_, err := parse(next)
	return next, err
}

// Other returns the name of the user that alternates with the given one.
func Other(k engine.Kind, r *engine.Request, user string) (string, error) {
	if first, ok := strings.CutSuffix(user, k.CloneSuffix); ok {
		if first == "" {
			return "", engine.Errorf(engine.InvalidSecret, "set the field "+k.UserField+" to the first user",
				"the user name consists only of the suffix %s", k.CloneSuffix)
		}
		return first, nil
	}
	clone, limit := user+k.CloneSuffix, cmp.Or(r.UserLimit, k.CloneLimit)
	if len(clone) > limit {
		return "", engine.Errorf(engine.InvalidSecret,
			"use a shorter user name or set USERNAME_CHARACTER_LIMIT to the server's own limit",
			"the second user's name %q would have more than %d characters", clone, limit)
	}
	return clone, nil
}

// Proved reports whether the secret holds an accepted credential of the user that Current names and one of the user
// that Pending names. Otherwise, an engine must not change a second user that it cannot recognize as its own: names
// alone prove nothing.
func Proved(k engine.Kind, r *engine.Request) bool {
	return ProvedCurrent(k, r) && proves(k, r, r.Pending)
}

// ProvedCurrent reports whether the secret holds an accepted credential of the user that Current names.
func ProvedCurrent(k engine.Kind, r *engine.Request) bool { return proves(k, r, r.Current) }

func proves(k engine.Kind, r *engine.Request, v engine.Value) bool {
	user, _ := v.Text(k.UserField)
	return slices.ContainsFunc(r.Proofs, func(p engine.Value) bool { u, _ := p.Text(k.UserField); return u == user })
}
