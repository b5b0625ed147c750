package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// checkOnlyCredentialDiffers checks that a value differs from current only where a rotation changes
// it: it is what createSecret would make of current, up to chance. An operator's edit of the secret
// shows here, before anything is overwritten.
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

// checkMadeFromCurrent is checkOnlyCredentialDiffers for a stored value. Fields alone do not show
// an edit of the credential itself; but a value that was made from current is younger than it, or
// has its seal. Which of two credentials the target has is the operator's knowledge then: to
// promote the older would put a dead one before the clients.
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
// and the storing of what was made from it. A password with a seal shows that by itself later; of
// any other value its date would say that it was made after the edit. A process that ends before
// this look leaves that edit unseen.
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

// putLabelBack reports whether it has put AWSPENDING back on the event's version. An operator can
// abandon the rotation while finishSecret changes the target; if that call then dies, no labelled
// version opens it. Nothing is done where AWSCURRENT still does.
func (r *run) putLabelBack(ctx context.Context, d description) bool {
	token := r.event.ClientRequestToken
	other := d.holder(awsPending)
	if len(d.labels[token]) > 0 || other != "" && other != d.holder(awsCurrent) {
		return false
	}
	pending, err := r.secret.get(ctx, token, "")
	if err != nil {
		return false
	}
	current, err := r.current(ctx)
	if err != nil {
		return false
	}
	req, err := r.choose(current, d.tags)
	if err != nil || r.checkMadeFromCurrent(req, d, current, pending) != nil {
		return false
	}
	req.Pending = pending.value
	if !errors.Is(r.tries(ctx, req, req.Current), engine.LoginRefused) {
		return false
	}
	r.refused(awsCurrent)
	if r.tries(ctx, req, req.Pending) != nil || r.secret.move(ctx, awsPending, token, other) != nil {
		return false
	}
	r.log.Warn("AWSPENDING was taken away while the target was changed; it is put back")
	return true
}
