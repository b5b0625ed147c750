package pair

import (
	"cmp"
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
)

// Target is a superuser's session. It supplies facts and single changes; which users may be changed,
// and in which order, is decided by Apply. U is what the engine knows of one user.
type Target[U any] interface {
	// Find returns a user, or nil where there is none.
	Find(ctx context.Context, name string) (*U, error)
	// Administrator returns the power that makes the user an administrator by the target's own
	// notion, such as "a superuser", or "".
	Administrator(ctx context.Context, u *U) (power string, err error)
	// Exceeds returns a power that other has, current has not, and Equalize does not take, or "".
	Exceeds(ctx context.Context, current, other *U) (power string, err error)
	// Marked reports whether the target itself says that the two are a pair, by what nobody can
	// write who could not set both passwords anyhow.
	Marked(ctx context.Context, current, other *U) (bool, error)
	// Mark returns what an administrator does to have the two accepted as a pair: statements, or a
	// clause that starts with a verb.
	Mark(current, other *U) string
	// Create makes a marked user who can do nothing. Its error wraps ErrExists where the user exists.
	Create(ctx context.Context, current *U, name string) (*U, error)
	// Equalize gives other the rights of current, marks an unmarked pair, and reports every change by Request.Changed.
	Equalize(ctx context.Context, current, other *U) error
	// SetPassword makes the pending password valid, as the last change of all.
	SetPassword(ctx context.Context, u *U) error
}

// Rehearser is a Target whose changes cannot be rolled back. Others rehearse by making them.
type Rehearser[U any] interface {
	Target[U]
	// Rehearse proves, as far as the target lets it, that the changes will succeed. current is nil
	// for a single user, and other is nil where it is to be created.
	Rehearse(ctx context.Context, current, other *U) error
}

// Change is what a superuser is to do at a target.
type Change struct {
	Kind    engine.Kind
	Request *engine.Request
	// Superuser, Current and Pending are the users' names as the target stores them.
	Superuser, Current, Pending string
	Rehearsal                   bool // by a Rehearser
	// Marked asks for the mark in addition to the proof: an unmarked pair, which something else has
	// made, is taken over only where an operator says so.
	Marked bool
}

// ErrExists is in the error of a Create that found the user there.
var ErrExists = errors.New("the user exists already")

// AdviceOwn is the advice for a user whom no superuser may change on the strength of a secret.
const AdviceOwn = "rotate an administrator by a secret of its own, without a superuser secret"

// Apply makes the change, or rehearses it. A superuser changes no administrator, not itself, and no second user who
// is not proved to be the secret's: by its credentials in the secret, or by a mark at the target.
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
		if created := err; errors.Is(err, ErrExists) { // since Find, by a concurrent call or by a stranger
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

// Find returns the two users of a secret, of whom other is nil where it does not exist. It refuses what Apply refuses.
func Find[U any](ctx context.Context, t Target[U], c Change) (current, other *U, err error) {
	if current, err = ordinary(ctx, t, c.Current); err != nil {
		return nil, nil, err
	}
	if other, err = t.Find(ctx, c.Pending); err == nil && other != nil {
		err = ours(ctx, t, c, current, other)
	}
	return current, other, err
}

// ordinary returns a user whom a superuser may change on the strength of a secret.
func ordinary[U any](ctx context.Context, t Target[U], name string) (*U, error) {
	u, err := t.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return nil, engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", name)
	}
	return u, RefuseAdministrator(ctx, t, u, name)
}

// RefuseAdministrator refuses a user who is an administrator by the target's own notion.
func RefuseAdministrator[U any](ctx context.Context, t Target[U], u *U, name string) error {
	power, err := t.Administrator(ctx, u)
	if err == nil && power != "" {
		err = engine.Errorf(engine.TakeoverRefused, AdviceOwn, "the user %q is %s", name, power)
	}
	return err
}

// ours refuses a second user that may be somebody else's.
func ours[U any](ctx context.Context, t Target[U], c Change, current, other *U) error {
	if err := RefuseAdministrator(ctx, t, other, c.Pending); err != nil {
		return err
	}
	power, err := t.Exceeds(ctx, current, other)
	if err == nil && power != "" {
		err = engine.Errorf(engine.TakeoverRefused, "take that from the user, or use a user name without the suffix "+c.Kind.CloneSuffix, "the user %q has more power than %q: %s", c.Pending, c.Current, power)
	}
	proved := Proved(c.Kind, c.Request)
	if err != nil || proved && !c.Marked {
		return err
	}
	marked, err := t.Marked(ctx, current, other)
	switch {
	case err != nil || marked:
	case proved:
		err = engine.Errorf(engine.TakeoverRefused, "`rotatorctl adopt` prints what taking the pair over changes, and with --yes does it; or set ADOPT_PAIRS",
			"the users %q and %q were not made by this function, and nobody has said that it may take them over", c.Current, c.Pending)
	default:
		err = engine.Errorf(engine.TakeoverRefused, "use another user name in the secret; or, if it is the secret's second user, do this as an administrator of the target: "+t.Mark(current, other),
			"the user %q exists, and nothing but its name says that it belongs to %q", c.Pending, c.Current)
	}
	return err
}
