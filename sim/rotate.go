package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
)

// rotation is a secret's rotation configuration and state.
type rotation struct {
	Enabled  bool
	Function string
	Rules    *rules
	// Role and Metadata belong to a managed external secret.
	Role       string
	Metadata   []metadata
	Last       time.Time // of the last success
	Open, Next time.Time // the next window; Next is NextRotationDate
	// The running rotation: its version, whether it is only a test, and the rotation tokens that
	// its invocations received.
	Running bool
	Token   string
	Test    bool
	Tokens  []string

	cancel func() bool // cancels the planned rotation
	retry  func() bool // cancels the next attempt of the running rotation
	// start is when the running rotation would have started on an infinitely fast machine. A fast clock would count the
	// machine's delays as service time.
	start time.Time
	err   error // of the last completed rotation
}

// metadata is an item of ExternalSecretRotationMetadata.
type metadata struct {
	Key   string `min:"1" max:"256"`
	Value string `min:"1" max:"2048"`
}

func (r *rotation) configured() bool { return r.Function != "" || r.Role != "" }

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

type rotateInput struct {
	idInput
	ClientRequestToken string `min:"32" max:"64"`
	RotationLambdaARN  string `max:"2048"`
	RotationRules      *rules
	RotateImmediately  *bool

	ExternalSecretRotationMetadata []metadata
	ExternalSecretRotationRoleArn  string `min:"20" max:"2048"`
}

// check implements checked.
func (in rotateInput) check() *fault {
	if in.ClientRequestToken == "" {
		return invalidParameter(noToken)
	}
	return nil
}

// rotateSecret answers immediately; the rotation runs in the background. Unknown: the order of its checks, and the
// answer to a replay with the pending version's token. The simulator repeats the answer. It starts no second rotation
// while one runs, and resumes a failed or canceled one. A managed external secret has no function: its configuration is
// stored, and nothing is rotated.
func (s *Sim) rotateSecret(_ *caller, sec *secret, in rotateInput) (answer, *fault) {
	r := &sec.Rotation
	if new := in.RotationRules; new != nil {
		if new.AutomaticallyAfterDays != nil && new.ScheduleExpression != "" {
			return nil, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
		}
		if _, err := new.schedule(); err != nil {
			return nil, invalidParameter("Invalid rotation rules: %s.", err.Error())
		}
	}
	rules := cmp.Or(in.RotationRules, r.Rules)
	function := cmp.Or(in.RotationLambdaARN, r.Function)
	if role := cmp.Or(in.ExternalSecretRotationRoleArn, r.Role); function == "" && role != "" {
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
	case unfinished && p == in.ClientRequestToken && r.Running:
		return sec.answer("VersionId", p), nil
	case unfinished && (p != in.ClientRequestToken || test):
		return nil, invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	case !unfinished && sec.Versions[in.ClientRequestToken] != nil:
		return nil, tokenUsed(in.ClientRequestToken, sec.ARN)
	}
	if sec.Labels[pending] == "" && len(sec.Labels) >= maxLabels {
		return nil, tooManyLabels()
	}
	r.Enabled, r.Function, r.Rules = true, function, rules
	now := s.clock.Now()
	sec.touch(now)
	s.plan(sec, now)
	s.begin(sec, in.ClientRequestToken, test, now)
	return sec.answer("VersionId", in.ClientRequestToken), nil
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
	r := &sec.Rotation
	r.Running, r.Token, r.Test, r.Tokens, r.err, r.start = true, token, test, nil, nil, start
	s.stats.Started++
	s.announce(sec, named(test, "RotationStarted"), token, nil)
	s.run(sec, token, test, 1)
}

func named(test bool, event string) string {
	if test {
		return "Test" + event
	}
	return event
}

// stepError is the error of a failed step: AWS's text, and the function's error, which AWS does not show.
type stepError struct {
	message string
	cause   error
}

func (e *stepError) Error() string {
	if e.cause == nil {
		return e.message
	}
	return e.message + ": " + e.cause.Error()
}

var (
	errAbandoned = errors.New("the rotation was abandoned: the version lost AWSPENDING")
	errCanceled  = errors.New("the rotation was canceled")
	errDeleted   = errors.New("the secret was deleted")
	errStopped   = errors.New("the simulator was stopped")
)

// over returns why a rotation cannot continue, or nil.
func (sec *secret) over(token string) error {
	r := &sec.Rotation
	switch {
	case !sec.Deleted.IsZero():
		return errDeleted
	case r.Token != token, sec.Labels[pending] != token && sec.Labels[current] != token:
		return errAbandoned
	case !r.Enabled:
		return errCanceled
	}
	return nil
}

// stir ends a rotation that is waiting for its next attempt and can no longer continue.
func (s *Sim) stir(sec *secret) {
	r := &sec.Rotation
	if over := sec.over(r.Token); r.Running && over != nil && r.retry != nil && r.retry() {
		s.end(sec, r.Token, r.Test, 0, over)
	}
}

// run runs a rotation in the background: it makes attempts until one succeeds, the rotation is over, or none is left.
// Each attempt starts over with createSecret and the same token. A test is not retried.
func (s *Sim) run(sec *secret, token string, test bool, attempt int) {
	s.clock.Go(func() {
		wall := s.clock.Wall()
		err := s.attempt(sec, token, test, attempt)
		took := s.clock.Wall().Sub(wall)
		s.mu.Lock()
		defer s.mu.Unlock()
		over := sec.over(token)
		switch {
		case s.stopped(): // the next run continues it from the state file
		case err != nil && over == nil && !test && attempt < s.opts.MaxAttempts:
			s.failed(sec, token, test, err)
			s.stats.Retried++
			r, delay := &sec.Rotation, s.opts.RetryDelay
			r.start = r.start.Add(took + delay)
			r.retry = s.clock.At(s.clock.Now().Add(delay), func() { s.run(sec, token, test, attempt+1) })
		default:
			s.end(sec, token, test, took, err)
			s.keep()
		}
	})
}

func (s *Sim) failed(sec *secret, token string, test bool, err error) {
	s.stats.Failed++
	s.announce(sec, named(test, "RotationFailed"), token, err)
}

// end records the end of a rotation, whose last attempt took the given time. err is nil if the rotation succeeded.
func (s *Sim) end(sec *secret, token string, test bool, took time.Duration, err error) {
	r, over := &sec.Rotation, sec.over(token)
	// If an operator removed AWSPENDING and started a new rotation, the state belongs to the new one.
	if r.Token == token {
		r.Running, r.err = false, err
	}
	now := s.clock.Now()
	switch {
	case test:
		if sec.Labels[pending] == token {
			delete(sec.Labels, pending)
		}
		// Keep the version if an operator gave it a custom label.
		if sec.stages(token) == nil {
			delete(sec.Versions, token)
		}
		if err != nil {
			s.failed(sec, token, test, err)
		} else {
			s.announce(sec, "TestRotationSucceeded", token, nil)
		}
		s.arm(sec, r.Open, r.Next, r.start.Add(took)) // the planned time may have passed
	case err == nil:
		if sec.Labels[pending] == token && !s.opts.KeepPending {
			delete(sec.Labels, pending)
		}
		s.stats.Succeeded++
		if !r.Next.IsZero() && r.start.After(r.Next) {
			s.stats.Late++
		}
		r.Last = sec.touch(now)
		s.announce(sec, "RotationSucceeded", token, nil)
		s.plan(sec, now)
	case over != nil:
		if errors.Is(over, errAbandoned) {
			s.stats.Abandoned++
			s.announce(sec, "RotationAbandoned", token, nil)
			s.plan(sec, now)
		}
	default:
		s.failed(sec, token, test, err)
		s.rearm(sec)
	}
	s.ended.Broadcast()
}

// attempt runs the steps once.
func (s *Sim) attempt(sec *secret, token string, test bool, n int) error {
	todo := steps
	if test {
		todo = steps[2:3]
	}
	for _, step := range todo {
		err := s.step(sec, token, step, n)
		if err == nil && s.opts.Faults.hit(DuplicateStep) {
			err = s.step(sec, token, step, n)
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !test && sec.Labels[current] != token {
		return fmt.Errorf("the function succeeded, but version %s is not AWSCURRENT", token)
	}
	return nil
}

// step invokes the function for one step.
func (s *Sim) step(sec *secret, token, step string, attempt int) error {
	s.mu.Lock()
	r, proof := &sec.Rotation, uuid.NewString()
	arn, function := r.Function, s.functions[r.Function]
	err := sec.over(token)
	if s.stopped() {
		err = errStopped
	}
	if err == nil {
		r.Tokens = append(r.Tokens, proof)
		if unsaved := s.save(); unsaved != nil { // the rotation token must stay valid after a crash
			err = fmt.Errorf("cannot save the state: %w", unsaved)
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	payload, _ := json.Marshal(map[string]string{"Step": step, "SecretId": sec.ARN, "ClientRequestToken": token,
		"RotationToken": proof}) // encoding strings cannot fail
	if function == nil {
		err = fmt.Errorf("the function %s does not exist", arn)
	} else {
		ctx, done := s.opts.Faults.mortal(s.life)
		var body []byte
		var functionError string
		body, functionError, err = function.Invoke(ctx, payload)
		done()
		if err == nil && functionError != "" {
			err = errors.New(string(body))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped() { // Stop interrupted it: ignore its response
		return errStopped
	}
	p := Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: token, Attempt: attempt, Step: step,
		Labels: maps.Clone(sec.Labels)}
	if err != nil {
		failed := &stepError{fmt.Sprintf("Error when executing lambda %s during %s step", arn, step), err}
		cause, message := explained(err.Error())
		p.Cause, p.Message = sec.redacted(cause), sec.redacted(cmp.Or(message, failed.message))
		err = failed
	} else if v := sec.Versions[token]; v != nil && v.Unproved {
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
		p.Message = fmt.Sprintf(
			"Pending secret version %s for Secret %s was not created by Lambda %s. Remove the AWSPENDING staging "+
				"label and restart rotation", token, sec.ARN, arn)
		err = &stepError{message: p.Message}
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

// WaitRotation waits until no rotation of a secret is running, and returns the error of the last one. id is an ARN, or
// a name in the default region and account.
func (s *Sim) WaitRotation(ctx context.Context, id string) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.own(id)
	if f != nil {
		return f
	}
	sec = sec.primary() // a replica is a copy that is not updated
	for sec.Rotation.Running {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.stopped():
			return errStopped
		}
		s.ended.Wait()
	}
	return sec.Rotation.err
}

func (s *Sim) cancelRotateSecret(_ *caller, sec *secret, _ idInput) (answer, *fault) {
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
