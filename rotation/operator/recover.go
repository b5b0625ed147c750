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

	promote    bool   // move AWSCURRENT to Version
	release    bool   // remove AWSPENDING from Pending
	reset      bool   // set AWSCURRENT's credential at the target, as the superuser
	past       string // Action in the past tense
	as         rotation.Credential
	inspection *rotation.Inspection
}

// will adds a step to the recovery. past is the verb in the past tense.
func (d *Diagnosis) will(verb, past, rest string) {
	separator := ""
	if d.Action != "" {
		separator = "; "
	}
	d.Action += separator + verb + " " + rest
	d.past += separator + past + " " + rest
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

// currentWorks decides what to do with AWSPENDING. A target can accept a user's old credential for a while, so the
// pending one counts as abandoned only if the target refuses it.
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
			", which also opens the target: that ends the rotation")
		return nil
	}
	d.release = true
	d.will("remove", "removed", "AWSPENDING from version "+d.Pending+": the next rotation can start")
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
			"check that the user belongs to this secret, then reset it with `rotatorctl recover --by-superuser`",
			none+" for the user %q", i.User)
		return
	}
	var err error
	if d.as, err = i.FindSuperuser(ctx); err != nil {
		d.Trouble, _ = errors.AsType[*engine.Error](err) // like every error of an inspection
		return
	}
	d.Opens, d.Version, d.reset = "superuser", "", true
	d.will("give", "gave",
		fmt.Sprintf("the user %q at %q AWSCURRENT's credential again, as the superuser", i.User, d.as.Host()))
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
	// A rotation under way can have changed the target since AWSCURRENT was tried. In that case AWSPENDING goes back to
	// its version, which opens the target.
	if opens, err := i.CurrentOpens(ctx); err == nil && !opens {
		if err := i.Move(ctx, awsPending, d.Pending, ""); err != nil {
			return err
		}
		return engine.Errorf(engine.LoginRefused, "wait until the rotation under way has ended, and try again",
			"the target now refuses AWSCURRENT; AWSPENDING stays on version %s", d.Pending)
	}
	return nil
}
