package rotation

import (
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

// current reads the version labelled AWSCURRENT. It returns errDone where that is the event's own:
// another call of this rotation has ended it since the prologue.
func (r *run) current(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsCurrent)
	if err == nil && v.id == r.event.ClientRequestToken {
		return v, errDone
	}
	if errors.Is(err, errAbsent) {
		return v, engine.Errorf(engine.InvalidSecret, "put a first value into the secret", "the secret %s has no current value", r.secret.arn)
	}
	if err == nil {
		r.seen.Age = time.Since(v.created)
	}
	return v, err
}

// latest is current, which must be the version that the secret's state tells of: reads of Secrets
// Manager may lag behind a write for a moment, and what is made from the version before would be
// taken for outdated later.
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

// previous reads the version labelled AWSPREVIOUS. It returns errAbsent also for one that cannot be
// decrypted: its key may be an earlier one of the secret's.
func (r *run) previous(ctx context.Context) (version, error) {
	v, err := r.secret.get(ctx, "", awsPrevious)
	if undecipherable(err) {
		r.log.Warn("version skipped: it cannot be decrypted", "credential", awsPrevious)
		return v, errAbsent
	}
	return v, err
}

// readPrevious reads the version labelled AWSPREVIOUS into the request of a Minter.
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
