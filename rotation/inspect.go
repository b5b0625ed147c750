package rotation

import (
	"context"
	"errors"
	"iter"
	"time"

	"example.com/rotator/rotation/engine"
)

// Inspection examines one secret outside a rotation, for operator tools. Every error is an *engine.Error whose text
// contains no secret values.
type Inspection struct {
	Enabled, MayRecover bool // whether rotation and RECOVER_BY_SUPERUSER are enabled
	// Current and Pending are the ids of the versions labeled AWSCURRENT and AWSPENDING. Pending is "" if no version
	// has the label, or if both are the same version.
	Current, Pending string
	Deletion         time.Time       // when the secret will be deleted, if that is scheduled
	Key              string          // the secret's KMS key, as in DescribeSecret
	Engine           engine.Engine   // nil if AWSCURRENT could not be read or names no engine
	Kind             engine.Kind     // the engine's, for this secret
	Request          *engine.Request // for the engine; Find adds the pending version
	User, Superuser  string          // the user, and the ARN or name of the superuser secret, that AWSCURRENT names
	Server           string          // product and version of the server, if Rehearse has determined them
	Topology         Topology        // the rotator's

	run              *run
	current, pending version
	next             engine.Value // what a rotation would set
}

// Kinds describes the engines of the rotator.
func (r *Rotator) Kinds() []engine.Kind {
	var kinds []engine.Kind
	for _, e := range r.cfg.Engines {
		kinds = append(kinds, e.Kind())
	}
	return kinds
}

// Inspect reads the secret's state and AWSCURRENT. On error, the inspection holds what was read so far.
func (r *Rotator) Inspect(ctx context.Context, arn string) (i *Inspection, err error) {
	run := newRun(r.cfg, Event{SecretID: arn}, r.cfg.Log.With("secret", arn))
	i = &Inspection{Topology: r.cfg.Topology, run: run}
	defer run.leave(ctx, "", &err)
	if run.secret, err = run.open(ctx, arn); err != nil {
		return i, err
	}
	if run.described, err = run.secret.describe(ctx); err != nil {
		return i, err
	}
	d := run.described
	i.Enabled, i.Key, i.Deletion = d.enabled, d.key, d.deletion
	i.Current, i.Pending = d.holder(awsCurrent), d.holder(awsPending)
	if i.Pending == i.Current {
		i.Pending = ""
	}
	if !d.deletion.IsZero() {
		return i, engine.Errorf(engine.InvalidSecret,
			"restore it with `aws secretsmanager restore-secret --secret-id SECRET` if it is still needed",
			"the secret %s will be deleted at %s", arn, d.deletion.UTC().Format(time.RFC3339))
	}
	if d.manager != "" {
		return i, run.managed(d)
	}
	if i.current, err = run.current(ctx); err != nil {
		return i, err
	}
	i.Request, err = run.choose(i.current)
	i.Engine, i.Kind, i.MayRecover = run.engine, run.kind, run.settings.recoverBySuperuser
	i.User, i.Superuser = run.user(i.current.value), superuserARN(run.kind, i.current.value)
	return i, err
}

// CurrentRefused reports whether the target refused AWSCURRENT when it was tried.
func (i *Inspection) CurrentRefused() bool { return i.run.seen.CurrentRefused }

// Prepare has the engine generate the value after AWSCURRENT, which validates the secret's format and the settings.
func (i *Inspection) Prepare(ctx context.Context) (err error) {
	defer i.run.leave(ctx, "", &err)
	i.next, err = i.run.next(ctx, i.Request)
	return err
}

// CheckSuperuser reads the superuser's credential, if a superuser changes the secret's.
func (i *Inspection) CheckSuperuser(ctx context.Context) (err error) {
	defer i.run.leave(ctx, "", &err)
	if !i.Request.SuperuserChanges {
		return nil
	}
	for _, err := range i.run.superusers(ctx, i.Request) {
		return err
	}
	return nil
}

// rehearse calls do at the target with a pending value that is not stored.
func (i *Inspection) rehearse(ctx context.Context, req *engine.Request, do action) (opened Credential, err error) {
	if req.Pending.IsZero() {
		if req.Pending, err = i.run.next(ctx, req); err != nil {
			return Credential{}, err
		}
	}
	i.run.event.Step = CreateSecret
	return i.run.act(ctx, req, do)
}

// Rehearse checks whether a rotation would succeed, without changing anything: it runs createSecret but does not store
// the value, and has none issued. It returns the label or version that the target accepted.
func (i *Inspection) Rehearse(ctx context.Context) (opened string, err error) {
	defer i.run.leave(ctx, "", &err)
	req := *i.Request
	req.Answered = func(server string) { i.Server = server }
	req.Pending = i.next
	if err := i.run.readPrevious(ctx, &req); err != nil {
		return "", err
	}
	c, err := i.rehearse(ctx, &req, i.run.dryRun)
	return c.Name, err
}

// RehearsePending checks whether the rotation under way would succeed: whether AWSPENDING has a value, whether the
// target already accepts it and, if not, whether it could be set.
func (i *Inspection) RehearsePending(ctx context.Context) (stored, opens bool, err error) {
	defer i.run.leave(ctx, "", &err)
	if i.pending, err = i.run.secret.get(ctx, i.Pending, ""); err != nil {
		if errors.Is(err, errAbsent) {
			err = nil
		}
		return false, false, err
	}
	req := *i.Request
	req.Version, req.Pending = i.Pending, i.pending.value
	i.run.event.ClientRequestToken = i.Pending
	if i.Kind.NoTarget {
		return true, true, i.run.checkMadeFromCurrent(ctx, &req, i.current, i.pending)
	}
	err = i.run.tries(ctx, &req, req.Pending)
	_, minted := i.Engine.(engine.Minter)
	if opens = err == nil; opens || minted {
		return true, opens, err
	}
	if err = i.run.checkMadeFromCurrent(ctx, &req, i.current, i.pending); err == nil {
		_, err = i.run.act(ctx, &req, i.run.genuine(i.run.dryRun))
	}
	return true, false, err
}

// Find returns the first credential that the target accepts, in the order of the ladder. The error has the cause
// LoginRefused if the target refuses them all.
func (i *Inspection) Find(ctx context.Context) (_ Credential, err error) {
	defer i.run.leave(ctx, "", &err)
	if i.Pending != "" {
		i.pending, err = i.run.secret.get(ctx, i.Pending, "")
		if err != nil && !errors.Is(err, errAbsent) {
			return Credential{}, err
		}
		i.Request.Pending, i.Request.Version = i.pending.value, i.Pending
	}
	return i.find(ctx, i.run.own(ctx, i.Request, i.User, i.run.user(i.pending.value)), i.Request)
}

// FindSuperuser returns the superuser's credential that the target accepts.
func (i *Inspection) FindSuperuser(ctx context.Context) (_ Credential, err error) {
	defer i.run.leave(ctx, "", &err)
	// The superuser does not need the right to change its own credential.
	probe := *i.Request
	probe.Strategy, probe.SuperuserChanges = engine.AlternatingUsers, true
	return i.find(ctx, i.run.superusers(ctx, i.Request), &probe)
}

func (i *Inspection) find(ctx context.Context, ladder iter.Seq2[Credential, error],
	req *engine.Request) (Credential, error) {
	return i.run.climb(ctx, req, ladder,
		func(ctx context.Context, as *engine.Request) error { return i.Engine.Verify(ctx, req, as.Login) })
}

// CurrentOpens reports whether the target accepts AWSCURRENT.
func (i *Inspection) CurrentOpens(ctx context.Context) (opens bool, err error) {
	defer i.run.leave(ctx, "", &err)
	return i.opens(ctx, i.Request.Current)
}

// PendingOpens reports whether the target accepts a single user's pending value that was made from AWSCURRENT. Call
// Find first.
func (i *Inspection) PendingOpens(ctx context.Context) (opens bool, err error) {
	defer i.run.leave(ctx, "", &err)
	if i.Request.Strategy != engine.SingleUser || i.pending.value.IsZero() ||
		i.run.checkMadeFromCurrent(ctx, i.Request, i.current, i.pending) != nil {
		return false, nil
	}
	return i.opens(ctx, i.pending.value)
}

func (i *Inspection) opens(ctx context.Context, v engine.Value) (bool, error) {
	err := i.run.tries(ctx, i.Request, v)
	if errors.Is(err, engine.LoginRefused) {
		return false, nil
	}
	return err == nil, err
}

// KeepsEdits reports whether AWSCURRENT differs from a version only in its credential. If so, no edit is lost when that
// version becomes AWSCURRENT.
func (i *Inspection) KeepsEdits(ctx context.Context, version string) (keeps bool, err error) {
	defer i.run.leave(ctx, "", &err)
	v, err := i.run.secret.get(ctx, version, "")
	return err == nil && i.run.checkOnlyCredentialDiffers(i.Request, v.value) == nil, err
}

// Move moves a staging label between versions; "" means no version.
func (i *Inspection) Move(ctx context.Context, label, to, from string) (err error) {
	defer i.run.leave(ctx, "", &err)
	return i.run.secret.move(ctx, label, to, from)
}

// RevokePending revokes the pending credential if the target issued it. It acts as an accepted credential.
func (i *Inspection) RevokePending(ctx context.Context, as Credential) (err error) {
	defer i.run.leave(ctx, "", &err)
	m, ok := i.Engine.(engine.Minter)
	if !ok || i.pending.value.IsZero() {
		return nil
	}
	return i.run.exchange(ctx,
		func(ctx context.Context) error { return m.Revoke(ctx, i.Request.As(as.value, as.Superuser)) })
}

// Reset sets AWSCURRENT's credential at the target, acting as a superuser.
func (i *Inspection) Reset(ctx context.Context, as Credential) (err error) {
	defer i.run.leave(ctx, "", &err)
	req := *i.Request
	req.Strategy = engine.SingleUser // only the user's own credential is set
	req.Version, req.Pending = i.Current, i.Request.Current
	return i.run.exchange(ctx, func(ctx context.Context) error {
		if err := i.Engine.Set(ctx, req.As(as.value, as.Superuser)); err != nil {
			return err
		}
		return i.Engine.Verify(ctx, &req, req.Current)
	})
}

// SuperuserSecret describes the superuser secret that AWSCURRENT names.
type SuperuserSecret struct {
	ARN, Key string // as in DescribeSecret
	Tags     map[string]string
	Host     string // that the superuser secret names, or ""
	value    engine.Value
}

// ReadSuperuser reads the superuser secret.
func (i *Inspection) ReadSuperuser(ctx context.Context) (s SuperuserSecret, err error) {
	defer i.run.leave(ctx, "", &err)
	secret, err := i.run.openSuperuser(ctx, i.Superuser)
	if err != nil {
		return s, err
	}
	v, err := secret.get(ctx, "", awsCurrent)
	if err != nil {
		return s, explainAbsent(err, i.Superuser)
	}
	d, err := secret.describe(ctx)
	host, _ := v.value.Text("host")
	return SuperuserSecret{v.arn, d.key, d.tags, host, v.value}, err
}

// Adopt calls the engine's Adopt as the superuser, once both users are proved to belong to the secret.
func (i *Inspection) Adopt(ctx context.Context, a engine.Adopter, apply bool) (plan []string, err error) {
	defer i.run.leave(ctx, "", &err)
	req := *i.Request
	_, err = i.rehearse(ctx, &req, func(ctx context.Context, req *engine.Request) (err error) {
		plan, err = a.Adopt(ctx, req, apply)
		return err
	})
	return plan, err
}

// Needs asks the engine what a rotation needs at the target and adds it to n. The superuser as logs in or, if as is
// nil, the user itself. An engine that is not a Needer adds nothing.
func (i *Inspection) Needs(ctx context.Context, n *engine.Needs, as *SuperuserSecret) (err error) {
	defer i.run.leave(ctx, "", &err)
	req := i.Request.As(i.Request.Current, false)
	if as != nil {
		req = i.Request.As(as.value, true)
	}
	n.Login, n.Superuser = i.run.user(req.Login), req.Superuser
	// An engine that refuses every secret fails here, even if it is not a Needer.
	if req.Pending, err = i.run.next(ctx, req); err != nil {
		return err
	}
	needer, ok := i.Engine.(engine.Needer)
	switch {
	case i.Kind.NoTarget:
		n.Note = "none: there is no target"
	case !ok:
		n.Note = "this engine does not report what the login needs"
	default:
		err := i.run.exchange(ctx, func(ctx context.Context) error { return needer.Needs(ctx, req, n) })
		if err != nil {
			n.Unread = i.run.report(ctx, "", err)
			n.Note = "could not determine what the login needs: " + n.Unread.Error()
		}
	}
	return nil
}
