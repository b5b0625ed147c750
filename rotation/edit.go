package rotation

import (
	"context"
	"errors"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// checkOnlyCredentialDiffers checks that a value is what createSecret would derive from req.Current, apart from random
// parts. It detects an operator's edit before anything is overwritten.
func (r *run) checkOnlyCredentialDiffers(req *engine.Request, pending engine.Value) error {
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
		// A copy of current, which RotateSecret stages to test a configuration, keeps the user.
		if r.user(pending) != other && !pending.Equal(req.Current) {
			return r.editedError(req.Base)
		}
	}
	if !pending.EqualBut(req.Current, fields...) {
		return r.editedError(req.Base)
	}
	return nil
}

// checkMadeFromCurrent is checkOnlyCredentialDiffers for a stored value. Comparing fields does not reveal an edit of
// the credential itself, so the pending value must also have current's seal or be newer than current. After such an
// edit, only the operator knows which credential the target has.
func (r *run) checkMadeFromCurrent(ctx context.Context, req *engine.Request, current, pending version) error {
	if !r.sealed(req, pending.value, current.id, current.value) {
		// A seal of the version that is now AWSPREVIOUS means that AWSCURRENT was edited or rolled back.
		outdated := current.created.After(pending.created)
		if previous := r.described.holder(awsPrevious); !outdated && previous != "" && r.sealable(req) {
			v, err := r.former(ctx, "", awsPrevious)
			if err != nil && !errors.Is(err, errAbsent) {
				return err
			}
			outdated = err == nil && r.sealed(req, pending.value, v.id, v.value)
		}
		if outdated {
			return r.editedError(current.id)
		}
	}
	return r.checkOnlyCredentialDiffers(req, pending.value)
}

func (r *run) editedError(current string) error {
	return engine.Errorf(engine.SecretEdited,
		"remove AWSPENDING from version "+r.event.ClientRequestToken+" and rotate again; the edit is kept",
		"the secret was edited during this rotation: the pending version was not made from version %s, "+
			"which is now AWSCURRENT", current)
}

// checkNotEditedSince abandons the rotation if AWSCURRENT was edited between reading it and storing the value made from
// it. A sealed password would also reveal that later. Any other value looks newer than the edit, so the edit goes
// unnoticed if the process dies before this check.
func (r *run) checkNotEditedSince(ctx context.Context, req *engine.Request, from version, stored engine.Value) error {
	if r.sealed(req, stored, from.id, from.value) {
		return nil
	}
	now, err := r.current(ctx)
	if err != nil || now.id == from.id {
		return err
	}
	// One read may be stale, so DescribeSecret must confirm the edit.
	if d, err := r.secret.describe(ctx); err != nil || d.holder(awsCurrent) == from.id {
		return err
	}
	if err := r.secret.move(ctx, awsPending, "", req.Version); err != nil {
		return err
	}
	return engine.Errorf(engine.SecretEdited, "rotate again; the edit is kept",
		"the secret was edited while this rotation began: AWSCURRENT is now version %s", now.id)
}

// sealable reports whether the secret's passwords have a seal.
func (r *run) sealable(req *engine.Request) bool {
	return len(r.kind.SecretFields) == 1 && req.Passwords.Seals()
}

// sealed reports whether a pending value's password proves that someone who knew the credential made it from the
// version with the given id.
func (r *run) sealed(req *engine.Request, pending engine.Value, base string, credential engine.Value) bool {
	return r.sealable(req) && req.Key(credential) != "" &&
		req.Passwords.SealedTo(base, req.Key(credential), req.Key(pending))
}

// errForged is wrapped by the error for a pending value without the seal of an accepted credential.
var errForged = errors.New("it does not have the seal of a credential that the target accepts")

// authentic uses the credentials that the target accepts to check that this function made the pending value: someone
// who may write the secret but not read it could have stored another one. A value that the target already accepts needs
// no proof. A value that the target issued, or that is too short for a seal, cannot be checked.
func (r *run) authentic(req *engine.Request, accepted ...engine.Value) error {
	if _, minted := r.engine.(engine.Minter); minted || r.kind.NoTarget || !r.sealable(req) {
		return nil
	}
	for _, c := range accepted {
		itself := req.Key(c) == req.Key(req.Pending) && r.user(c) == r.user(req.Pending)
		if itself || r.sealed(req, req.Pending, req.Base, c) {
			return nil
		}
	}
	return engine.Errorf(engine.SecretEdited,
		"find out who wrote version "+req.Version+", remove AWSPENDING from it and rotate again",
		"the value labeled AWSPENDING was not created by this function: %w", errForged)
}
