package operator

import (
	"context"
	"errors"
	"fmt"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

const awsCurrent, awsPending = "AWSCURRENT", "AWSPENDING"

// Diagnosis is what Diagnose finds, and what Recover would do about it.
type Diagnosis struct {
	Secret  string `json:"secret"`            // the ARN
	Current string `json:"current"`           // the id of the version labeled AWSCURRENT
	Pending string `json:"pending,omitempty"` // that of the one labeled AWSPENDING, or ""
	// Opens names the credential that opens the target, such as AWSPREVIOUS, and Version is its
	// version; both are "" where none does, and Version for the superuser's.
	Opens   string `json:"opens,omitempty"`
	Version string `json:"version,omitempty"`
	// CurrentRefused means that the target refuses AWSCURRENT: clients cannot log in.
	CurrentRefused bool   `json:"current_refused,omitempty"`
	Action         string `json:"action,omitempty"`  // what Recover would do, in words; "" for nothing
	Trouble        string `json:"trouble,omitempty"` // why nothing can be done, where that is so

	promote    bool // move AWSCURRENT to Version
	release    bool // take AWSPENDING from Pending
	reset      bool // give the target AWSCURRENT's credential, as the superuser
	as         rotation.Credential
	inspection *rotation.Inspection
}

// Diagnose finds out which credential of the secret opens the target, asking in the order of the
// ladder, and changes nothing.
//
// Where AWSCURRENT works, an AWSPENDING that was left behind is to be removed. Where another
// version does, that is to become AWSCURRENT, as it is what clients need. Where only the
// superuser's does, the target is to be given AWSCURRENT's credential again.
func Diagnose(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	i, err := r.Inspect(ctx, arn)
	d := Diagnosis{Secret: arn, Current: i.Current, Pending: i.Pending, inspection: i}
	if err != nil {
		return d, err
	}
	found, err := i.Find(ctx)
	if err != nil && !errors.Is(err, engine.LoginRefused) {
		return d, err
	}
	d.Opens, d.Version, d.as = found.Name, found.Version, found
	d.CurrentRefused = d.Opens != awsCurrent
	switch {
	case !d.CurrentRefused:
		return d, d.currentWorks(ctx)
	case d.Opens == "" || found.Superuser:
		d.superuserWorks(ctx)
		return d, nil
	}
	return d, d.otherWorks(ctx)
}

// currentWorks decides about an AWSPENDING that was left behind. A target can accept a user's old
// credential for a while, so the pending one is abandoned only where it is refused.
func (d *Diagnosis) currentWorks(ctx context.Context) (err error) {
	if d.Pending == "" {
		return nil
	}
	if d.promote, err = d.inspection.PendingOpens(ctx); err != nil {
		return err
	}
	if d.promote {
		d.Opens, d.Version = "AWSPENDING", d.Pending
		d.Action = "move AWSCURRENT from version " + d.Current + " to version " + d.Pending + ", which opens the target as well, and so end the rotation"
		return nil
	}
	d.release = true
	d.Action = "remove AWSPENDING from version " + d.Pending + ", so that the next rotation can start"
	return nil
}

// superuserWorks is what follows where no version of the secret opens the target.
func (d *Diagnosis) superuserWorks(ctx context.Context) {
	const none = "no version of the secret opens the target"
	i, err := d.inspection, error(nil)
	switch {
	case i.Superuser == "":
		err = engine.Errorf(engine.LoginRefused, "set the user's password at the target to the one in AWSCURRENT", none+", and it names no superuser secret")
	case !i.MayRecover:
		// A writer of the secret can name any user in it.
		err = engine.Errorf(engine.LoginRefused, "if the user is this secret's own, `rotatorctl recover --by-superuser` gives it AWSCURRENT's password again", none+" for the user %q", i.User)
	default:
		d.as, err = i.FindSuperuser(ctx)
	}
	if err != nil {
		d.Trouble = err.Error()
		return
	}
	d.Opens, d.Version, d.reset = "superuser", "", true
	d.Action = fmt.Sprintf("give the user %q at %q AWSCURRENT's credential again, as the superuser", i.User, d.as.Host)
	d.alsoRelease()
}

// otherWorks makes the version that opens the target AWSCURRENT, unless that loses an edit.
func (d *Diagnosis) otherWorks(ctx context.Context) error {
	keeps, err := d.inspection.KeepsEdits(ctx, d.Version)
	if err != nil {
		return err
	}
	if !keeps {
		d.Trouble = "version " + d.Version + " opens the target, but AWSCURRENT was edited since and its edit would be lost: put the working credential into the current value by hand"
		return nil
	}
	d.promote = true
	d.Action = "move AWSCURRENT from version " + d.Current + " to version " + d.Version + ", which opens the target"
	if d.Pending != d.Version {
		d.alsoRelease()
	}
	return nil
}

func (d *Diagnosis) alsoRelease() {
	if d.Pending != "" {
		d.release = true
		d.Action += "; remove AWSPENDING from version " + d.Pending
	}
}

// Recover does what a fresh Diagnose says, and returns that. It can be repeated. It never takes a
// label from a version without giving it to one that the target accepted.
func Recover(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	d, err := Diagnose(ctx, r, arn)
	i := d.inspection
	if err != nil {
		return d, err
	}
	if d.Trouble != "" {
		return d, engine.Errorf(engine.LoginRefused, "see the engine's page", "%s", d.Trouble)
	}
	if d.reset {
		if err := i.Reset(ctx, d.as); err != nil {
			return d, err
		}
	}
	if d.promote {
		if err := i.Move(ctx, awsCurrent, d.Version, d.Current); err != nil {
			return d, err
		}
	}
	if !d.release {
		return d, nil
	}
	if err := i.RevokePending(ctx, d.as); err != nil {
		return d, err
	}
	if err := i.Move(ctx, awsPending, "", d.Pending); err != nil || d.promote || d.reset {
		return d, err
	}
	// A rotation under way can have changed the target since AWSCURRENT was tried: then the label
	// goes back, because it is on the version that works.
	if opens, err := i.CurrentOpens(ctx); err == nil && !opens {
		if err := i.Move(ctx, awsPending, d.Pending, ""); err != nil {
			return d, err
		}
		return d, engine.Errorf(engine.LoginRefused, "wait until the rotation that is under way has ended, and try again", "the target has changed meanwhile and refuses AWSCURRENT; AWSPENDING stays on version %s", d.Pending)
	}
	return d, nil
}
