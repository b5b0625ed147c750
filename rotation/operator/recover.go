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
	Current string `json:"current"`           // the id of the version labeled AWSCURRENT
	Pending string `json:"pending,omitempty"` // the id of the version labeled AWSPENDING, or ""
	// Opens names the credential that opens the target, such as AWSPREVIOUS, and Version is its
	// version; both are "" where none does, and Version for the superuser's.
	Opens   string `json:"opens,omitempty"`
	Version string `json:"version,omitempty"`
	// CurrentRefused means that the target refuses AWSCURRENT: clients cannot log in.
	CurrentRefused bool   `json:"current_refused,omitempty"`
	Action         string `json:"action,omitempty"` // what Recover would do, or has done; "" for nothing
	Done           bool   `json:"done"`             // it was done

	Trouble *engine.Error `json:"-"` // why nothing can be done, where that is so

	promote    bool // move AWSCURRENT to Version
	release    bool // take AWSPENDING from Pending
	reset      bool // give the target AWSCURRENT's credential, as the superuser
	past       string
	as         rotation.Credential
	inspection *rotation.Inspection
}

// will adds to what Recover would do, as one text now and another when it is done.
func (d *Diagnosis) will(verb, past, rest string) {
	separator := ""
	if d.Action != "" {
		separator = "; "
	}
	d.Action += separator + verb + " " + rest
	d.past += separator + past + " " + rest
}

// Diagnose finds out which credential of the secret opens the target, asking in the order of the
// ladder, and changes nothing.
//
// Where AWSCURRENT works, an AWSPENDING that was left behind is to be removed. Where another
// version does, that is to become AWSCURRENT, as it is what clients need. Where only the
// superuser's does, the target is to be given AWSCURRENT's credential again.
func Diagnose(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	i, err := r.Inspect(ctx, arn)
	d := Diagnosis{Current: i.Current, Pending: i.Pending, inspection: i}
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
		d.will("move", "moved", "AWSCURRENT from version "+d.Current+" to version "+d.Pending+
			", which opens the target as well: that ends the rotation")
		return nil
	}
	d.release = true
	d.will("remove", "removed", "AWSPENDING from version "+d.Pending+": the next rotation can start")
	return nil
}

// superuserWorks is what follows where no version of the secret opens the target.
func (d *Diagnosis) superuserWorks(ctx context.Context) {
	const none = "no version of the secret opens the target"
	i := d.inspection
	switch {
	case i.Superuser == "":
		d.Trouble = engine.Errorf(engine.LoginRefused, "set the user's password at the target to the one in AWSCURRENT",
			none+", and it names no superuser secret")
		return
	case !i.MayRecover:
		// A writer of the secret can name any user in it.
		d.Trouble = engine.Errorf(engine.LoginRefused,
			"if the user is this secret's own, give it AWSCURRENT's password again with `rotatorctl recover --by-superuser`",
			none+" for the user %q", i.User)
		return
	}
	var err error
	if d.as, err = i.FindSuperuser(ctx); err != nil {
		d.Trouble, _ = errors.AsType[*engine.Error](err) // as every error of an inspection
		return
	}
	d.Opens, d.Version, d.reset = "superuser", "", true
	d.will("give", "gave",
		fmt.Sprintf("the user %q at %q AWSCURRENT's credential again, as the superuser", i.User, d.as.Host))
	d.alsoRelease()
}

// otherWorks makes the version that opens the target AWSCURRENT, unless that loses an edit.
func (d *Diagnosis) otherWorks(ctx context.Context) error {
	keeps, err := d.inspection.KeepsEdits(ctx, d.Version)
	if err != nil {
		return err
	}
	if !keeps {
		d.Trouble = engine.Errorf(engine.SecretEdited, "put the working credential into the current value by hand",
			"version %s opens the target, but AWSCURRENT was edited since and its edit would be lost", d.Version)
		return nil
	}
	d.promote = true
	d.will("move", "moved", "AWSCURRENT from version "+d.Current+" to version "+d.Version+", which opens the target")
	if d.Pending != d.Version {
		d.alsoRelease()
	}
	return nil
}

func (d *Diagnosis) alsoRelease() {
	if d.Pending != "" {
		d.release = true
		d.will("remove", "removed", "AWSPENDING from version "+d.Pending)
	}
}

// Recover does what a fresh Diagnose says, and returns that. It can be repeated. It never takes a
// label from a version without giving it to one that the target accepted.
func Recover(ctx context.Context, r *rotation.Rotator, arn string) (Diagnosis, error) {
	d, err := Diagnose(ctx, r, arn)
	if err != nil {
		return d, err
	}
	if d.Trouble != nil {
		return d, d.Trouble
	}
	if err := d.do(ctx); err != nil {
		return d, err
	}
	d.Action, d.Done = d.past, d.Action != ""
	return d, nil
}

func (d *Diagnosis) do(ctx context.Context) error {
	i := d.inspection
	if d.reset {
		if err := i.Reset(ctx, d.as); err != nil {
			return err
		}
	}
	if d.promote {
		if err := i.Move(ctx, awsCurrent, d.Version, d.Current); err != nil {
			return err
		}
	}
	if !d.release {
		return nil
	}
	if err := i.RevokePending(ctx, d.as); err != nil {
		return err
	}
	if err := i.Move(ctx, awsPending, "", d.Pending); err != nil || d.promote || d.reset {
		return err
	}
	// A rotation under way can have changed the target since AWSCURRENT was tried: then the label
	// goes back, because it is on the version that works.
	if opens, err := i.CurrentOpens(ctx); err == nil && !opens {
		if err := i.Move(ctx, awsPending, d.Pending, ""); err != nil {
			return err
		}
		return engine.Errorf(engine.LoginRefused, "wait until the rotation that is under way has ended, and try again",
			"the target has changed meanwhile and refuses AWSCURRENT; AWSPENDING stays on version %s", d.Pending)
	}
	return nil
}
