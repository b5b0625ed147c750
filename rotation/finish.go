package rotation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"example.com/rotator/rotation/engine"
)

// The time that finishSecret needs to change a target that accepts one credential at a
// time. With less than finishFloor it changes nothing. It gives half of what is left to the
// change, a quarter to the login that proves it, and keeps a quarter for the label and the
// way back. Each quarter of the floor is fairChance, within which a working target answers.
const (
	finishFloor  = 4 * fairChance
	changeShare  = 2 // of 4
	confirmShare = 3
)

// confirmLimit is how often the login with a new value is tried, over 3.5 s.
const confirmLimit = 4

// restoreLimit bounds how often restore follows an AWSCURRENT that keeps changing.
const restoreLimit = 3

// What a failed finishSecret leaves behind; one of these ends its error.
const (
	stateUntouched = "this attempt did not change the target"
	stateUnchanged = "the target is unchanged: AWSCURRENT opens it"
	stateRestored  = "the target is restored: AWSCURRENT opens it again"
	stateChanged   = "the target is changed: AWSPENDING opens it"
	stateUnlabeled = "the target is changed: this rotation's version opens it, which has no label"
	stateUnknown   = "whether the target is changed is not known: AWSCURRENT or AWSPENDING opens it"
	stateNeither   = "the target refuses AWSCURRENT and AWSPENDING"
)

// finished takes the step and ends its error with the state of the target.
func (r *run) finished(ctx context.Context) error {
	r.state = stateUntouched
	err := r.finish(ctx)
	if err == nil || errors.Is(err, errDone) {
		return err
	}
	e := withCause(err)
	advice := e.Advice
	if e.Cause == engine.SecretEdited && (r.state == stateChanged || r.state == stateUnlabeled) {
		advice = "put the credential of version " + r.event.ClientRequestToken + " into AWSCURRENT, remove AWSPENDING from that version, and rotate again"
	}
	return engine.Errorf(e.Cause, advice, "%w; %s", e.Err, r.state)
}

// finish moves AWSCURRENT to the pending version, but only from the version that the
// pending one was made from. Where setSecret could not make the pending value valid next to
// the current one, it first changes the target and proves the change by a login. The
// service removes AWSPENDING by itself.
func (r *run) finish(ctx context.Context) error {
	d, err := r.prologue(ctx)
	if err != nil {
		return err
	}
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	from := d.holder(awsCurrent)
	req, err := r.choose(pending)
	if err != nil {
		return err
	}
	req.Pending = pending.value
	retirer, overlaps := r.engine.(engine.Retirer)
	early := overlaps && r.retireNow && req.Strategy == engine.SingleUser
	if r.inFinish(req) || early || !r.sealed(req, pending.value, from) {
		if err := r.base(ctx, req, d, pending); err != nil {
			return err
		}
		if req.Base != from {
			return r.editedError(version{id: req.Base})
		}
	}
	begin := time.Now()
	if r.inFinish(req) {
		if err := r.change(ctx, req); err != nil {
			return err
		}
	}
	if err := r.promote(ctx, req, from); err != nil {
		return err
	}
	r.currentRefused = false
	r.rotated, r.window = true, time.Since(pending.created)
	if r.inFinish(req) {
		r.gap = time.Since(begin)
	}
	r.log.Info("promoted to AWSCURRENT", "from", from, "gap_ms", r.gap.Milliseconds())
	if early {
		return r.retire(ctx, retirer, req)
	}
	return nil
}

// change makes the pending value valid and logs in with it. The login decides, and not the
// answer to the change: that can be lost, and a concurrent call of this step can have made
// the change. Where the login is refused, the target gets AWSCURRENT's credential back.
func (r *run) change(ctx context.Context, req *engine.Request) error {
	end, ok := ctx.Deadline()
	if !ok { // unreachable: budget sets one
		end = time.Now().Add(attemptLimit)
	}
	begin := time.Now()
	left := end.Sub(begin)
	if left < finishFloor {
		return engine.Errorf(engine.OutOfTime, "raise the function's timeout to 30 s or more", "finishSecret needs %s for the change and has %s", finishFloor, left.Round(time.Millisecond))
	}
	defer func() { r.share = time.Time{} }()
	r.share = begin.Add(left / 4 * changeShare)
	r.state = stateUnknown
	err := r.apply(ctx, req)
	if err != nil && engine.CauseOf(err) == engine.LoginRefused {
		r.state = stateUntouched
		return err
	}
	r.share = begin.Add(left / 4 * confirmShare)
	tries := 1
	if err == nil {
		tries = confirmLimit
	}
	lerr := r.verify(ctx, req, tries, 500*time.Millisecond)
	accepted := lerr == nil || err == nil && errors.Is(lerr, engine.ErrNotVerifiable)
	r.currentRefused = r.currentRefused || err == nil || accepted
	if accepted {
		if err != nil {
			r.log.Warn("login accepted, although the change failed", "credential", awsPending, "cause", engine.CauseOf(err))
		}
		r.state = stateChanged
		return nil
	}
	r.share = end
	switch {
	case !errors.Is(lerr, engine.LoginRefused): // never act on unknown
	case err == nil:
		if r.restore(ctx, req) {
			return nil
		}
	default:
		switch cerr := r.tries(ctx, req, req.Current); {
		case cerr == nil:
			r.state, r.currentRefused = stateUnchanged, false
		case errors.Is(cerr, engine.LoginRefused):
			r.refused(awsCurrent)
			r.state = stateNeither
		}
	}
	return stuck(cmp.Or(err, lerr))
}

// promote moves AWSCURRENT from the given version to the event's. Where that certainly
// fails, it restores a target that finishSecret has changed. Where it is not known, the
// next try of finishSecret goes on from AWSPENDING, which opens the target: restoring it
// would lock clients out if the label moves after all.
func (r *run) promote(ctx context.Context, req *engine.Request, from string) error {
	for try := 1; ; try++ {
		err := r.secret.promote(ctx, req.Version, from)
		if err == nil {
			return nil
		}
		// The call can have succeeded although its answer was lost, and another call of this
		// step can have been first. Either way the rest of the step is still due.
		d, derr := r.secret.describe(ctx)
		holder := d.holder(awsCurrent)
		switch {
		case derr == nil && holder == req.Version:
			return nil
		case derr == nil && holder != from:
			err = r.editedError(version{id: holder})
		case denied(err):
		case try < 2 && sleep(ctx, 500*time.Millisecond) == nil:
			continue
		default:
			return err
		}
		if r.inFinish(req) && r.restore(ctx, req) {
			return nil
		}
		return err
	}
}

// denied reports whether Secrets Manager has refused a call for good.
func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && strings.HasPrefix(api.ErrorCode(), "AccessDenied")
}

// restore gives the target the credential of the version that is AWSCURRENT now, which an
// edit can have changed, and notes the target's state. It reports whether that version is the
// event's own, because another call of this step has moved the label: then the rotation is
// complete.
func (r *run) restore(ctx context.Context, req *engine.Request) (done bool) {
	r.state = stateChanged
	seen := ""
	for range restoreLimit {
		v, err := r.secret.get(ctx, "", awsCurrent)
		if err == nil && v.id == seen {
			break // the target has its credential
		}
		if err == nil {
			err = r.give(ctx, req, v.value)
		}
		if err != nil {
			r.log.Error("target not restored", "cause", engine.CauseOf(err), "error", r.scrubber()(err.Error()))
			r.keepLabel(ctx)
			return false
		}
		seen = v.id
	}
	r.state, r.currentRefused = stateRestored, false
	r.log.Warn("target restored: AWSCURRENT opens it again", "current", seen)
	return seen == r.event.ClientRequestToken
}

// give makes a value of the secret open the target again, acting as the pending one, or finds
// that it does. A value that names another host, port, TLS mode or user is only tried. A
// target can refuse to take a credential back, because of its password history or a minimum
// age; then the superuser sets it, where the operator allows that.
func (r *run) give(ctx context.Context, req *engine.Request, v engine.Value) error {
	undo := *req
	undo.Current, undo.Pending = graft(v, req.Pending, r.kind), v
	user, _ := req.Pending.Text(r.kind.UserField)
	var err error
	if u, _ := v.Text(r.kind.UserField); u == user && r.samePlace(req.Pending, v) {
		superusers := func() error { return r.climb(ctx, r.superusers(ctx, req), as(&undo, r.engine.Set)) }
		if req.SuperuserChanges {
			err = superusers()
		} else if err = r.exchange(ctx, func(ctx context.Context) error { return r.engine.Set(ctx, undo.As(undo.Current, false)) }); err != nil && r.mayUseSuperuser(req) {
			err = superusers()
		}
	}
	lerr := r.tries(ctx, &undo, v)
	if lerr == nil {
		return nil // the login decides
	}
	return cmp.Or(err, lerr)
}

// keepLabel puts AWSPENDING back on the event's version, which opens the target, if an edit
// has taken the label away and no other version has it.
func (r *run) keepLabel(ctx context.Context) {
	token := r.event.ClientRequestToken
	d, err := r.secret.describe(ctx)
	if err == nil && slices.Contains(d.labels[token], awsPending) {
		return
	}
	if other := d.holder(awsPending); err == nil && (other == "" || other == d.holder(awsCurrent)) {
		err = r.secret.stage(ctx, token, other)
	} else if err == nil {
		err = engine.Errorf(engine.VersionNotStaged, "", "AWSPENDING is on version %s", other)
	}
	if err != nil {
		r.state = stateUnlabeled
		r.log.Error("AWSPENDING not put back", "cause", engine.CauseOf(err))
	}
}

// retire ends the overlap early. The pending value is current by now, so an error here would
// only repeat the rotation in vain: the next rotation retires the old credential.
func (r *run) retire(ctx context.Context, e engine.Retirer, req *engine.Request) error {
	err := r.tries(ctx, req, req.Pending)
	if err != nil {
		r.log.Warn("old credential kept: the new one could not be verified", "cause", engine.CauseOf(err))
		return nil
	}
	if req.SuperuserChanges {
		err = r.asSuperuser(ctx, req, e.Retire)
	} else {
		err = r.exchange(ctx, func(ctx context.Context) error { return e.Retire(ctx, req.As(req.Pending, false)) })
	}
	if err != nil {
		r.log.Warn("old credential kept until the next rotation", "cause", engine.CauseOf(err))
		return nil
	}
	r.log.Info("old credential retired")
	return nil
}
