package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/uuid"
)

// rotation is a secret's rotation configuration and state.
type rotation struct {
	Enabled  bool
	Function string
	Rules    *types.RotationRulesType
	// Role and Metadata belong to a managed external secret.
	Role       string
	Metadata   []types.ExternalSecretRotationMetadataItem
	Last       time.Time // of the last success
	Open, Next time.Time // the next window; Next is NextRotationDate
	run        *run      // the latest rotation, or nil
}

// run is one rotation, from its start to its end.
type run struct {
	sec     *secret
	token   string // its version
	test    bool
	running bool
	attempt int
	tokens  []string // the rotation tokens that its invocations received
	// start is when its latest attempt would have started if attempts took no time: a fast clock exaggerates their time.
	start time.Time
	retry func() bool // cancels the next attempt

	done chan struct{} // closed at the end, after err is set
	err  error
}

// active reports whether there is a rotation that has not ended.
func (r *run) active() bool { return r != nil && r.running }

// event returns the name of an event: that of a test has a prefix.
func (r *run) event(name string) string {
	if r.test {
		return "Test" + name
	}
	return name
}

func (r *rotation) configured() bool { return r.Function != "" || r.Role != "" }

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// rotateSecret answers immediately; the rotation runs in the background. Unknown: the order of its checks, and the
// answer to a replay with the pending version's token. The simulator repeats the answer. It starts no second rotation
// while one runs, and resumes a failed or canceled one. A managed external secret has no function: its configuration is
// stored, and nothing is rotated.
func (s *Sim) rotateSecret(_ *caller, sec *secret, in *sm.RotateSecretInput) (answer, *fault) {
	r, token := &sec.Rotation, *in.ClientRequestToken
	if new := in.RotationRules; new != nil {
		if new.AutomaticallyAfterDays != nil && new.ScheduleExpression != nil {
			return nil, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
		}
		if _, err := newSchedule(new); err != nil {
			return nil, invalidParameter("Invalid rotation rules: %s.", err.Error())
		}
	}
	rules := cmp.Or(in.RotationRules, r.Rules)
	function := cmp.Or(aws.ToString(in.RotationLambdaARN), r.Function)
	if role := cmp.Or(aws.ToString(in.ExternalSecretRotationRoleArn), r.Role); function == "" && role != "" {
		r.Enabled, r.Role, r.Rules = true, role, rules
		if in.ExternalSecretRotationMetadata != nil {
			r.Metadata = in.ExternalSecretRotationMetadata
		}
		sec.touch(s.clock.Now())
		return sec.answer(), nil
	}
	if function == "" {
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	if s.functions[function] == nil {
		return nil, accessDenied("Secrets Manager cannot invoke the specified Lambda function. Ensure that the " +
			"function policy grants access to the principal secretsmanager.amazonaws.com.")
	}
	test := in.RotateImmediately != nil && !*in.RotateImmediately
	p, unfinished := sec.unfinished()
	switch {
	case unfinished && p == token && r.run.active():
		return sec.answer("VersionId", p), nil
	case unfinished && (p != token || test):
		return nil, invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	case !unfinished && sec.Versions[token] != nil:
		return nil, tokenUsed(token, sec.ARN)
	}
	if sec.Labels[pending] == "" && len(sec.Labels) >= maxLabels {
		return nil, tooManyLabels()
	}
	r.Enabled, r.Function, r.Rules = true, function, rules
	now := s.clock.Now()
	sec.touch(now)
	s.plan(sec, now)
	s.begin(sec, token, test, now)
	return sec.answer("VersionId", token), nil
}

// begin stages the version of a rotation and starts the rotation. A test gets a copy of the current value, which is
// removed afterwards. Unknown: which VersionId RotateSecret then returns; the simulator returns the copy's.
func (s *Sim) begin(sec *secret, token string, test bool, start time.Time) {
	s.remember(sec)
	if sec.Versions[token] == nil {
		v := &version{ID: token, Created: s.clock.Now().Truncate(time.Millisecond)}
		if c := sec.Versions[sec.Labels[current]]; test && c != nil {
			v.Text, v.Binary = c.Text, c.Binary
		}
		sec.Versions[token] = v
	}
	sec.Labels[pending] = token
	r := &run{sec: sec, token: token, test: test, running: true, start: start, done: make(chan struct{})}
	sec.Rotation.run = r
	s.stats.Started++
	s.announce(sec, r.event("RotationStarted"), token, "")
	s.run(r)
}

var (
	errAbandoned = errors.New("the rotation was abandoned: the version lost AWSPENDING")
	errCanceled  = errors.New("the rotation was canceled")
	errDeleted   = errors.New("the secret was deleted")
	errStopped   = errors.New("the simulator was stopped")
	errUnmoved   = errors.New("the function succeeded")
)

// over returns why a rotation cannot continue, or nil.
func (r *run) over() error {
	labels := r.sec.Labels
	switch {
	case !r.sec.Deleted.IsZero():
		return errDeleted
	case r.sec.Rotation.run != r, labels[pending] != r.token && labels[current] != r.token:
		return errAbandoned
	case !r.sec.Rotation.Enabled:
		return errCanceled
	}
	return nil
}

// stir ends a rotation that is waiting for its next attempt and can no longer continue.
func (s *Sim) stir(sec *secret) {
	r := sec.Rotation.run
	if r == nil || r.retry == nil {
		return
	}
	if over := r.over(); over != nil && r.retry() {
		s.end(r, over)
	}
}

// run makes an attempt in the background. If it fails, and neither is the rotation over nor was it the last one, another
// one follows, which starts over with createSecret and the same token. A test is not repeated.
func (s *Sim) run(r *run) {
	s.clock.Go(func() {
		r.attempt++
		err := s.attempt(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.stopped():
		case err != nil && r.over() == nil && !r.test && r.attempt < s.opts.MaxAttempts:
			s.failed(r, err, nil)
			s.stats.Retried++
			r.start = r.start.Add(s.opts.RetryDelay)
			r.retry = s.clock.At(s.clock.Now().Add(s.opts.RetryDelay), func() { s.run(r) })
		default:
			s.end(r, err)
		}
	})
}

// failed records a failed attempt. over is why the rotation cannot continue, or nil.
func (s *Sim) failed(r *run, err, over error) {
	s.stats.Failed++
	message := "" // a step that failed has its own
	if errors.Is(err, errUnmoved) || errors.Is(err, over) {
		message = err.Error()
	}
	s.announce(r.sec, r.event("RotationFailed"), r.token, message)
}

// end records the end of a rotation. err is nil if it succeeded.
func (s *Sim) end(r *run, err error) {
	sec, over, now := r.sec, r.over(), s.clock.Now()
	r.running, r.err = false, err
	defer close(r.done)
	rotation := &sec.Rotation
	switch {
	case r.test:
		if sec.Labels[pending] == r.token {
			delete(sec.Labels, pending)
		}
		// Keep the version if an operator gave it a custom label.
		if sec.stages(r.token) == nil {
			delete(sec.Versions, r.token)
		}
		if err != nil {
			s.failed(r, err, over)
		} else {
			s.announce(sec, "TestRotationSucceeded", r.token, "")
		}
		s.arm(sec, r.start) // the planned time may have passed
	case err == nil:
		if sec.Labels[pending] == r.token && !s.opts.KeepPending {
			delete(sec.Labels, pending)
		}
		s.stats.Succeeded++
		if !rotation.Next.IsZero() && r.start.After(rotation.Next) {
			s.stats.Late++
		}
		rotation.Last = sec.touch(now)
		s.announce(sec, "RotationSucceeded", r.token, "")
		s.plan(sec, now)
	case errors.Is(over, errAbandoned):
		s.stats.Abandoned++
		s.announce(sec, "RotationAbandoned", r.token, "")
		s.plan(sec, now)
	case over == nil:
		s.failed(r, err, nil)
		s.arm(sec, now)
	}
}

// attempt runs the steps once.
func (s *Sim) attempt(r *run) error {
	todo := steps
	if r.test {
		todo = steps[2:3]
	}
	for _, step := range todo {
		err := s.step(r, step)
		if err == nil && s.opts.Faults.hit(DuplicateStep) {
			err = s.step(r, step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step invokes the function for one step.
func (s *Sim) step(r *run, step string) error {
	sec, proof := r.sec, uuid.NewString()
	s.mu.Lock()
	arn := sec.Rotation.Function
	function, over := s.functions[arn], r.over()
	r.tokens = append(r.tokens, proof)
	s.mu.Unlock()
	switch {
	case s.stopped():
		return errStopped
	case over != nil:
		return over
	}
	payload, _ := json.Marshal(map[string]string{"Step": step, "SecretId": sec.ARN, "ClientRequestToken": r.token,
		"RotationToken": proof}) // encoding strings cannot fail
	ctx, done := s.opts.Faults.mortal(s.life)
	body, functionError, err := function.Invoke(ctx, payload)
	done()
	if err == nil && functionError != "" {
		err = errors.New(string(body))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped() { // Stop interrupted it: ignore its response
		return errStopped
	}
	p := Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: r.token, Attempt: r.attempt, Step: step,
		Labels: maps.Clone(sec.Labels)}
	switch v := sec.Versions[r.token]; {
	case err != nil:
		failed := fmt.Sprintf("Error when executing lambda %s during %s step", arn, step)
		cause, message := explained(err.Error())
		p.Cause, p.Message = sec.redacted(cause), sec.redacted(cmp.Or(message, failed))
		err = fmt.Errorf("%s: %w", failed, err)
	case v != nil && v.Unproved:
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
		p.Message = fmt.Sprintf(
			"Pending secret version %s for Secret %s was not created by Lambda %s. Remove the AWSPENDING staging "+
				"label and restart rotation", r.token, sec.ARN, arn)
		err = errors.New(p.Message)
	case step == "finishSecret" && sec.Labels[current] != r.token:
		err = fmt.Errorf("%w, but version %s is not AWSCURRENT", errUnmoved, r.token)
	}
	s.note(sec, p)
	return err
}

// explained splits a function's error response. Any other text is a message without a cause.
func explained(text string) (cause, message string) {
	var e struct{ ErrorType, ErrorMessage string }
	if json.Unmarshal([]byte(text), &e) != nil || e.ErrorType+e.ErrorMessage == "" {
		return "", text
	}
	return e.ErrorType, e.ErrorMessage
}

// WaitRotation waits until the latest rotation of a secret has ended, and returns its error. id is an ARN, or a name in
// the default region and account.
func (s *Sim) WaitRotation(ctx context.Context, id string) error {
	s.mu.Lock()
	sec, f := s.own(id)
	if f != nil {
		s.mu.Unlock()
		return f
	}
	r := sec.primary().Rotation.run // a replica is a copy that is not updated
	ended := !r.active()
	s.mu.Unlock()
	switch {
	case r == nil:
		return nil
	case ended:
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return errStopped
	}
}

func (s *Sim) cancelRotateSecret(_ *caller, sec *secret, _ *sm.CancelRotateSecretInput) (answer, *fault) {
	if !sec.Rotation.configured() {
		// Unknown: AWS's text.
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	sec.Rotation.Enabled = false
	sec.touch(s.clock.Now())
	s.plan(sec, time.Time{})
	s.stir(sec)
	return sec.answer("VersionId", sec.Labels[pending]), nil
}
