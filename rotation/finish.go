package rotation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"example.com/rotator/rotation/engine"
)

// With less time than finishFloor, finishSecret changes nothing. Half of the remaining time is for the change, a
// quarter for the login that proves it, and a quarter for the label or the restore.
const (
	finishFloor  = 4 * fairChance
	changeShare  = 2 // of 4
	confirmShare = 3
	confirmLimit = 4 // logins with the new value within 3.5 s
	restoreLimit = 3 // attempts, in case AWSCURRENT keeps changing
)

// The states in which a failed finishSecret leaves the target. Its error ends with one of them.
const (
	stateUntouched = "this attempt did not change the target"
	stateUnchanged = "the target is unchanged: AWSCURRENT opens it"
	stateRestored  = "the target is restored: AWSCURRENT opens it again"
	stateChanged   = "the target is changed: AWSPENDING opens it"
	stateUnlabeled = "the target is changed: this rotation's version opens it, which has no label"
	stateUnknown   = "whether the target is changed is not known: AWSCURRENT or AWSPENDING opens it"
	stateNeither   = "the target refuses AWSCURRENT and AWSPENDING"
)

// finishing is a finishSecret in progress. It tracks the state of the target.
type finishing struct {
	*run
	req      *engine.Request
	state    string
	accepted []engine.Value // by the target before the change
}

// finish runs the step and appends the state of the target to its error.
func (r *run) finish(ctx context.Context) error {
	f := &finishing{run: r, state: stateUntouched}
	err := f.finish(ctx)
	if err == nil || errors.Is(err, errDone) {
		return err
	}
	e := withCause(err)
	advice := e.Advice
	if e.Cause == engine.SecretEdited && (f.state == stateChanged || f.state == stateUnlabeled) {
		advice = "copy the credential of version " + r.event.ClientRequestToken +
			" to AWSCURRENT, remove AWSPENDING from that version if it has it, and rotate again"
	}
	return engine.Errorf(e.Cause, advice, "%w; %s", e.Err, f.state)
}

// finish moves AWSCURRENT to the pending version, but only from the version that the pending one was made from. If
// setSecret could not make the pending value valid, finish first changes the target and proves the change by a login.
// Secrets Manager removes AWSPENDING.
func (f *finishing) finish(ctx context.Context) error {
	req, pending, err := f.staged(ctx)
	if err != nil {
		return err
	}
	if err := f.base(ctx, req, pending); err != nil {
		return err
	}
	if f.req = req; req.Base != f.described.holder(awsCurrent) {
		return f.editedError(req.Base)
	}
	begin := time.Now()
	if f.inFinish(req) {
		if err := f.change(ctx); err != nil {
			return err
		}
	}
	if err := f.promote(ctx); err != nil {
		return err
	}
	f.seen.CurrentRefused = false
	f.seen.Rotated, f.seen.Window = true, time.Since(pending.created)
	if f.inFinish(req) {
		f.seen.Gap = time.Since(begin)
	}
	f.log.Info("promoted to AWSCURRENT", "from", req.Base, "gap_ms", f.seen.Gap.Milliseconds())
	return nil
}

// change makes the pending value valid and logs in with it. The login decides, not the answer to the change: that
// answer can be lost, and a concurrent call of this step can have made the change. If the change succeeds but the login
// is refused, change restores AWSCURRENT's credential.
func (f *finishing) change(ctx context.Context) error {
	begin := time.Now()
	end, _ := ctx.Deadline() // Handle sets one
	left := end.Sub(begin)
	if left < finishFloor {
		return engine.Errorf(engine.OutOfTime, "raise the function's timeout to 30 s or more",
			"finishSecret needs %s for the change, but has %s", finishFloor, left.Round(time.Millisecond))
	}
	defer func(until time.Time) { f.until = until }(f.until)
	f.state = stateUnknown
	f.until = begin.Add(left / 4 * changeShare)
	c, err := f.act(ctx, f.req, f.genuine(f.engine.Set))
	f.accepted = append(f.req.Proofs, c.value)
	if err != nil && engine.CauseOf(err) == engine.LoginRefused {
		f.state = stateUntouched
		return err
	}
	tries := 1
	if err == nil {
		tries = confirmLimit
	}
	f.until = begin.Add(left / 4 * confirmShare)
	lerr := f.verify(ctx, f.req, tries, 500*time.Millisecond)
	f.until = end
	accepted := lerr == nil || err == nil && errors.Is(lerr, engine.ErrNotVerifiable)
	f.seen.CurrentRefused = f.seen.CurrentRefused || err == nil || accepted
	switch {
	case accepted:
		if err != nil {
			f.log.Warn("login accepted although the change failed", "credential", awsPending,
				"cause", engine.CauseOf(err))
		}
		f.state = stateChanged
		return nil
	case !errors.Is(lerr, engine.LoginRefused): // never act on an unknown outcome
	case err == nil:
		if f.restore(ctx) {
			return nil
		}
	default:
		switch cerr := f.tries(ctx, f.req, f.req.Current); {
		case cerr == nil:
			f.state, f.seen.CurrentRefused = stateUnchanged, false
		case errors.Is(cerr, engine.LoginRefused):
			f.refused(awsCurrent)
			f.state = stateNeither
		}
	}
	return stuck(cmp.Or(err, lerr))
}

// promote moves AWSCURRENT to the event's version. If the move definitely fails, promote restores a target that
// finishSecret has changed. If the outcome is unknown, it leaves the target alone, because restoring it would lock
// clients out if the label moves after all. The next attempt continues from AWSPENDING, which opens the target.
func (f *finishing) promote(ctx context.Context) error {
	for try := 1; ; try++ {
		err := f.secret.move(ctx, awsCurrent, f.req.Version, f.req.Base)
		if err == nil {
			return nil
		}
		// The call may have succeeded although its answer was lost, or another call of this step may have been first.
		d, derr := f.secret.describe(ctx)
		holder := d.holder(awsCurrent)
		switch {
		case derr == nil && holder == f.req.Version:
			return nil
		case derr == nil && holder != f.req.Base:
			err = f.editedError(holder)
		case denied(err):
		case try < 2 && sleep(ctx, 500*time.Millisecond) == nil:
			continue
		default:
			return err
		}
		if f.inFinish(f.req) && f.restore(ctx) {
			return nil
		}
		return err
	}
}

// restore sets the target's credential to that of the version that is now AWSCURRENT, which may be an operator's edit,
// and records the target's state. It returns true if that version is the event's: another call of this step has moved
// the label, and the rotation is complete.
func (f *finishing) restore(ctx context.Context) (done bool) {
	f.state = stateChanged
	given := ""
	for range restoreLimit {
		v, err := f.secret.get(ctx, "", awsCurrent)
		if err == nil && v.id == given {
			break // the target already has it
		}
		if err == nil {
			err = f.give(ctx, v.value)
		}
		if err != nil {
			f.log.Warn("target not restored", "cause", engine.CauseOf(err), "error", f.scrubber()(err.Error()))
			f.keepLabel(ctx)
			return false
		}
		given = v.id
	}
	f.state, f.seen.CurrentRefused = stateRestored, false
	f.log.Warn("target restored: AWSCURRENT opens it again", "current", given)
	return given == f.req.Version
}

// give makes a value of the secret open the target again, or finds that it already does. It acts as the superuser if
// the secret names one, and otherwise as the pending value; a password history or minimum age can then prevent the
// change. It restores only a credential that the target accepted before the change, as a seal shows after a crash, and
// only at the same place: someone who may write the secret could have put another one into AWSCURRENT.
func (f *finishing) give(ctx context.Context, v engine.Value) error {
	undo := *f.req
	undo.Current, undo.Pending = graft(v, f.req.Pending, f.kind), v
	var err error
	proved := f.sealed(f.req, f.req.Pending, f.req.Base, v) || slices.ContainsFunc(f.accepted,
		func(a engine.Value) bool { return f.user(a) == f.user(v) && f.req.Key(a) == f.req.Key(v) })
	if proved && !f.kind.NoRestore && f.user(f.req.Pending) == f.user(v) && f.sameAccount(f.req.Pending, v) {
		if undo.SuperuserChanges {
			_, err = f.climb(ctx, &undo, f.superusers(ctx, f.req), f.engine.Set)
		} else {
			err = f.exchange(ctx,
				func(ctx context.Context) error { return f.engine.Set(ctx, undo.As(undo.Current, false)) })
		}
	}
	lerr := f.tries(ctx, &undo, v)
	if lerr == nil {
		return nil // the login decides
	}
	return cmp.Or(err, lerr)
}

// keepLabel puts AWSPENDING back on the event's version, which opens the target, if an edit has removed the label and
// no other version has it.
func (f *finishing) keepLabel(ctx context.Context) {
	d, err := f.secret.describe(ctx)
	other := d.holder(awsPending)
	switch {
	case err != nil:
	case other == "" || other == d.holder(awsCurrent):
		err = f.secret.move(ctx, awsPending, f.req.Version, other)
	case other != f.req.Version:
		err = engine.Errorf(engine.VersionNotStaged, "", "AWSPENDING is on version %s", other)
	}
	if err != nil {
		f.state = stateUnlabeled
		f.log.Warn("AWSPENDING not put back", "cause", engine.CauseOf(err))
	}
}
