package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/rotator/rotation/engine"
)

// Finding is what Check says of one precondition of a rotation.
type Finding struct {
	// Check is the precondition: secret, labels, form, name, route, tls, login,
	// privilege, policy or deadline.
	Check string `json:"check"`
	// State is "ok", "failed", or "unknown" where an earlier failure hides it.
	State string `json:"state"`
	// Detail says more, and for a failure what to do.
	Detail string `json:"detail,omitempty"`
}

// checks are the preconditions in the order in which they show, with the causes
// by which a failure of them is known.
var checks = []struct {
	name   string
	causes []engine.Cause
}{
	{"secret", []engine.Cause{engine.SecretsManagerFailed, engine.InvalidConfiguration, engine.InvalidEvent}},
	{"labels", []engine.Cause{engine.VersionNotStaged, engine.RotationDisabled, engine.SecretEdited}},
	{"form", []engine.Cause{engine.InvalidSecret}},
	{"name", []engine.Cause{engine.NameNotResolved}},
	{"route", []engine.Cause{engine.Unreachable, engine.TargetFailed, engine.InternalError}},
	{"tls", []engine.Cause{engine.TLSFailed}},
	{"login", []engine.Cause{engine.LoginRefused}},
	{"privilege", []engine.Cause{engine.PrivilegeMissing, engine.TakeoverRefused}},
	{"policy", []engine.Cause{engine.PolicyRejected}},
	{"deadline", []engine.Cause{engine.OutOfTime}},
}

// Check finds out whether a rotation of the secret would succeed, without
// changing anything: it is createSecret without the storing, and reads labels
// besides. A rotation must fit into the time that is left of ctx.
func (r *Rotator) Check(ctx context.Context, arn string) []Finding {
	run := r.inspect(arn)
	run.event.Step = CreateSecret
	begin := time.Now()
	details, err := run.check(ctx)
	if err == nil && ctx.Err() != nil {
		err = engine.Errorf(engine.OutOfTime, "raise the function's time-out", "the proof took %s", time.Since(begin).Round(time.Millisecond))
	}
	details["deadline"] = "the proof took " + time.Since(begin).Round(time.Millisecond).String()
	var failure *engine.Error
	if err != nil {
		failure = run.report(ctx, err)
		failure.Step = "" // no step was taken
	}
	var findings []Finding
	state := "ok"
	for _, c := range checks {
		if !run.applies(c.name) && (failure == nil || !slices.Contains(c.causes, failure.Cause)) {
			continue
		}
		f := Finding{Check: c.name, State: state, Detail: details[c.name]}
		if failure != nil {
			for _, cause := range c.causes {
				if cause == failure.Cause {
					f.State, f.Detail, state = "failed", failure.Error(), "unknown"
				}
			}
		}
		if f.State == "unknown" {
			f.Detail = ""
		}
		findings = append(findings, f)
	}
	return findings
}

// applies tells whether check has looked at a precondition, or would have if
// nothing had failed before: what was not looked at is not called ok.
func (r *run) applies(name string) bool {
	switch name {
	case "name", "route", "tls", "login", "privilege":
		return !r.kind.NoTarget
	case "policy":
		// A value that the target makes, or one that cannot be rehearsed, meets no
		// policy before it is set.
		_, rehearsed := r.engine.(engine.DryRunner)
		_, minted := r.engine.(engine.Minter)
		return r.engine == nil || rehearsed && !minted && !r.kind.NoTarget
	}
	return true
}

// inspect returns a run that is no step of a rotation.
func (r *Rotator) inspect(arn string) *run {
	return &run{cfg: r.cfg, event: Event{SecretID: arn}, log: r.cfg.Log.With("secret", arn)}
}

func (r *run) check(ctx context.Context) (details map[string]string, err error) {
	defer r.guard(&err)
	details = make(map[string]string)
	d, err := r.describe(ctx)
	if err != nil {
		return details, err
	}
	pending, current := d.holder(awsPending), d.holder(awsCurrent)
	switch {
	case pending != "" && pending != current:
		// Not a fault by itself: it may be a rotation that is under way.
		details["labels"] = "AWSPENDING is on version " + pending + ": a rotation is under way or stuck"
	case !d.enabled:
		details["labels"] = "rotation is not switched on yet"
	default:
		details["labels"] = "AWSCURRENT is on version " + current
	}
	version, err := r.current(ctx)
	if err != nil {
		return details, err
	}
	req, err := r.choose(version)
	if err != nil {
		return details, err
	}
	kind := r.kind
	details["form"] = fmt.Sprintf("engine %s, strategy %s", kind.Names[0], req.Strategy)
	if s, _ := version.value.Text("ssl"); engine.ParseTLSMode(s) == engine.TLSOff {
		details["tls"] = `not used: the secret says "ssl": false`
	}
	if _, ok := r.engine.(engine.Minter); ok {
		return details, r.climb(ctx, r.own(ctx, req), func(ctx context.Context, c rung) error {
			return r.engine.Verify(ctx, req, c.value)
		})
	}
	if req.Pending, err = r.next(ctx, req); err != nil {
		return details, err
	}
	err = r.prove(ctx, req)
	if err == nil && r.refusals > 0 {
		details["login"] = "AWSCURRENT refused, " + r.opened + " opens: clients are refused until the next rotation, or `rotatorctl recover`"
	}
	return details, err
}

// describe opens the secret and reads its state and settings.
func (r *run) describe(ctx context.Context) (description, error) {
	var err error
	if r.secret, err = r.open(ctx, r.event.SecretID); err != nil {
		return description{}, err
	}
	d, err := r.secret.describe(ctx)
	r.options = option{tags: d.tags, getenv: r.cfg.Getenv}
	return d, err
}

// Diagnosis is what Diagnose finds, and what Recover would do about it.
type Diagnosis struct {
	// Secret is the secret's ARN.
	Secret string `json:"secret"`
	// Current is the id of the version labelled AWSCURRENT, and Pending that of
	// the one labelled AWSPENDING, or "".
	Current string `json:"current"`
	Pending string `json:"pending,omitempty"`
	// Opens names the credential that opens the target, such as AWSPREVIOUS;
	// it is "" where none does.
	Opens string `json:"opens,omitempty"`
	// Version is that credential's version; "" for the superuser's.
	Version string `json:"version,omitempty"`
	// CurrentRefused is set where the target refuses AWSCURRENT: clients cannot log in.
	CurrentRefused bool `json:"current_refused,omitempty"`
	// Action is what Recover would do, in words; "" for nothing.
	Action string `json:"action,omitempty"`
	// Trouble says why nothing can be done, where that is so.
	Trouble string `json:"trouble,omitempty"`

	promote bool // move AWSCURRENT to Version
	release bool // take AWSPENDING from Pending
	reset   bool // give the target AWSCURRENT's credential, as the superuser
}

// Diagnose finds out which credential of the secret opens the target, asking in
// the order of the ladder, and changes nothing.
//
// The one that works tells what to do: where current works, an AWSPENDING left
// behind is to be taken away; where another version does, that is to become
// current, as it is what clients need; where only the superuser's does, the
// target is to be given current's credential again.
func (r *Rotator) Diagnose(ctx context.Context, arn string) (Diagnosis, error) {
	run := r.inspect(arn)
	d, _, err := run.diagnose(ctx)
	if err != nil {
		return d, run.report(ctx, err)
	}
	return d, nil
}

func (r *run) diagnose(ctx context.Context) (out Diagnosis, req *engine.Request, err error) {
	defer r.guard(&err)
	out.Secret = r.event.SecretID
	d, err := r.describe(ctx)
	if err != nil {
		return out, nil, err
	}
	out.Current, out.Pending = d.holder(awsCurrent), d.holder(awsPending)
	if out.Pending == out.Current {
		out.Pending = ""
	}
	current, err := r.current(ctx)
	if err != nil {
		return out, nil, err
	}
	if req, err = r.choose(current); err != nil {
		return out, nil, err
	}
	var users []string
	var pending version
	if out.Pending != "" {
		pending, err = r.secret.get(ctx, out.Pending, "")
		if err != nil && !errors.Is(err, errAbsent) {
			return out, nil, err
		}
		if err == nil {
			req.Pending, req.Version = pending.value, out.Pending
			user, _ := pending.value.Text(r.kind.UserField)
			users = append(users, user)
		}
	}
	err = r.climb(ctx, r.own(ctx, req, users...), func(ctx context.Context, c rung) error {
		err := r.engine.Verify(ctx, req, c.value)
		if err == nil {
			out.Opens, out.Version = c.name, c.version
			req.Login, req.Superuser = c.value, c.superuser
		}
		return err
	})
	if err != nil && !errors.Is(err, engine.LoginRefused) {
		return out, nil, err
	}
	out.CurrentRefused = out.Opens != awsCurrent
	switch {
	case out.Opens == awsCurrent:
		out.Version = out.Current
		if out.Pending == "" {
			break
		}
		// A target may go on to take a user's old credential for a while, so that the
		// pending one is given up only where it is refused. A second user's may be set
		// in part only; then AWSCURRENT's is as good as before. And what an operator
		// has made current since is what counts.
		if req.Strategy == engine.SingleUser && !req.Pending.IsZero() && r.checkMadeFromCurrent(req, d, current, pending) == nil {
			err := r.tries(ctx, req, req.Pending)
			if err != nil && !errors.Is(err, engine.LoginRefused) {
				return out, nil, err
			}
			out.promote = err == nil
		}
		if out.promote {
			out.Opens, out.Version = awsPending, out.Pending
			out.Action = "move AWSCURRENT from version " + out.Current + " to version " + out.Pending + ", which opens the target as well, and so end the rotation"
			break
		}
		out.release = true
		out.Action = "remove AWSPENDING from version " + out.Pending + ", so that the next rotation can start"
	case out.Opens == "" || req.Superuser:
		if err := r.bySuperuser(ctx, req); err != nil {
			out.Trouble = r.report(ctx, err).Error()
			return out, nil, nil
		}
		out.Opens, out.Version = "superuser", ""
		out.reset = true
		user, _ := req.Current.Text(r.kind.UserField)
		host, _ := req.Login.Text("host")
		out.Action = fmt.Sprintf("give the user %q at %q AWSCURRENT's credential again, as the superuser", user, host)
		if out.Pending != "" {
			out.release = true
			out.Action += "; remove AWSPENDING from version " + out.Pending
		}
	default:
		out.promote = true
		out.Action = "move AWSCURRENT from version " + out.Current + " to version " + out.Version + ", which opens the target"
		if out.Pending != "" && out.Pending != out.Version {
			out.release = true
			out.Action += "; remove AWSPENDING from version " + out.Pending
		}
		found, err := r.secret.get(ctx, out.Version, "")
		if err != nil {
			return out, nil, err
		}
		if err := r.checkOnlyCredentialDiffers(req, current, found.value); err != nil {
			out.promote, out.release, out.Action = false, false, ""
			out.Trouble = "version " + out.Version + " opens the target, but AWSCURRENT was edited since and its edit would be lost: put the working credential into the current value by hand"
		}
	}
	return out, req, nil
}

// bySuperuser finds the superuser's login for the request.
func (r *run) bySuperuser(ctx context.Context, req *engine.Request) error {
	const none = "no version of the secret opens the target"
	if superuserARN(r.kind, req.Current) == "" {
		return engine.Errorf(engine.LoginRefused, "set the user's password at the target to the one in AWSCURRENT", none+", and it names no superuser secret")
	}
	if user, _ := req.Current.Text(r.kind.UserField); !r.cfg.recoverBySuperuser() {
		// Whoever may write the secret could name any user in it.
		return engine.Errorf(engine.LoginRefused, "if the user is this secret's own, `rotatorctl recover --by-superuser` gives it AWSCURRENT's password again", none+" for the user %q", user)
	}
	return r.climb(ctx, r.superusers(ctx, req), func(ctx context.Context, c rung) error {
		req.Login, req.Superuser = c.value, true
		// A superuser does not need to be able to change itself.
		probe := *req
		probe.Strategy, probe.SuperuserChanges = engine.AlternatingUsers, true
		return r.engine.Verify(ctx, &probe, c.value)
	})
}

// Recover does what a fresh Diagnose says, and returns that. It may be repeated.
// It never takes a label from a version without giving it to one that the
// target accepted.
func (r *Rotator) Recover(ctx context.Context, arn string) (Diagnosis, error) {
	run := r.inspect(arn)
	d, err := run.recover(ctx)
	if err != nil {
		return d, run.report(ctx, err)
	}
	return d, nil
}

func (r *run) recover(ctx context.Context) (d Diagnosis, err error) {
	defer r.guard(&err)
	d, req, err := r.diagnose(ctx)
	if err != nil {
		return d, err
	}
	if d.Trouble != "" {
		return d, engine.Errorf(engine.LoginRefused, "see the engine's page", "%s", d.Trouble)
	}
	if d.reset {
		req.Strategy = engine.SingleUser // only the user's own credential is mended
		req.Version, req.Pending = d.Current, req.Current
		if err := r.exchange(ctx, func(ctx context.Context) error {
			if err := r.engine.Set(ctx, req); err != nil {
				return err
			}
			return r.engine.Verify(ctx, req, req.Current)
		}); err != nil {
			return d, err
		}
	}
	if d.promote {
		if err := r.secret.promote(ctx, d.Version, d.Current); err != nil {
			return d, err
		}
	}
	if !d.release {
		return d, nil
	}
	if err := r.secret.release(ctx, d.Pending); err != nil || d.promote || d.reset {
		return d, err
	}
	// A rotation under way may have come to setSecret since current was tried:
	// then the label goes back, for it is on the one that works.
	if err := r.tries(ctx, req, req.Current); errors.Is(err, engine.LoginRefused) {
		if err := r.secret.stage(ctx, d.Pending, ""); err != nil {
			return d, err
		}
		return d, engine.Errorf(engine.LoginRefused, "wait until the rotation that is under way has ended, and try again", "the target has changed meanwhile and refuses AWSCURRENT; AWSPENDING stays on version %s", d.Pending)
	}
	return d, nil
}
