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

	cancel func() // cancels the planned rotation
	wake   context.CancelFunc
	// start is when the running rotation would have started on an infinitely fast machine: under a
	// fast clock, the machine's own delays would count as service time.
	start time.Time
	due   time.Time // a planned time that passed while a test ran
	err   error     // of the last completed rotation
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

// rotateSecret answers immediately; the rotation runs in the background. Unknown: the order of its
// checks, and the answer to a replay with the pending version's token. The simulator gives the same
// answer and starts no second rotation while one runs; a failed or canceled rotation is resumed. A
// managed external secret has no function: its configuration is stored, and nothing is rotated.
func (s *Sim) rotateSecret(_ *caller, sec *secret, in rotateInput) (answer, *fault) {
	r := &sec.Rotation
	var times *schedule
	if new := in.RotationRules; new != nil {
		if new.AutomaticallyAfterDays != nil && new.ScheduleExpression != "" {
			return nil, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
		}
		var err error
		if times, err = new.schedule(); err != nil {
			return nil, invalidParameter("Invalid rotation rules: %s.", err.Error())
		}
	}
	function := cmp.Or(in.RotationLambdaARN, r.Function)
	if role := cmp.Or(in.ExternalSecretRotationRoleArn, r.Role); function == "" && role != "" {
		r.Enabled, r.Role = true, role
		if in.ExternalSecretRotationMetadata != nil {
			r.Metadata = in.ExternalSecretRotationMetadata
		}
		if in.RotationRules != nil {
			r.Rules = in.RotationRules
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
	if f := sec.room([]string{pending}, 0); f != nil {
		return nil, f
	}
	r.Enabled, r.Function = true, function
	now := s.clock.Now()
	if in.RotationRules != nil {
		r.Rules = in.RotationRules
		r.Rules.Derived = 0
		if times != nil && r.Rules.ScheduleExpression != "" {
			r.Rules.Derived = times.derived(now)
		}
	}
	sec.touch(now)
	s.plan(sec, now)
	s.begin(sec, in.ClientRequestToken, test, now)
	return sec.answer("VersionId", in.ClientRequestToken), nil
}

// begin stages the version of a rotation and starts it. A test gets a copy of the current value,
// which is removed afterwards. Unknown: which VersionId RotateSecret then returns; the simulator
// returns the copy's.
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
	s.announce(sec, named(test, "RotationStarted"), token, "")
	s.resume(sec)
}

// resume continues the rotation that was running according to a secret's state.
func (s *Sim) resume(sec *secret) {
	ctx, wake := context.WithCancel(s.life)
	sec.Rotation.wake = wake
	token, test := sec.Rotation.Token, sec.Rotation.Test
	s.clock.Go(func() {
		defer wake()
		s.rotate(ctx, sec, token, test)
	})
}

func named(test bool, event string) string {
	if test {
		return "Test" + event
	}
	return event
}

// stepError is the error of a failed step: AWS's text, and the function's error, which AWS does not
// show.
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
	switch {
	case !sec.Deleted.IsZero():
		return errDeleted
	case sec.Labels[pending] != token && sec.Labels[current] != token:
		return errAbandoned
	case !sec.Rotation.Enabled:
		return errCanceled
	}
	return nil
}

// stir wakes a rotation that waits for its next attempt if it cannot continue.
func (s *Sim) stir(sec *secret) {
	if r := &sec.Rotation; r.Running && sec.over(r.Token) != nil {
		r.wake()
	}
}

// rotate runs a rotation until it succeeds, is over, or has used all attempts. Each attempt starts
// over with createSecret and the same token. A test is not retried.
func (s *Sim) rotate(ctx context.Context, sec *secret, token string, test bool) {
	for attempt := 1; ; attempt++ {
		wall := s.clock.Wall()
		err := s.attempt(sec, token, test, attempt)
		took := s.clock.Wall().Sub(wall)
		s.mu.Lock()
		if s.stopped() { // the state file says that it continues in the next run
			s.mu.Unlock()
			return
		}
		over := sec.over(token)
		if err == nil || over != nil || test || attempt >= s.opts.MaxAttempts {
			s.end(sec, token, test, took, err, over)
			s.keep()
			s.mu.Unlock()
			return
		}
		s.failed(sec, token, test, err)
		s.stats.Retried++
		if sec.Rotation.Token == token {
			sec.Rotation.start = sec.Rotation.start.Add(took + s.opts.RetryDelay)
		}
		s.mu.Unlock()
		_ = s.clock.Sleep(ctx, s.opts.RetryDelay) // stir wakes it early if the rotation is over
	}
}

func (s *Sim) failed(sec *secret, token string, test bool, err error) {
	s.stats.Failed++
	message := err.Error()
	var step *stepError
	if errors.As(err, &step) {
		message = step.message
	}
	s.announce(sec, named(test, "RotationFailed"), token, message)
}

// end settles a rotation, whose last attempt took the given time. err is nil if its version became
// AWSCURRENT.
func (s *Sim) end(sec *secret, token string, test bool, took time.Duration, err, over error) {
	r := &sec.Rotation
	// If an operator removed AWSPENDING and started a new rotation, the state belongs to that one.
	if r.Token == token {
		r.Running, r.err = false, err
	}
	now := s.clock.Now()
	switch {
	case test:
		if sec.Labels[pending] == token {
			delete(sec.Labels, pending)
		}
		// An operator may have given it a custom label.
		if sec.stages(token) == nil {
			delete(sec.Versions, token)
		}
		if err != nil {
			s.failed(sec, token, test, err)
		} else {
			s.announce(sec, "TestRotationSucceeded", token, "")
		}
		if due := r.due; !due.IsZero() {
			if free := r.start.Add(took); due.Before(free) {
				due = free
			}
			s.fallDue(sec, due)
		}
	case err == nil:
		if sec.Labels[pending] == token && !s.opts.KeepPending {
			delete(sec.Labels, pending)
		}
		s.stats.Succeeded++
		if !r.Next.IsZero() && r.start.After(r.Next) {
			s.stats.Late++
		}
		r.Last = sec.touch(now)
		s.announce(sec, "RotationSucceeded", token, "")
		s.plan(sec, now)
	case over != nil:
		if errors.Is(over, errAbandoned) {
			s.stats.Abandoned++
			s.announce(sec, "RotationAbandoned", token, "")
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
		times := 1
		if s.opts.Faults.hit(DuplicateStep) {
			times = 2
		}
		for range times {
			s.mu.Lock()
			err := sec.over(token)
			s.mu.Unlock()
			if err != nil {
				return err
			}
			if err := s.step(sec, token, step, n); err != nil {
				return err
			}
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
	if s.stopped() {
		s.mu.Unlock()
		return errStopped
	}
	r := &sec.Rotation
	proof := uuid.NewString()
	if r.Token == token {
		r.Tokens = append(r.Tokens, proof)
	}
	arn, function := r.Function, s.functions[r.Function]
	err := s.save() // the rotation token must also be valid after a crash
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cannot save the state: %w", err)
	}
	payload, err := json.Marshal(map[string]string{"Step": step, "SecretId": sec.ARN, "ClientRequestToken": token,
		"RotationToken": proof})
	if err != nil {
		return err
	}
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
	if err != nil {
		err = &stepError{fmt.Sprintf("Error when executing lambda %s during %s step", arn, step), err}
	}
	s.mu.Lock()
	if s.stopped() { // it was cut off: ignore its answer
		s.mu.Unlock()
		return errStopped
	}
	if v := sec.Versions[token]; err == nil && v != nil && v.Unproved {
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
		err = &stepError{message: fmt.Sprintf(
			"Pending secret version %s for Secret %s was not created by Lambda %s. Remove the AWSPENDING staging "+
				"label and restart rotation", token, sec.ARN, arn)}
	}
	p := Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: token, Attempt: attempt, Step: step,
		Labels: maps.Clone(sec.Labels)}
	if err != nil {
		p.Err = sec.redacted(err.Error())
	}
	s.note(sec, p)
	s.mu.Unlock()
	if s.opts.Watch != nil {
		s.opts.Watch(p)
	}
	return err
}

// WaitRotation waits until no rotation of a secret runs, and returns the last one's error. id is as
// in the API, for the default account.
func (s *Sim) WaitRotation(ctx context.Context, id string) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.find(s.owner(id), id)
	if f != nil {
		return f
	}
	sec = sec.primary() // a replica is a copy and does not see the end
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
