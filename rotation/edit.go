package rotation

import (
	"context"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// checkOnlyCredentialDiffers checks that a value is what createSecret would make of current, up to
// chance. An operator's edit of the secret shows here, before anything is overwritten.
func (r *run) checkOnlyCredentialDiffers(req *engine.Request, current version, pending engine.Value) error {
	fields := r.kind.SecretFields
	if len(fields) == 0 {
		return nil
	}
	if req.Strategy == engine.AlternatingUsers {
		fields = append([]string{r.kind.UserField}, fields...)
		other, err := pair.Other(r.kind, req, r.user(req.Current))
		if err != nil {
			return err
		}
		// The copy of current that tests a configuration keeps the user.
		if r.user(pending) != other && !pending.Equal(req.Current) {
			return r.editedError(current.id)
		}
	}
	if !pending.EqualBut(req.Current, fields...) {
		return r.editedError(current.id)
	}
	return nil
}

// base reads the current version into the request and checks that the pending one was made from it.
func (r *run) base(ctx context.Context, req *engine.Request, d description, pending version) error {
	current, err := r.current(ctx)
	if err != nil {
		return err
	}
	req.Current, req.Base = current.value, current.id
	return r.checkMadeFromCurrent(req, d, current, pending)
}

// checkMadeFromCurrent is checkOnlyCredentialDiffers for a stored value. Fields alone do not show
// an edit of the credential itself; but a value that was made from current is younger than it, or
// has its seal. Which credential the target has after such an edit, the operator knows.
func (r *run) checkMadeFromCurrent(req *engine.Request, d description, current, pending version) error {
	// A seal of what is AWSPREVIOUS now says that AWSCURRENT was edited or rolled back.
	outdated := r.sealed(req, pending.value, d.holder(awsPrevious))
	if !r.sealed(req, pending.value, current.id) && (current.created.After(pending.created) || outdated) {
		return r.editedError(current.id)
	}
	return r.checkOnlyCredentialDiffers(req, current, pending.value)
}

func (r *run) editedError(current string) error {
	return engine.Errorf(engine.SecretEdited, "the edit is kept; remove AWSPENDING from version "+r.event.ClientRequestToken+" and rotate again",
		"the secret was edited during this rotation: the pending version was not made from version %s, which is AWSCURRENT now", current)
}

// checkNotEditedSince gives the rotation up where AWSCURRENT was edited between the reading of it
// and the storing of what was made from it. A password with a seal shows that later; any other value
// is dated after the edit. A process that ends before this look leaves that edit unseen.
func (r *run) checkNotEditedSince(ctx context.Context, req *engine.Request, from version, stored engine.Value) error {
	if r.sealed(req, stored, from.id) {
		return nil
	}
	now, err := r.current(ctx)
	if err != nil || now.id == from.id {
		return err
	}
	// A read may be behind; both are not.
	if d, err := r.secret.describe(ctx); err != nil || d.holder(awsCurrent) == from.id {
		return err
	}
	if err := r.secret.move(ctx, awsPending, "", req.Version); err != nil {
		return err
	}
	return engine.Errorf(engine.SecretEdited, "the edit is kept; rotate again", "the secret was edited while this rotation began; version %s is AWSCURRENT now", now.id)
}

// sealed reports whether the password of a pending value tells by itself that it was made from the
// version with the given id.
func (r *run) sealed(req *engine.Request, pending engine.Value, base string) bool {
	if len(r.kind.SecretFields) != 1 || req.Passwords.Length == 0 {
		return false
	}
	password, _ := pending.Text(r.kind.SecretFields[0])
	return req.Passwords.SealedTo(base, password)
}
