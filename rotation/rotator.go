package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
)

// Rotator takes the steps of rotations. It keeps nothing between calls and is
// safe for concurrent use.
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

// WithLog returns the same Rotator with another log, such as one that names the
// invocation in every line.
func (r *Rotator) WithLog(log *slog.Logger) *Rotator {
	cfg := r.cfg
	cfg.Log = log
	return &Rotator{cfg}
}

// Handle takes one step. It may be called for the same event any number of
// times, also at once. A step whose work is found done succeeds, as does every
// step of a version that has become AWSCURRENT.
//
// The error is an *Error whose text holds no value of the secret. The invocation
// must fail with it, since that is how Secrets Manager learns to try again.
func (r *Rotator) Handle(ctx context.Context, e Event) error {
	begin := time.Now()
	ctx, cancel := budget(ctx)
	defer cancel()
	run := &run{
		cfg:   r.cfg,
		event: e,
		log:   r.cfg.Log.With("step", e.Step, "secret", e.SecretID, "version", e.ClientRequestToken),
	}
	err := run.step(ctx)
	seen := Observation{Step: e.Step, Secret: e.SecretID, Version: e.ClientRequestToken, Duration: time.Since(begin),
		Refusals: run.refusals, CurrentRefused: run.currentRefused, Rotated: run.rotated, Age: run.age, Window: run.window, Gap: run.gap}
	if run.engine != nil {
		seen.Engine = run.engine.Kind().Names[0]
	}
	if err != nil {
		failure := run.report(ctx, err)
		seen.Cause = failure.Cause
		run.log.Error("step failed", "cause", failure.Cause, "error", failure.Error(), "duration_ms", time.Since(begin).Milliseconds())
		err = failure
	} else {
		run.log.Info("step done", "duration_ms", time.Since(begin).Milliseconds())
	}
	if r.cfg.Observe != nil {
		r.cfg.Observe(seen)
	}
	return err
}

// The parts of an invocation that are kept back: for the words that say how it
// ended, and, while the target is asked, for the calls that move labels.
const (
	reportReserve = 300 * time.Millisecond
	labelReserve  = 2 * time.Second
	// attemptLimit bounds one exchange with the target, so that a host that
	// answers nothing is told from a slow one while there is time to say so.
	attemptLimit = 15 * time.Second
	// fairChance is the time within which a target that works accepts a login, also one that
	// is busy or in another region.
	fairChance = 2 * time.Second
)

// budget returns a context that ends early enough to report. An invocation
// without a deadline, as in a tool, gets a generous one.
func budget(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, 5*time.Minute)
	}
	return context.WithDeadline(ctx, end.Add(-reportReserve))
}

// run is one step being taken.
type run struct {
	cfg   Config
	event Event
	log   *slog.Logger

	secret  *secret
	options option
	engine  engine.Engine
	kind    engine.Kind // the engine's, for the secret at hand
	seen    []engine.Value
	// retireNow is read with the other settings, so a malformed one fails every step.
	retireNow       bool
	superuserLogins map[string]rung // the superuser's credentials that were read, by label
	refusals        int
	opened          string // the rung that was accepted last
	state           string // what finishSecret leaves at the target
	// currentRefused is set while the target is known to refuse AWSCURRENT.
	currentRefused bool
	rotated        bool
	age            time.Duration
	window, gap    time.Duration
	// share ends the part of the invocation that the exchange at hand may use; zero
	// leaves it to exchange.
	share time.Time
}

// step does the work of Handle.
func (r *run) step(ctx context.Context) (err error) {
	defer r.guard(&err)
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
		err = r.finished(ctx)
	default:
		err = engine.Errorf(engine.InvalidEvent, adviceEvent, "unknown step %q", r.event.Step)
	}
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// guard, deferred, makes an error of a panic, which would end the process and print a
// trace. Its text could hold anything; the trace holds addresses only.
func (r *run) guard(err *error) {
	if p := recover(); p != nil {
		scrub := r.scrubber()
		r.log.Error("panic", "stack", scrub(string(debug.Stack())))
		*err = engine.Errorf(engine.InternalError, "report this with the log's stack", "panic: %s", scrub(fmt.Sprint(p)))
	}
}

// open returns a secret with a client for it.
func (r *run) open(ctx context.Context, arn string) (*secret, error) {
	api, err := r.cfg.Secrets(ctx, arn)
	if err != nil {
		return nil, secretsManagerError("open", arn, err)
	}
	return &secret{api: api, arn: arn, see: r.see}, nil
}

// see notes a value that no error may show.
func (r *run) see(v engine.Value) {
	if !slices.ContainsFunc(r.seen, v.Equal) {
		r.seen = append(r.seen, v)
	}
}

// report makes the error that leaves the package: its chain ends here, because
// the drivers' errors in it may quote values.
func (r *run) report(ctx context.Context, err error) *engine.Error {
	e := withCause(err)
	scrub := r.scrubber()
	out := &engine.Error{Cause: e.Cause, Advice: scrub(e.Advice), Step: string(r.event.Step), Err: errors.New(scrub(e.Err.Error()))}
	switch {
	case ctx.Err() == nil:
	case e.Cause == engine.TargetFailed:
		out.Cause, out.Advice = engine.OutOfTime, "raise the function's time-out; Secrets Manager tries again"
	case e.Cause == engine.SecretsManagerFailed:
		out.Cause, out.Advice = engine.OutOfTime, "check that the function reaches Secrets Manager: a VPC needs its interface endpoint or a NAT gateway; else raise the function's time-out"
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

// scrubber returns what takes out of a text all that must not be shown of what the step
// has seen. The secret's ARN is no secret, whatever its value looks like.
func (r *run) scrubber() func(string) string {
	return newScrubber(append(slices.Clone(r.seen), engine.StringValue(r.event.RotationToken.Reveal())), r.event.SecretID, append([]string{"password"}, r.kind.SecretFields...)...)
}

// exchange calls do with a context for one exchange with the target. Where the invocation leaves
// less than fairChance for it, a target that does not answer is not called unreachable.
func (r *run) exchange(ctx context.Context, do func(context.Context) error) error {
	begin := time.Now()
	end := begin.Add(cmp.Or(r.kind.Patience, attemptLimit))
	if !r.share.IsZero() {
		if r.share.Before(end) {
			end = r.share
		}
	} else if deadline, ok := ctx.Deadline(); ok {
		// A short invocation keeps back a part of what it has.
		reserve := min(labelReserve, time.Until(deadline)/4)
		if d := deadline.Add(-reserve); d.Before(end) {
			end = d
		}
	}
	within, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := do(within)
	if cause := engine.CauseOf(err); err != nil && end.Sub(begin) < fairChance && !time.Now().Before(end) && (cause == engine.Unreachable || cause == engine.TargetFailed) {
		return engine.Errorf(engine.OutOfTime, "raise the function's timeout to 30 s or more; if the target cannot be reached, the error says so then", "too little time was left for the target: %w", err)
	}
	return err
}

// tries logs in with a value.
func (r *run) tries(ctx context.Context, req *engine.Request, v engine.Value) error {
	return r.exchange(ctx, func(ctx context.Context) error { return r.engine.Verify(ctx, req, v) })
}

// errDone ends a step early and successfully: the event's version is AWSCURRENT.
var errDone = errors.New("the version is current already")

// prologue asks Secrets Manager whether this event is one to act on: rotation
// is switched on and the event's version is staged. It returns errDone where
// the rotation is over. Nothing else is touched before.
// Source: AWS's rotation function templates, which give the same verdicts.
func (r *run) prologue(ctx context.Context) (description, error) {
	d, err := r.secret.describe(ctx)
	if err != nil {
		return d, err
	}
	r.options = option{tags: d.tags, getenv: r.cfg.Getenv}
	err = r.verdict(d)
	if errors.Is(err, engine.VersionNotStaged) && r.putLabelBack(ctx, d) {
		return d, nil
	}
	return d, err
}

func (r *run) verdict(d description) error {
	token := r.event.ClientRequestToken
	labels := version{labels: d.labels[token]}
	if !d.enabled {
		return engine.Errorf(engine.RotationDisabled, "switch rotation on with RotateSecret; `rotatorctl recover` repairs a rotation that was cancelled halfway",
			"rotation is not enabled for secret %s", r.secret.arn)
	}
	if labels.has(awsCurrent) {
		r.log.Info("version is current already")
		return errDone
	}
	if labels.has(awsPending) {
		return nil
	}
	const advice = "let Secrets Manager start the rotation with RotateSecret; if an old rotation is stuck, `rotatorctl status` shows it"
	if other := d.holder(awsPending); other != "" {
		return engine.Errorf(engine.VersionNotStaged, advice, "AWSPENDING is on version %s and not on this rotation's version %s", other, token)
	}
	return engine.Errorf(engine.VersionNotStaged, advice, "version %s is not staged as AWSPENDING", token)
}

// engine returns the engine of a value whose field engine, or what stands for it, is
// the given name, or nil. Of several with one name it is the one whose mark the value
// has.
func (c Config) engine(name string, v engine.Value) (found engine.Engine) {
	for _, e := range c.Engines {
		k := e.Kind()
		_, marked := v.Text(k.MarkField)
		marked = marked && k.MarkField != ""
		if name == "" && !marked || name != "" && !k.Serves(name) {
			continue
		}
		if found == nil || marked {
			found = e
		}
	}
	return found
}

// choose finds the engine of a value and returns the request for it.
func (r *run) choose(current version) (*engine.Request, error) {
	name, _ := current.value.Text("engine")
	name = cmp.Or(name, r.options.text("engine"))
	r.engine = r.cfg.engine(name, current.value)
	if r.engine == nil {
		const advice = "set the secret's field engine, or for a value without fields the tag rotator:engine or the variable ENGINE"
		if name == "" {
			return nil, engine.Errorf(engine.InvalidSecret, advice, "the secret names no engine; %s", cmp.Or(current.value.Fault(), "it has no field engine"))
		}
		var names []string
		for _, e := range r.cfg.Engines {
			names = append(names, e.Kind().Names...)
		}
		slices.Sort(names)
		return nil, engine.Errorf(engine.InvalidSecret, advice, "the engine %q is none of %s", name, strings.Join(slices.Compact(names), ", "))
	}
	kind := r.engine.Kind()
	if kind.FieldsOption != "" {
		if s := r.options.own(kind.FieldsOption); s != "" {
			kind.SecretFields = strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
		}
	}
	r.kind = kind
	req := &engine.Request{Secret: r.secret.arn, Version: r.event.ClientRequestToken, Current: current.value, Base: current.id, SecretFields: kind.SecretFields, Setting: r.options.own}
	if kind.Passwords.Length > 0 {
		var err error
		if req.Passwords, err = r.options.passwords(kind.Passwords); err != nil {
			return nil, err
		}
	}
	var err error
	if req.UserLimit, err = r.options.userLimit(); err != nil {
		return nil, err
	}
	if r.retireNow, err = r.options.retireNow(); err != nil {
		return nil, err
	}
	req.Strategy, err = r.strategy(kind, current.value)
	req.SuperuserChanges = req.Strategy == engine.AlternatingUsers || (kind.CloneSuffix == "" || kind.SuperuserSingle) && superuserARN(kind, current.value) != ""
	r.log = r.log.With("engine", kind.Names[0], "strategy", req.Strategy)
	return req, err
}

// strategy returns the option's, else alternating users where the secret names
// a superuser secret, as it does in AWS's multi-user secrets.
func (r *run) strategy(kind engine.Kind, v engine.Value) (engine.Strategy, error) {
	superuser := superuserARN(kind, v)
	s, err := r.options.strategy()
	switch {
	case err != nil:
		return s, err
	case s == "" && superuser != "" && kind.CloneSuffix != "":
		s = engine.AlternatingUsers
	case s == "":
		s = engine.SingleUser
	}
	switch {
	case s == engine.AlternatingUsers && kind.CloneSuffix == "":
		return s, engine.Errorf(engine.InvalidSecret, adviceStrategy, "the engine %s cannot alternate users", kind.Names[0])
	case superuser == "" && s == engine.AlternatingUsers:
		return s, engine.Errorf(engine.InvalidSecret, "name the superuser secret's ARN in the field "+superuserField(kind), "this rotation needs a superuser secret and the value names none")
	}
	return s, nil
}
