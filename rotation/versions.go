package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// current reads the version labeled AWSCURRENT. It returns errDone if that is the event's version:
// another call has finished this rotation since the prologue.
func (r *run) current(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsCurrent)
	if err == nil && v.id == r.event.ClientRequestToken {
		return v, errDone
	}
	if errors.Is(err, errAbsent) {
		return v, engine.Errorf(engine.InvalidSecret, "store a first value in the secret",
			"the secret %s has no current value", r.secret.arn)
	}
	if err == nil {
		r.seen.Age = time.Since(v.created)
	}
	return v, err
}

// latest is current, but waits until it agrees with the labels in DescribeSecret. Reads of Secrets Manager may briefly
// lag behind writes, and a value made from the previous version would later count as outdated.
func (r *run) latest(ctx context.Context, d description) (version, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		v, err := r.current(ctx)
		if err != nil || v.id == d.holder(awsCurrent) || pause > 2*time.Second || sleep(ctx, pause) != nil {
			return v, err
		}
		if d, err = r.secret.describe(ctx); err != nil {
			return v, err
		}
	}
}

// previous reads the version labeled AWSPREVIOUS. It also returns errAbsent if that version cannot be decrypted,
// because the secret may have had another key then.
func (r *run) previous(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsPrevious)
	if undecipherable(err) {
		r.log.Warn("version skipped: it cannot be decrypted", "credential", awsPrevious)
		return v, errAbsent
	}
	return v, err
}

// readPrevious reads the version labeled AWSPREVIOUS into the request of a Minter.
func (r *run) readPrevious(ctx context.Context, req *engine.Request) error {
	if _, ok := r.engine.(engine.Minter); !ok {
		return nil
	}
	v, err := r.previous(ctx)
	if errors.Is(err, errAbsent) {
		return nil
	}
	req.Previous = v.value
	return err
}

// user returns the user that a value names.
func (r *run) user(v engine.Value) string {
	user, _ := v.Text(r.kind.UserField)
	return user
}
