package operator

import (
	"context"
	"errors"
	"fmt"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

const awsCurrent, awsPending = "AWSCURRENT", "AWSPENDING"

// Diagnosis is the result of Diagnose, and the recovery that follows from it.
type Diagnosis struct {
	Current string `json:"current"`           // the ID of the version labeled AWSCURRENT
	Pending string `json:"pending,omitempty"` // the ID of the version labeled AWSPENDING, or ""
	// Opens names the credential that opens the target, such as AWSPREVIOUS, or is "". Version is its
	// version, or "" for the superuser's credential.
	Opens   string `json:"opens,omitempty"`
	Version string `json:"version,omitempty"`
	// CurrentRefused is set if the target refuses AWSCURRENT: clients cannot log in.
	CurrentRefused bool   `json:"current_refused,omitempty"`
	Action         string `json:"action,omitempty"` // what Recover would do or has done, or ""
	Done           bool   `json:"done"`             // Action was done

	Trouble *engine.Error `json:"-"` // why nothing can be done, or nil

	steps      []func(ctx context.Context) error // they carry out Action
	past       string                            // Action in the past tense
	as         rotation.Credential               // the accepted one
	inspection *rotation.Inspection
}

// will adds a step to the recovery. The verb ends with e.
func (d *Diagnosis) will(verb, rest string, do func(ctx context.Context) error) {
	if d.Action != "" {
		d.Action, d.past = d.Action+"; ", d.past+"; "
	}
	d.Action, d.past = d.Action+verb+" "+rest, d.past+verb+"d "+rest
	d.steps = append(d.steps, do)
}

// Diagnose finds the credential of the secret that opens the target, in the order of the ladder, and changes nothing.
//
// If AWSCURRENT works, the recovery removes an abandoned AWSPENDING. If another version works, the recovery makes it
// AWSCURRENT, because clients use that. If only the superuser's credential works, the recovery sets AWSCURRENT's
// credential at the target again.
func Diagnose(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	i, err := r.Inspect(ctx, arn)
	d := Diagnosis{Current: i.Current, Pending: i.Pending, inspection: i}
	if err != nil {
		return d, err
	}
	if d.as, err = i.Find(ctx); err != nil && !errors.Is(err, engine.LoginRefused) {
		return d, err
	}
	d.Opens, d.Version = d.as.Name, d.as.Version
	d.CurrentRefused = d.Opens != awsCurrent
	err = nil // LoginRefused is part of the diagnosis
	switch {
	case !d.CurrentRefused:
		err = d.currentWorks(ctx)
	case d.Opens == "" || d.as.Superuser:
		d.superuserWorks(ctx)
	default:
		err = d.otherWorks(ctx)
	}
	return d, err
}

// currentWorks decides what to do with AWSPENDING. A target can accept a user's old credential for a while, so the
// pending one counts as abandoned only if the target refuses it.
func (d *Diagnosis) currentWorks(ctx context.Context) error {
	if d.Pending == "" {
		return nil
	}
	opens, err := d.inspection.PendingOpens(ctx)
	if err != nil {
		return err
	}
	if opens {
		d.Opens, d.Version = "AWSPENDING", d.Pending
		d.promote(", which also opens the target: that ends the rotation")
		return nil
	}
	d.will("remove", "AWSPENDING from version "+d.Pending+": the next rotation can start", d.abandon)
	return nil
}

// superuserWorks decides what to do if no version of the secret opens the target.
func (d *Diagnosis) superuserWorks(ctx context.Context) {
	const none = "no version of the secret opens the target"
	i := d.inspection
	switch {
	case i.Superuser == "":
		d.Trouble = engine.Errorf(engine.LoginRefused, "set the user's password at the target to the one in AWSCURRENT",
			none+", and the secret names no superuser secret")
		return
	case !i.MayRecover:
		// Anyone who may write the secret can name any user in it.
		d.Trouble = engine.Errorf(engine.LoginRefused,
			"check that the user belongs to this secret, then reset it with `rotatorctl recover --by-superuser SECRET --yes`",
			none+" for the user %q", i.User)
		return
	}
	var err error
	if d.as, err = i.FindSuperuser(ctx); err != nil {
		d.Trouble, _ = errors.AsType[*engine.Error](err) // like every error of an inspection
		return
	}
	d.Opens, d.Version = "superuser", ""
	d.will("restore", fmt.Sprintf("AWSCURRENT's credential for the user %q at %q, as the superuser", i.User, d.as.Host()),
		func(ctx context.Context) error { return i.Reset(ctx, d.as) })
	d.alsoRelease()
}

// otherWorks plans to make the version that opens the target AWSCURRENT, unless an edit would be lost.
func (d *Diagnosis) otherWorks(ctx context.Context) error {
	keeps, err := d.inspection.KeepsEdits(ctx, d.Version)
	if err != nil {
		return err
	}
	if !keeps {
		d.Trouble = engine.Errorf(engine.SecretEdited, "put the working credential into the current value by hand",
			"version %s opens the target, but AWSCURRENT was edited since, and the edit would be lost", d.Version)
		return nil
	}
	d.promote(", which opens the target")
	if d.Pending != d.Version {
		d.alsoRelease()
	}
	return nil
}

func (d *Diagnosis) promote(why string) {
	d.will("move", "AWSCURRENT from version "+d.Current+" to version "+d.Version+why,
		func(ctx context.Context) error { return d.inspection.Move(ctx, awsCurrent, d.Version, d.Current) })
}

func (d *Diagnosis) alsoRelease() {
	if d.Pending != "" {
		d.will("remove", "AWSPENDING from version "+d.Pending, d.release)
	}
}

func (d *Diagnosis) release(ctx context.Context) error {
	if err := d.inspection.RevokePending(ctx, d.as); err != nil {
		return err
	}
	return d.inspection.Move(ctx, awsPending, "", d.Pending)
}

// abandon is release while AWSCURRENT works. A rotation under way can have changed the target since AWSCURRENT was
// tried. In that case AWSPENDING goes back to its version, which opens the target.
func (d *Diagnosis) abandon(ctx context.Context) error {
	if err := d.release(ctx); err != nil {
		return err
	}
	if opens, err := d.inspection.CurrentOpens(ctx); err != nil || opens {
		return nil
	}
	if err := d.inspection.Move(ctx, awsPending, d.Pending, ""); err != nil {
		return err
	}
	return engine.Errorf(engine.LoginRefused, "wait until the rotation under way has ended, and try again",
		"the target now refuses AWSCURRENT; AWSPENDING stays on version %s", d.Pending)
}

// Recover calls Diagnose and carries out the recovery. It is safe to repeat. AWSCURRENT moves only to a version that
// the target accepted.
func Recover(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	d, err := Diagnose(ctx, r, arn)
	if err != nil {
		return d, err
	}
	if d.Trouble != nil {
		return d, d.Trouble
	}
	for _, do := range d.steps {
		if err := do(ctx); err != nil {
			return d, err
		}
	}
	d.Action, d.Done = d.past, len(d.steps) > 0
	return d, nil
}

// Adopt returns the changes that take over the secret's two users, one line each, and applies them if
// apply is set. The secret must hold a credential of each user that the target accepts.
func Adopt(ctx context.Context, r *rotation.Rotator, arn string, apply bool) ([]string, error) {
	i, err := r.Inspect(ctx, arn)
	if err != nil {
		return nil, err
	}
	a, ok := i.Engine.(engine.Adopter)
	if !ok || i.Request.Strategy != engine.AlternatingUsers {
		return nil, engine.Errorf(engine.InvalidSecret, "rotate the secret",
			"nothing to take over: the engine %s with the strategy %s needs only the credentials",
			i.Kind.Names[0], i.Request.Strategy)
	}
	return i.Adopt(ctx, a, apply)
}
