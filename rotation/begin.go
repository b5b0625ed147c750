package rotation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// errDone ends a step early and successfully: the event's version is already AWSCURRENT.
var errDone = errors.New("the version is already current")

// prologue checks that the step may act on this event: rotation is enabled and the event's version is staged. It
// returns errDone if the rotation has already finished.
// Source: AWS's rotation function templates, which decide the same way.
func (r *run) prologue(ctx context.Context) (err error) {
	if r.described, err = r.secret.describe(ctx); err == nil {
		err = r.verdict(r.described)
	}
	if errors.Is(err, engine.VersionNotStaged) && r.putLabelBack(ctx) {
		return nil
	}
	return err
}

func (r *run) verdict(d description) error {
	token := r.event.ClientRequestToken
	labels := d.labels[token]
	const advice = "let Secrets Manager start the rotation with RotateSecret; if an old rotation is stuck, " +
		"`rotatorctl status` shows it"
	switch other := d.holder(awsPending); {
	case d.manager != "":
		return r.managed(d)
	case !d.enabled:
		return engine.Errorf(engine.RotationDisabled,
			"enable rotation with RotateSecret; `rotatorctl recover SECRET --yes` repairs a rotation that was canceled halfway",
			"rotation is not enabled for secret %s", r.secret.arn)
	case slices.Contains(labels, awsCurrent):
		return errDone
	case slices.Contains(labels, awsPending):
		return nil
	case other != "":
		return engine.Errorf(engine.VersionNotStaged, advice,
			"AWSPENDING is on version %s, not on this rotation's version %s", other, token)
	}
	return engine.Errorf(engine.VersionNotStaged, advice, "version %s is not staged as AWSPENDING", token)
}

// managed rejects a secret that another service rotates.
func (r *run) managed(d description) error {
	return engine.Errorf(engine.InvalidSecret,
		"leave its rotation to "+d.manager+", and disable rotation by this function",
		"the secret %s is managed by %s", r.secret.arn, d.manager)
}

// putLabelBack reports whether it has put AWSPENDING back on the event's version. An operator can abandon the rotation
// while finishSecret changes the target. If that call then dies, no labeled version opens the target. If AWSCURRENT
// still opens it, putLabelBack does nothing.
func (r *run) putLabelBack(ctx context.Context) bool {
	token := r.event.ClientRequestToken
	other := r.described.holder(awsPending)
	if len(r.described.labels[token]) > 0 || other != "" && other != r.described.holder(awsCurrent) {
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
	req, err := r.choose(current)
	if err != nil || r.checkMadeFromCurrent(ctx, req, current, pending) != nil {
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
	r.log.Warn("AWSPENDING was removed while the target was being changed; it is put back")
	return true
}

// staged reads the pending version and builds the request from it. It returns errDone if the version is AWSCURRENT.
func (r *run) staged(ctx context.Context) (*engine.Request, version, error) {
	if err := r.prologue(ctx); err != nil {
		return nil, version{}, err
	}
	pending, err := r.pending(ctx)
	if err != nil {
		return nil, pending, err
	}
	req, err := r.choose(pending)
	if err == nil {
		req.Pending = pending.value
	}
	return req, pending, err
}

// base reads the current version into the request and checks that the pending one was made from it.
func (r *run) base(ctx context.Context, req *engine.Request, pending version) error {
	current, err := r.current(ctx)
	if err != nil {
		return err
	}
	req.Current, req.Base = current.value, current.id
	return r.checkMadeFromCurrent(ctx, req, current, pending)
}

// pending reads this rotation's pending version.
func (r *run) pending(ctx context.Context) (version, error) {
	v, err := r.secret.await(ctx, r.event.ClientRequestToken, awsPending)
	if err != nil {
		err = r.unread(ctx, err)
	}
	return v, err
}

// unread returns why the pending version could not be read. A repeated step may have finished the rotation, or an
// operator may have abandoned it. The labels then explain more than err does.
func (r *run) unread(ctx context.Context, err error) error {
	if d, derr := r.secret.describe(ctx); derr == nil {
		if verr := r.verdict(d); verr != nil {
			return verr
		}
	}
	if errors.Is(err, errAbsent) {
		return engine.Errorf(engine.VersionNotStaged, "let Secrets Manager repeat the rotation from createSecret",
			"the pending version %s has no value", r.event.ClientRequestToken)
	}
	return err
}

// choose finds a version's engine and settings, and returns the request for it.
func (r *run) choose(v version) (*engine.Request, error) {
	o := option{tags: r.described.tags, getenv: r.cfg.Getenv}
	name, _ := v.value.Text("engine")
	name = cmp.Or(name, o.text("engine"))
	if r.engine = r.cfg.engine(name, v.value); r.engine == nil {
		const advice = "set the secret's field engine or, for a value without fields, " +
			"the tag rotator:engine or the variable ENGINE"
		if name == "" {
			return nil, engine.Errorf(engine.InvalidSecret, advice, "the secret names no engine; %s",
				cmp.Or(v.value.Fault(), "it has no field engine"))
		}
		return nil, engine.Errorf(engine.InvalidSecret, r.cfg.nearest("the secret's field engine", name),
			"the engine %q is not known", name)
	}
	k := r.engine.Kind()
	if _, own := v.value.Text("engine"); k.NoTarget && !own {
		other := r.cfg.engine("", v.value)
		if v.value.JSON("host") != nil || other != nil && other.Kind().UserField != "" {
			return nil, engine.Errorf(engine.InvalidSecret, "name the engine in the secret's field engine",
				"the secret has a credential for a target, but the engine %s, set by a tag or variable, would change only "+
					"the value", k.Names[0])
		}
	}
	if s := o.setting(k.FieldsOption); k.FieldsOption != "" && s != "" {
		k.SecretFields = strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
	}
	r.kind = k
	r.seen.Engine = k.Names[0]
	var err error
	if r.settings, err = o.settings(k.Passwords); err != nil {
		return nil, err
	}
	req := &engine.Request{Secret: r.secret.arn, Version: r.event.ClientRequestToken, Current: v.value, Base: v.id,
		Accepted: v.value, SecretFields: k.SecretFields, Setting: o.setting, Report: r.say,
		Passwords: r.settings.passwords, UserLimit: r.settings.userLimit,
		Strategy: r.settings.strategy, Adopt: r.settings.adopt}
	req.SuperuserChanges = superuserARN(k, v.value) != ""
	if req.Strategy == "" { // as in AWS's multi-user secrets
		req.Strategy = engine.SingleUser
		if req.SuperuserChanges && k.Alternates() {
			req.Strategy = engine.AlternatingUsers
		}
	}
	alternating := req.Strategy == engine.AlternatingUsers
	if r.seen.Strategy == "" { // else the log already has the names
		r.log = r.log.With("engine", k.Names[0], "strategy", req.Strategy)
	}
	r.seen.Strategy = req.Strategy
	master, _ := v.value.Text("masterarn")
	switch {
	case k.Superusers() == "" && master != "":
		return req, engine.Errorf(engine.InvalidSecret, "remove the field masterarn from the secret",
			"the engine %s does not support a superuser secret", k.Names[0])
	case alternating && !k.Alternates():
		return req, engine.Errorf(engine.InvalidSecret, adviceStrategy, "the engine %s cannot alternate users",
			k.Names[0])
	case alternating && !req.SuperuserChanges:
		return req, engine.Errorf(engine.InvalidSecret,
			"set the field "+k.Superusers()+" to the superuser secret's ARN",
			"this rotation needs a superuser secret, but the value does not name one")
	}
	return req, nil
}
