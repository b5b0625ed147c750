package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"example.com/rotator/internal/scrub"
	"example.com/rotator/rotation/engine"
)

// guard, deferred, makes an error of a panic, which would end the process and print a trace. Its
// text could hold anything; the trace holds addresses only.
func (r *run) guard(err *error) {
	if p := recover(); p != nil {
		scrub := r.scrubber()
		r.log.Error("panic", "stack", scrub(string(debug.Stack())))
		*err = engine.Errorf(engine.InternalError, "report this with the log's stack", "panic: %s", scrub(fmt.Sprint(p)))
	}
}

// report makes the error that leaves the package: its chain ends here, because the drivers' errors
// in it may quote values.
func (r *run) report(ctx context.Context, err error) *engine.Error {
	e := withCause(err)
	scrub := r.scrubber()
	out := &engine.Error{Cause: e.Cause, Advice: scrub(e.Advice), Step: string(r.event.Step), Err: errors.New(scrub(e.Err.Error()))}
	switch {
	case ctx.Err() == nil:
	case e.Cause == engine.TargetFailed:
		out.Cause, out.Advice = engine.OutOfTime, "raise the function's time-out; Secrets Manager tries again"
	case e.Cause == engine.SecretsManagerFailed:
		out.Cause, out.Advice = engine.OutOfTime, adviceReach+"; else raise the function's time-out"
	}
	return out
}

// withCause returns the *engine.Error in err, or makes one of an error without a cause.
func withCause(err error) *engine.Error {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the target's own message", "%w", err)
}

// say writes what an engine reports to the log.
func (r *run) say(level slog.Level, text string) {
	r.log.Log(context.Background(), level, r.scrubber()(text))
}

// see notes a value that no text may show.
func (r *run) see(v engine.Value) {
	if !slices.ContainsFunc(r.values, v.Equal) {
		r.values = append(r.values, v)
	}
}

// scrubber returns what takes out of a text all that must not be shown of what the step has seen.
// The secret's ARN is no secret, whatever its value looks like.
func (r *run) scrubber() func(string) string {
	return scrub.New(append(slices.Clone(r.values), r.event.RotationToken), r.event.SecretID, append([]string{"password"}, r.kind.SecretFields...)...)
}
