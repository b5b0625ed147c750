package rotation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"example.com/rotator/rotation/engine"
)

// Rotator runs the steps of rotations. It keeps no state between calls and is safe for concurrent use.
type Rotator struct{ cfg Config }

// New returns a Rotator, or an error with the cause InvalidConfiguration.
func New(cfg Config) (*Rotator, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Rotator{cfg}, nil
}

// WithLog returns the same Rotator with another log, such as one that names the invocation in every line.
func (r *Rotator) WithLog(log *slog.Logger) *Rotator {
	cfg := r.cfg
	cfg.Log = log
	return &Rotator{cfg}
}

// Handle runs one step. It may be called for the same event any number of times, even concurrently: a step whose work
// is done succeeds. The error is an *engine.Error whose text contains no secret values. The invocation must return it,
// or Secrets Manager does not retry the step.
func (r *Rotator) Handle(ctx context.Context, e Event) error {
	begin := time.Now()
	end, ok := ctx.Deadline()
	if !ok { // no deadline outside Lambda
		end = begin.Add(5 * time.Minute)
	}
	end = end.Add(-reportReserve)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	run := newRun(r.cfg, e, r.cfg.Log.With("step", e.Step, "secret", e.SecretID, "version", e.ClientRequestToken))
	run.until = end.Add(-min(labelReserve, time.Until(end)/4)) // a short invocation reserves less
	err := run.step(ctx)
	run.seen.Duration = time.Since(begin)
	if err != nil {
		run.seen.Cause = engine.CauseOf(err)
		run.log.Error("step failed", "cause", run.seen.Cause, "error", err.Error(),
			"duration_ms", run.seen.Duration.Milliseconds())
	} else {
		run.log.Info("step done", "duration_ms", run.seen.Duration.Milliseconds())
	}
	if r.cfg.Observe != nil {
		r.cfg.Observe(run.seen)
	}
	return err
}

// Reserved parts of an invocation.
const (
	reportReserve = 300 * time.Millisecond // to report its outcome
	labelReserve  = 2 * time.Second        // to move labels; the target must answer before
)

// run is one step in progress, or one secret being inspected.
type run struct {
	cfg    Config
	event  Event
	log    *slog.Logger
	until  time.Time // by which the target must answer; zero means no limit
	seen   Observation
	values []engine.Value // never shown in any text

	// Set when they become known.
	secret         *secret
	described      description
	engine         engine.Engine
	kind           engine.Kind // the engine's, for this secret
	settings       settings
	superuserLogin Credential // the superuser's AWSCURRENT
}

func newRun(c Config, e Event, log *slog.Logger) *run {
	seen := Observation{Step: e.Step, Secret: e.SecretID, Version: e.ClientRequestToken}
	return &run{cfg: c, event: e, log: log, seen: seen}
}

// step does the work of Handle.
func (r *run) step(ctx context.Context) (err error) {
	defer r.leave(ctx, r.event.Step, &err)
	r.secret, err = r.open(ctx, r.event.SecretID)
	if err != nil {
		return err
	}
	switch r.event.Step {
	case CreateSecret:
		err = r.create(ctx)
	case SetSecret:
		err = r.set(ctx)
	case TestSecret:
		err = r.test(ctx)
	case FinishSecret:
		err = r.finish(ctx)
	default:
		err = engine.Errorf(engine.InvalidEvent, adviceEvent, "unknown step %q", r.event.Step)
	}
	if errors.Is(err, errDone) {
		r.log.Info("version is already current")
		return nil
	}
	return err
}
