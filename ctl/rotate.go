package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// exampleFunction is the ARN of a function in help texts and errors.
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
the outcome is not known within --timeout. The rotation continues without this command.

Several secrets are rotated concurrently, within Secrets Manager's quotas, and superuser
secrets, which it finds in the values, come first. A rotation under way is followed. To
rotate all secrets that the filters select, review them with "rotatorctl list", then add
--yes. When interrupted, rotate prints the command that rotates the rest.`,
		Example: `  rotatorctl rotate shop/db
  rotatorctl rotate shop/db --test --function ` + exampleFunction + `
  rotatorctl rotate --tag team=shop --rotated-before 90d --yes`,
		Annotations: map[string]string{
			onInterrupt: "follow it with `rotatorctl status`: the rotation continues without this command",
		},
		Args: m.args,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.function != "" && fleet.FunctionName(o.function) == "":
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
func (o *rotating) rotate(ctx context.Context, s *fleet.Secret, failed string, out *report) error {
	if failed != "" {
		out.find(operator.Finding{
			Check: "superuser", State: operator.Failed, Advice: "rotate the superuser secret first",
			Message: "not rotated, because its superuser secret was not: " + failed,
		})
		return out.end(nil, "not rotated")
	}
	f := &follower{
		rotating: o, secret: s, out: out, version: s.Pending, begin: time.Now().Add(-fleet.Patience),
		record: recordOf(ctx, o.view.cfg, o.view.secrets, s.ARN, cmp.Or(o.function, s.Function), o.group),
	}
	if !o.one && s.State == fleet.Running && !o.test && (o.function == "" || o.function == s.Function) {
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

// follower follows one rotation.
type follower struct {
	*rotating
	secret  *fleet.Secret
	version string
	begin   time.Time
	record  record
	out     *report

	steps  []string // not reported yet
	staged bool
	ended  time.Time // when the labels showed that the test had ended
	unread error     // why the record cannot be read
}

const (
	// pace is the pause between reads of the labels.
	pace = 250 * time.Millisecond
	// logDelay is how long a line can take to appear in a function's log.
	logDelay = 30 * time.Second
)

// errPending means that the outcome is not known yet.
var errPending = errors.New("not known yet")

func (f *follower) kind() string {
	if f.test {
		return "test"
	}
	return "rotation"
}

// follow reports each step until the outcome is known.
func (f *follower) follow(ctx context.Context) error {
	if f.steps = steps; f.test {
		f.steps = []string{"testSecret"}
	}
	f.out.note(f.kind(), f.secret.ARN)
	f.out.note("version", f.version)
	defer f.out.wait("waiting for the function")()
	for {
		err := f.failure(ctx)
		if err == nil {
			err = f.look(ctx)
		}
		failure, known := errors.AsType[*engine.Error](err)
		switch {
		case err == nil:
			return f.conclude(nil)
		case ctx.Err() != nil:
			return f.conclude(f.unknown())
		case known:
			return f.conclude(failure)
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

// failure reports the completed steps in the record, and returns the error of a failed one.
func (f *follower) failure(ctx context.Context) error {
	if f.unread != nil || !f.logPace.Allow() {
		return nil
	}
	history, err := f.record(ctx, f.begin)
	if err != nil && ctx.Err() == nil {
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
			message, advice := splitAdvice(message)
			return &engine.Error{Cause: engine.Cause(cause), Step: h.Step, Err: errors.New(message), Advice: advice}
		}
	}
	return nil
}

// splitAdvice splits the text of an engine.Error. The advice is in the last parentheses, which may contain others.
func splitAdvice(text string) (message, advice string) {
	open := 0
	for at := len(text) - 1; at >= 0 && strings.HasSuffix(text, ")"); at-- {
		switch text[at] {
		case ')':
			open++
		case '(':
			open--
		}
		if open == 0 {
			return strings.TrimRight(text[:at], " "), text[at+1 : len(text)-1]
		}
	}
	return text, ""
}

// passed reports that the next n steps succeeded.
func (f *follower) passed(n int) {
	for _, step := range f.steps[:n] {
		f.out.find(fine(step, ""))
	}
	f.steps = f.steps[n:]
}

// look reads the labels. It returns nil once the rotation has succeeded, or once the result of the test is known. A
// test ends when its version loses AWSPENDING.
func (f *follower) look(ctx context.Context) error {
	s, err := f.view.describe(ctx, f.secret.ARN)
	if err != nil {
		return err
	}
	labels := s.Labels[f.version]
	pending := slices.Contains(labels, "AWSPENDING")
	f.staged = f.staged || pending // a read may miss the latest write
	switch {
	case f.test && pending:
	case f.test && len(f.steps) == 0:
		return nil
	case f.test && f.ended.IsZero():
		f.ended = time.Now()
	case f.test && (f.unread != nil || time.Since(f.ended) > logDelay):
		return f.unknown()
	case f.test:
	case slices.Contains(labels, "AWSCURRENT"):
		f.passed(len(f.steps))
		return nil
	case f.staged && (!pending || !s.Enabled):
		return engine.Errorf(engine.VersionNotStaged, "see `rotatorctl status "+f.secret.Name+"`, and rotate again",
			"the rotation was canceled, or a new value or `recover` took AWSPENDING from version %s", f.version)
	}
	return errPending
}

// unknown returns the error for an outcome that is not known in time.
func (f *follower) unknown() *engine.Error {
	because := ""
	if f.unread != nil {
		because = "; " + f.unread.Error()
	}
	if f.test {
		return engine.Errorf(engine.OutOfTime,
			"read the function's log, or look for TestRotationFailed in EventBridge; --log-group names another log",
			"the result of the test is not known%s", because)
	}
	return engine.Errorf(engine.OutOfTime,
		"follow it with `rotatorctl status "+f.secret.Name+"`, and read the function's log",
		"the rotation has not ended in %s; it continues without this command%s", f.took(), because)
}

func (f *follower) took() time.Duration { return time.Since(f.begin).Round(time.Millisecond) }

// conclude reports the outcome: rotated, tested or, after a failure, failed or unfinished.
func (f *follower) conclude(failure *engine.Error) error {
	outcome, verdict := "rotated", fmt.Sprintf("Rotated %s in %s: version %s is AWSCURRENT.", f.secret.Name, f.took(), f.version)
	if f.test {
		outcome, verdict = "tested", "The test of "+f.secret.Name+" succeeded. No label was moved."
	}
	if failure != nil {
		finding := operator.Failure(failure)
		finding.Check = "rotation"
		if failure.Step != "" { // the function reported it
			finding.State, finding.Check = operator.Failed, failure.Step
		}
		if at := slices.Index(f.steps, finding.Check); at >= 0 {
			f.passed(at)
			f.steps = f.steps[1:]
		}
		rest := "not reached"
		outcome, verdict = "failed", "the "+f.kind()+" of "+f.secret.Name+" failed"
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
