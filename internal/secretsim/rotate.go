package secretsim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// rotation is what a secret has of rotations.
type rotation struct {
	Enabled    bool
	Function   string
	Rules      *rules
	Last       time.Time // of the last success
	Open, Next time.Time // the next window; Next is NextRotationDate
	// The rotation that runs: its version, whether it is a test only, and the
	// rotation tokens that its invocations were given.
	Running bool
	Token   string
	Test    bool
	Tokens  []string

	cancel func() // undoes the planned rotation
	wake   context.CancelFunc
	err    error // of the last rotation that ended
}

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

type rotateInput struct {
	SecretId           string `required:"true" min:"1" max:"2048"`
	ClientRequestToken string `min:"32" max:"64"`
	RotationLambdaARN  string `max:"2048"`
	RotationRules      *rules
	RotateImmediately  *bool
}

// rotateSecret answers at once; the rotation runs by itself. Unknown: the order of
// its checks, and what a replay with the token of the pending version gets: here
// the same answer and no second rotation.
func (s *Sim) rotateSecret(c *caller, in rotateInput) (any, *fault) {
	if in.ClientRequestToken == "" {
		return nil, invalidParameter(noToken)
	}
	sec, f := s.live(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	r := &sec.Rotation
	var times *schedule
	if new := in.RotationRules; new != nil {
		if new.AutomaticallyAfterDays != nil && new.ScheduleExpression != "" {
			return nil, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
		}
		var err error
		if times, err = new.schedule(); err != nil {
			return nil, invalidParameter("Invalid rotation rules: %v.", err)
		}
	}
	function := cmp.Or(in.RotationLambdaARN, r.Function)
	if function == "" {
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	if s.functions[function] == nil {
		return nil, accessDenied("Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	}
	if p, ok := sec.Labels[pending]; ok && p != sec.Labels[current] {
		if p == in.ClientRequestToken {
			return answer{"ARN": sec.ARN, "Name": sec.Name, "VersionId": p}, nil
		}
		return nil, invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	}
	if v := sec.Versions[in.ClientRequestToken]; v != nil {
		return nil, tokenUsed(in.ClientRequestToken, sec.ARN)
	}
	if f := sec.room([]string{pending}); f != nil {
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
	s.begin(sec, in.ClientRequestToken, in.RotateImmediately != nil && !*in.RotateImmediately)
	return answer{"ARN": sec.ARN, "Name": sec.Name, "VersionId": in.ClientRequestToken}, nil
}

// begin stages the version of a rotation and starts it. A rotation that only tests
// gets a copy of the current value, which is removed afterwards. Unknown: which
// VersionId RotateSecret answers then; here the copy's.
func (s *Sim) begin(sec *secret, token string, test bool) {
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
	r.Running, r.Token, r.Test, r.Tokens, r.err = true, token, test, nil, nil
	s.stats.Started++
	s.announce(sec, named(test, "RotationStarted"), token, "")
	s.resume(sec)
}

// resume runs the rotation that a secret's state says is running.
func (s *Sim) resume(sec *secret) {
	ctx, wake := context.WithCancel(context.Background())
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

// told is an error in the words of AWS.
type told string

func (t told) Error() string { return string(t) }

var (
	errAbandoned = errors.New("the rotation was abandoned: the version lost AWSPENDING")
	errCancelled = errors.New("the rotation was cancelled")
	errDeleted   = errors.New("the secret was deleted")
)

// over says why a rotation has no sense any more, or nil.
func (sec *secret) over(token string) error {
	switch {
	case !sec.Deleted.IsZero():
		return errDeleted
	case sec.Labels[pending] != token && sec.Labels[current] != token:
		return errAbandoned
	case !sec.Rotation.Enabled:
		return errCancelled
	}
	return nil
}

// stir wakes a rotation that waits for its next attempt where it has no sense any
// more.
func (s *Sim) stir(sec *secret) {
	if r := &sec.Rotation; r.Running && sec.over(r.Token) != nil {
		r.wake()
	}
}

// rotate runs a rotation until it has succeeded, is over or was tried often
// enough. Each attempt begins with createSecret again, with the same token. A test
// is not repeated.
func (s *Sim) rotate(ctx context.Context, sec *secret, token string, test bool) {
	attempt := 1
	for ; ; attempt++ {
		err := s.attempt(sec, token, test, attempt)
		s.mu.Lock()
		over := sec.over(token)
		if err == nil || over != nil || test || attempt >= s.opts.MaxAttempts {
			s.end(sec, token, test, err, over)
			s.save()
			s.mu.Unlock()
			return
		}
		s.failed(sec, token, test, err)
		s.stats.Retried++
		s.mu.Unlock()
		_ = s.clock.Sleep(ctx, s.opts.RetryDelay) // who wakes it ends it
	}
}

func (s *Sim) failed(sec *secret, token string, test bool, err error) {
	s.stats.Failed++
	s.announce(sec, named(test, "RotationFailed"), token, s.redacted(sec, err.Error()))
}

// end settles a rotation. err is nil where its version became AWSCURRENT.
func (s *Sim) end(sec *secret, token string, test bool, err, over error) {
	r := &sec.Rotation
	// Where an operator took AWSPENDING away and began anew, the state is the
	// new rotation's.
	if r.Token == token {
		r.Running, r.err = false, err
	}
	now := s.clock.Now()
	switch {
	case test:
		if sec.Labels[pending] == token {
			delete(sec.Labels, pending)
		}
		delete(sec.Versions, token)
		if err != nil {
			s.failed(sec, token, test, err)
		} else {
			s.announce(sec, "TestRotationSucceeded", token, "")
		}
	case err == nil:
		if sec.Labels[pending] == token && !s.opts.KeepPending {
			delete(sec.Labels, pending)
		}
		s.stats.Succeeded++
		if !r.Next.IsZero() && now.After(r.Next) {
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

// attempt does the steps once.
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
	r := &sec.Rotation
	proof := uuid.NewString()
	if r.Token == token {
		r.Tokens = append(r.Tokens, proof)
	}
	arn, function := r.Function, s.functions[r.Function]
	s.save()
	s.mu.Unlock()
	payload, err := json.Marshal(map[string]string{"Step": step, "SecretId": sec.ARN, "ClientRequestToken": token, "RotationToken": proof})
	if err != nil {
		return err
	}
	if function == nil {
		err = fmt.Errorf("the function %s does not exist", arn)
	} else {
		ctx, done := s.opts.Faults.mortal()
		var body []byte
		var functionError string
		body, functionError, err = function.Invoke(ctx, payload)
		done()
		if err == nil && functionError != "" {
			err = errors.New(string(body))
		}
	}
	if err != nil {
		err = told(fmt.Sprintf("Error when executing lambda %s during %s step: %v", arn, step, err))
	}
	s.mu.Lock()
	if v := sec.Versions[token]; err == nil && v != nil && v.Foreign && !slices.Contains(r.Tokens, v.Token) {
		// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
		err = told(fmt.Sprintf("Pending secret version %s for Secret %s was not created by Lambda %s. Remove the AWSPENDING staging label and restart rotation", token, sec.ARN, arn))
	}
	p := Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: token, Attempt: attempt, Step: step, Labels: maps.Clone(sec.Labels)}
	if err != nil {
		p.Err = s.redacted(sec, err.Error())
	}
	sec.note(p, s.opts.History)
	s.mu.Unlock()
	if s.opts.Watch != nil {
		s.opts.Watch(p)
	}
	return err
}

// redacted takes out of a text whatever stands in a value of the secret.
func (s *Sim) redacted(sec *secret, text string) string {
	var words []string
	var walk func(any)
	walk = func(x any) {
		switch x := x.(type) {
		case string:
			words = append(words, x)
		case map[string]any:
			for k, v := range x {
				// What names the target is no secret, and tells why a step failed.
				if k != "username" && k != "host" && k != "engine" && k != "dbname" && k != "masterarn" {
					walk(v)
				}
			}
		case []any:
			for _, v := range x {
				walk(v)
			}
		}
	}
	for _, v := range sec.Versions {
		if v.Text == nil {
			continue
		}
		var x any
		if json.Unmarshal([]byte(*v.Text), &x) != nil {
			x = *v.Text
		}
		walk(x)
	}
	for _, w := range words {
		if len(w) >= 4 {
			text = strings.ReplaceAll(text, w, "***")
		}
	}
	return text
}

// WaitRotation waits until no rotation of a secret runs, and returns the error of
// the last. The secret is given as in the API, for the default account.
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
	for sec.Rotation.Running {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.ended.Wait()
	}
	return sec.Rotation.err
}

func (s *Sim) cancelRotateSecret(c *caller, in idInput) (any, *fault) {
	sec, f := s.live(c, in.SecretId)
	if f != nil {
		return nil, f
	}
	if sec.Rotation.Function == "" {
		// Unknown: AWS's text.
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	sec.Rotation.Enabled = false
	sec.touch(s.clock.Now())
	s.plan(sec, time.Time{})
	s.stir(sec)
	out := answer{"ARN": sec.ARN, "Name": sec.Name}
	if p, ok := sec.Labels[pending]; ok {
		out["VersionId"] = p
	}
	return out, nil
}
