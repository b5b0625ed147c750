package rotation

import (
	"cmp"
	"context"
	"errors"
	"time"

	"example.com/rotator/rotation/engine"
)

const (
	// attemptLimit bounds one exchange with the target. It leaves time to report that the target does not answer.
	attemptLimit = 15 * time.Second
	// fairChance is the time within which a working target accepts a login, even if it is busy or in another region.
	fairChance = 2 * time.Second
)

// exchange calls do with a context for one exchange with the target. The context ends before the invocation does,
// because a frozen Lambda function cannot cancel anything; engines also set limits at the server. If the target had
// less than fairChance to answer, the cause is OutOfTime, not Unreachable.
func (r *run) exchange(ctx context.Context, do func(context.Context) error) error {
	begin := time.Now()
	end := begin.Add(cmp.Or(r.kind.Patience, attemptLimit))
	if !r.until.IsZero() && r.until.Before(end) {
		end = r.until
	}
	within, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := do(within)
	var cause engine.Cause
	if err != nil {
		cause = engine.CauseOf(err)
	}
	r.log.Debug("engine answered", "cause", cause, "duration_ms", time.Since(begin).Milliseconds())
	if end.Sub(begin) < fairChance && !time.Now().Before(end) &&
		(cause == engine.Unreachable || cause == engine.TargetFailed) {
		return engine.Errorf(engine.OutOfTime,
			"raise the function's timeout to 30 s or more; if the target cannot be reached, the next error says why",
			"too little time was left for the target: %w", err)
	}
	return err
}

// inFinish reports whether finishSecret makes or completes the change.
func (r *run) inFinish(req *engine.Request) bool {
	return req.Strategy == engine.SingleUser && r.kind.Overlap != engine.BothWork
}

// next asks the engine for the next value.
func (r *run) next(ctx context.Context, req *engine.Request) (v engine.Value, err error) {
	err = r.exchange(ctx, func(ctx context.Context) (err error) {
		v, err = r.engine.Next(ctx, req)
		return err
	})
	if err == nil {
		r.see(v)
	}
	return v, err
}

// tries logs in with a value.
func (r *run) tries(ctx context.Context, req *engine.Request, v engine.Value) error {
	return r.exchange(ctx, func(ctx context.Context) error { return r.engine.Verify(ctx, req, v) })
}

// verify logs in with the pending value. A replica may not have the value yet, so verify repeats a refused login while
// time allows, with pauses that double. The number of tries is limited because targets lock accounts after a few
// refusals.
func (r *run) verify(ctx context.Context, req *engine.Request, tries int, pause time.Duration) error {
	for try := 1; ; try++ {
		err := r.tries(ctx, req, req.Pending)
		if !errors.Is(err, engine.LoginRefused) {
			return err
		}
		r.refused(awsPending)
		if try == tries || time.Until(r.until) < pause+fairChance/2 || sleep(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// dryRun proves, without changing anything, that the change is possible.
func (r *run) dryRun(ctx context.Context, req *engine.Request) error {
	if d, ok := r.engine.(engine.DryRunner); ok {
		return d.DryRun(ctx, req)
	}
	return r.engine.Verify(ctx, req, req.Login)
}

// refused records that the target refused a credential.
func (r *run) refused(name string) {
	r.seen.Refusals++
	r.seen.CurrentRefused = r.seen.CurrentRefused || name == awsCurrent
	r.log.Warn("login refused", "credential", name)
}

// stuck replaces the advice for a rejected password: a version cannot be changed, so repeating the step does not help.
func stuck(err error) error {
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Cause != engine.PolicyRejected {
		return err
	}
	return engine.Errorf(engine.PolicyRejected,
		"correct the password settings, then abandon this rotation with `rotatorctl recover --yes`; "+
			"the next one generates another value",
		"the target rejects the pending value: %w", e.Err)
}
