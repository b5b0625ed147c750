package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/sim"
)

const exampleFunction = "arn:aws:lambda:eu-west-1:123456789012:function:rotator"

func newRotate(v *view) *cobra.Command {
	m := newMany(v, "rotated")
	o := rotating{many: m, pace: rate.NewLimiter(rotationsPerSecond, 1), logPace: rate.NewLimiter(logsPerSecond, 1)}
	var yes bool
	c := &cobra.Command{
		Use:   "rotate SECRET...",
		Short: "Rotate secrets now, and report each step",
		Long: `Rotate asks Secrets Manager or the simulator to rotate a secret with its function, and
reports each step until the new version is AWSCURRENT. With --test the function only
tests the current value. The outcome of each step comes from the simulator's record or the
function's log group. Without the log, nothing shows the result of a test.

The exit code is 1 as soon as a step fails, although Secrets Manager retries it, and 3 if
the outcome is not known within --timeout.

Several secrets are rotated concurrently, superuser secrets first, and a rotation under
way is followed. Filters alone need --yes: review what "rotatorctl list" shows with them.
When interrupted, rotate prints the flag that leaves out what was rotated.`,
		Example: `  rotatorctl rotate shop/db
  rotatorctl rotate shop/db --test --function ` + exampleFunction + `
  rotatorctl rotate --tag team=shop --rotated-before 2026-09-01 --yes`,
		Args: m.args,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.function != "" && functionName(o.function) == "":
				return fmt.Errorf("--function %q is not the ARN of a Lambda function, such as %s", o.function, exampleFunction)
			case len(args) == 0 && !yes:
				return engine.Errorf(invalidArguments, "see what `rotatorctl list` shows with these filters, and use --yes",
					"without a SECRET, filters need --yes")
			case o.test:
				m.verb = "tested"
			}
			return m.run(c, args, o.rotate)
		},
	}
	c.ValidArgsFunction = v.complete
	flags := c.Flags()
	flags.StringVar(&o.function, "function", "", "ARN of the function to set for the secret")
	flags.BoolVar(&o.test, "test", false,
		"have the function test the current value only (RotateImmediately=false); this switches rotation on")
	flags.DurationVar(&v.timeout, "timeout", 5*time.Minute, "how long to follow the rotation")
	flags.StringVar(&o.group, "log-group", "", "the function's log group (default /aws/lambda/FUNCTION)")
	flags.BoolVar(&yes, "yes", false, "rotate what the filters select")
	m.flags(c)
	return c
}

// rotating holds the options of a rotation.
type rotating struct {
	*many
	function, group string
	test            bool
	pace, logPace   *rate.Limiter
}

// rotate rotates a secret and follows the rotation. With several secrets, it joins a rotation that is under way.
func (o *rotating) rotate(ctx context.Context, s *secret, out *report) error {
	if superuser, ok := o.failed.Load(s.Superuser); ok {
		out.find(failed("superuser", "", fmt.Sprintf("not rotated, because its superuser secret was not: %s", superuser),
			"rotate the superuser secret first"))
		return out.end(nil, "not rotated")
	}
	f := &follower{
		rotating: o, secret: s, out: out, version: s.Pending, begin: time.Now().Add(-patience),
		record: o.recordOf(ctx, s),
	}
	if !o.one && s.State == stateRunning && !o.test && (o.function == "" || o.function == s.Function) {
		return f.follow(ctx)
	}
	if err := o.pace.Wait(ctx); err != nil {
		return engine.Errorf(engine.OutOfTime, "raise --timeout", "the rotation was not begun: %w", err)
	}
	in := &secretsmanager.RotateSecretInput{SecretId: &s.ARN}
	if o.function != "" {
		in.RotationLambdaARN = &o.function
	}
	if o.test {
		in.RotateImmediately = aws.Bool(false)
	}
	f.begin = time.Now()
	began, err := o.view.secrets.RotateSecret(ctx, in)
	if err != nil {
		return awsError(ctx, "cannot begin the rotation", s.Name, err)
	}
	f.version = aws.ToString(began.VersionId)
	return f.follow(ctx)
}

const (
	// rotationsPerSecond keeps rotations below Secrets Manager's quota of 50 writes a second for an account, since
	// each rotation writes twice.
	rotationsPerSecond = 20
	// logsPerSecond keeps the calls below the quota of CloudWatch Logs for FilterLogEvents.
	// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
	logsPerSecond = 4
)

type follower struct {
	*rotating
	secret  *secret
	version string
	begin   time.Time
	record  record
	out     *report

	kind   string   // rotation or test
	steps  []string // not reported yet
	staged bool
	ended  time.Time // when the labels showed that the test had ended
	asked  bool      // whether the pace permitted to read the record just now
	unread error     // why the record could not be read the last time
}

const (
	// pace is the pause between reads of the labels.
	pace = 250 * time.Millisecond
	// logDelay is how long a line can take to appear in a function's log.
	logDelay = 30 * time.Second
)

// follow reports each step until the outcome is known.
func (f *follower) follow(ctx context.Context) error {
	if f.steps, f.kind = steps, "rotation"; f.test {
		f.steps, f.kind = []string{"testSecret"}, "test"
	}
	f.out.note(f.kind, f.secret.ARN)
	f.out.note("version", f.version)
	defer f.out.wait("waiting for the function")()
	for {
		done, err := f.look(ctx)
		switch {
		case done:
			return f.conclude(nil)
		case ctx.Err() != nil:
			return f.conclude(f.unknown())
		case err != nil:
			return f.conclude(err)
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

// failure reports the completed steps in the record, and returns the error of a failed one.
func (f *follower) failure(ctx context.Context) error {
	if f.asked = f.logPace.Allow(); !f.asked {
		return nil
	}
	history, err := f.record(ctx, f.begin.Add(-time.Minute)) // AWS's clock may be behind
	if ctx.Err() == nil {
		f.unread = err
	}
	for _, h := range history {
		at := slices.Index(f.steps, h.Step)
		switch {
		case f.version != "" && h.Version != f.version:
		case strings.HasSuffix(h.Event, "RotationFailed"): // if no step failed, AWSCURRENT did not move
			return &engine.Error{Cause: engine.InternalError, Err: errors.New(h.Message)}
		case h.Step == "" || at < 0 && h.Cause+h.Message == "": // an event, or a step that is already reported
		case h.Cause == "" && h.Message == "":
			f.passed(at + 1)
		default:
			cause := cmp.Or(h.Cause, string(engine.TargetFailed)) // other functions may not report one
			message := strings.TrimPrefix(strings.TrimPrefix(h.Message, h.Step+": "), cause+": ")
			return &engine.Error{Cause: engine.Cause(cause), Step: h.Step, Err: errors.New(message)}
		}
	}
	return nil
}

// passed reports that the next n steps succeeded.
func (f *follower) passed(n int) {
	for _, step := range f.steps[:n] {
		f.out.find(fine(step, ""))
	}
	f.steps = f.steps[n:]
}

// look reads the record and the labels, and reports whether the rotation or the test has succeeded. A test ends when
// its version loses AWSPENDING.
func (f *follower) look(ctx context.Context) (done bool, _ error) {
	if err := f.failure(ctx); err != nil {
		return false, err
	}
	s, err := f.view.describe(ctx, f.secret.ARN)
	if err != nil {
		return false, err
	}
	labels := s.Labels[f.version]
	pending := slices.Contains(labels, "AWSPENDING")
	f.staged = f.staged || pending // a read may miss the latest write
	switch {
	case f.test && pending:
	case f.test && len(f.steps) == 0:
		return true, nil
	case f.test && f.ended.IsZero():
		f.ended = time.Now()
	case f.test && (f.asked && f.unread != nil || time.Since(f.ended) > logDelay):
		return false, f.unknown()
	case f.test:
	case slices.Contains(labels, "AWSCURRENT"):
		f.passed(len(f.steps))
		return true, nil
	case f.staged && (!pending || !s.Enabled):
		return false, engine.Errorf(engine.VersionNotStaged, "see `rotatorctl status "+quote(f.secret.Name)+"`, and rotate again",
			"the rotation was canceled, or a new value or `recover` took AWSPENDING from version %s", f.version)
	}
	return false, nil
}

// unknown returns the error for an outcome that is not known in time.
func (f *follower) unknown() error {
	because := ""
	if f.unread != nil {
		because = "; " + f.unread.Error()
	}
	return engine.Errorf(engine.OutOfTime,
		"read the function's log (--log-group names another), or see `rotatorctl status "+quote(f.secret.Name)+"`",
		"the result of the %s is not known%s", f.kind, because)
}

func (f *follower) took() time.Duration { return time.Since(f.begin).Round(time.Millisecond) }

// conclude reports the outcome: rotated, tested or, after a failure, failed or unfinished.
func (f *follower) conclude(err error) error {
	outcome := "rotated"
	verdict := fmt.Sprintf("Rotated %s in %s: version %s is AWSCURRENT.", f.secret.Name, f.took(), f.version)
	if f.test {
		outcome, verdict = "tested", "The test of "+f.secret.Name+" succeeded. No label was moved."
	}
	if err != nil {
		finding := operator.Failure(err)
		finding.Check = "rotation"
		if e, ok := errors.AsType[*engine.Error](err); ok && e.Step != "" { // the function reported it
			finding.State, finding.Check = operator.Failed, e.Step
		}
		if at := slices.Index(f.steps, finding.Check); at >= 0 {
			f.passed(at)
			f.steps = f.steps[1:]
		}
		rest := "not reached"
		outcome, verdict = "failed", "the "+f.kind+" of "+f.secret.Name+" failed"
		if finding.State == operator.Unknown {
			rest, outcome, verdict = "not known", "unfinished", "the outcome is not known"
		}
		f.out.find(finding)
		for _, s := range f.steps {
			f.out.find(operator.Finding{Check: s, State: operator.Unknown, Message: rest})
		}
	}
	return f.out.end(map[string]any{"version": f.version, "outcome": outcome, "seconds": f.took().Seconds()}, verdict)
}

// record returns the history of a secret, oldest first, at least since begin. Secrets Manager does not offer it.
type record func(ctx context.Context, begin time.Time) ([]sim.Progress, error)

// recordOf returns the record of a secret: from the simulator or, on AWS, from the function's log group.
func (o *rotating) recordOf(ctx context.Context, s *secret) record {
	if base := aws.ToString(o.view.secrets.Options().BaseEndpoint); base != "" {
		simulated := simulatorRecord(base, s.ARN)
		if _, err := simulated(ctx, time.Time{}); err == nil {
			return simulated
		}
	}
	return logRecord(o.view.cfg, s.ARN, cmp.Or(o.function, s.Function), o.group)
}

// simulatorRecord reads the history that `rotatorctl sim` serves.
func simulatorRecord(base, secret string) record {
	return func(ctx context.Context, _ time.Time) (history []sim.Progress, err error) {
		address := strings.TrimSuffix(base, "/") + "/history/" + url.PathEscape(secret)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("cannot read the record of %s: %s", secret, answer.Status)
		}
		err = json.NewDecoder(answer.Body).Decode(&history)
		return history, err
	}
}

// logRecord reads the lines "step done", "step failed" and "event not handled" in the log of this function. Other
// functions, such as AWS's templates, do not write them.
func logRecord(cfg aws.Config, secret, function, group string) record {
	if a, err := arn.Parse(function); err == nil {
		cfg.Region = a.Region
	}
	group = cmp.Or(group, "/aws/lambda/"+functionName(function))
	client := cloudwatchlogs.NewFromConfig(cfg)
	return func(ctx context.Context, begin time.Time) (steps []sim.Progress, err error) {
		in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(begin.UnixMilli()),
			FilterPattern: aws.String(fmt.Sprintf(
				`{ $.secret = %q && ($.message = "step *" || $.message = "event not handled") }`, secret))}
		for pages := cloudwatchlogs.NewFilterLogEventsPaginator(client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("cannot read the log group %s: %w", group, awserror.Brief(err))
			}
			for _, e := range page.Events {
				var line struct{ Version, Step, Cause, Error string }
				if json.Unmarshal([]byte(aws.ToString(e.Message)), &line) == nil {
					steps = append(steps, sim.Progress{
						Version: line.Version, Step: line.Step, Cause: line.Cause, Message: line.Error,
					})
				}
			}
		}
		return steps, nil
	}
}
