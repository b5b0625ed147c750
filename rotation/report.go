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

// leave must be deferred. It turns *err into the error that leaves the package, and a panic into an error instead of a
// crash that prints it. The panic's text could contain anything and is scrubbed; the stack contains only addresses.
func (r *run) leave(ctx context.Context, step Step, err *error) {
	if p := recover(); p != nil {
		scrub := r.scrubber()
		r.log.Error("panic", "stack", scrub(string(debug.Stack())))
		*err = engine.Errorf(engine.InternalError, "report this with the stack from the log",
			"panic: %s", scrub(fmt.Sprint(p)))
	}
	if *err != nil {
		*err = r.report(ctx, step, *err)
	}
}

// report returns err as it leaves the package. It drops the wrapped errors, because drivers' errors may quote values.
func (r *run) report(ctx context.Context, step Step, err error) *engine.Error {
	e := withCause(err)
	scrub := r.scrubber()
	out := &engine.Error{Cause: e.Cause, Advice: scrub(e.Advice), Step: string(step),
		Err: errors.New(scrub(e.Err.Error()))}
	switch {
	case ctx.Err() == nil:
	case e.Cause == engine.TargetFailed:
		out.Cause, out.Advice = engine.OutOfTime, "raise the function's timeout; Secrets Manager tries again"
	case e.Cause == engine.SecretsManagerFailed:
		out.Cause, out.Advice = engine.OutOfTime, adviceReach+"; if it does, raise the function's timeout"
	}
	return out
}

// withCause returns the *engine.Error in err, or wraps an error without a cause in one.
func withCause(err error) *engine.Error {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	return engine.Errorf(engine.TargetFailed, "see the target's own message", "%w", err)
}

// say logs what an engine reports.
func (r *run) say(level slog.Level, text string) {
	r.log.Log(context.Background(), level, r.scrubber()(text))
}

// see records a value to keep out of every text.
func (r *run) see(v engine.Value) {
	if !slices.ContainsFunc(r.values, v.Equal) {
		r.values = append(r.values, v)
	}
}

// scrubber returns a function that removes every value the step has seen from a text. It keeps the secret's ARN even if
// a value occurs in it.
func (r *run) scrubber() func(string) string {
	return scrub.New(append(slices.Clone(r.values), r.event.RotationToken), r.event.SecretID,
		append([]string{"password"}, r.kind.SecretFields...)...)
}
