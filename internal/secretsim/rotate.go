package secretsim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

type rotation struct {
	enabled  bool
	function string
	rules    *rules
	last     time.Time
	running  bool
	stop     context.CancelFunc
	err      error
}

type rules struct {
	AutomaticallyAfterDays *int64  `json:",omitempty"`
	Duration               *string `json:",omitempty"`
	ScheduleExpression     *string `json:",omitempty"`
}

type rotateInput struct {
	SecretId, ClientRequestToken, RotationLambdaARN string
	RotationRules                                   *rules
	RotateImmediately                               *bool
}

func (s *Sim) rotateSecret(in rotateInput) (any, *fault) {
	if in.ClientRequestToken == "" {
		return nil, invalidParameter(noToken)
	}
	sec, f := s.live(in.SecretId)
	if f != nil {
		return nil, f
	}
	if r := in.RotationRules; r != nil && r.AutomaticallyAfterDays != nil && r.ScheduleExpression != nil {
		return nil, invalidParameter("You cannot specify both rotation frequency and schedule expression together.")
	}
	arn := in.RotationLambdaARN
	if arn == "" {
		arn = sec.rotation.function
	}
	if arn == "" {
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	function := s.functions[arn]
	if function == nil {
		return nil, &fault{"AccessDeniedException", "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."}
	}
	if p, ok := sec.labels[pending]; ok && p != sec.labels[current] {
		if p == in.ClientRequestToken {
			return answer{"ARN": sec.arn, "Name": sec.name, "VersionId": p}, nil
		}
		return nil, invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	}
	if v := sec.versions[in.ClientRequestToken]; v != nil && v.filled() {
		return nil, tokenUsed(in.ClientRequestToken, sec.arn)
	}
	sec.rotation.enabled, sec.rotation.function = true, arn
	if in.RotationRules != nil {
		sec.rotation.rules = in.RotationRules
	}
	now := s.now()
	sec.changed = now
	v := &version{id: in.ClientRequestToken, created: now}
	sec.versions[v.id] = v
	sec.labels[pending] = v.id
	steps := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
	if in.RotateImmediately != nil && !*in.RotateImmediately {
		// The test gets a copy of the current value under a label that is taken
		// away afterwards.
		if c := sec.versions[sec.labels[current]]; c != nil {
			v.text, v.binary = c.text, c.binary
		}
		steps = steps[2:3]
	}
	ctx, stop := context.WithCancel(context.Background())
	sec.rotation.running, sec.rotation.stop, sec.rotation.err = true, stop, nil
	go s.rotate(ctx, sec, v.id, function, steps)
	return answer{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id}, nil
}

// rotate runs a rotation until it has succeeded or was tried often enough.
func (s *Sim) rotate(ctx context.Context, sec *secret, token string, f Invoker, steps []string) {
	var err error
	for attempt := 1; ; attempt++ {
		err = s.attempt(ctx, sec, token, f, steps, attempt)
		if err == nil || attempt >= s.opts.MaxAttempts || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.opts.RetryDelay):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(steps) == 1 {
		if sec.labels[pending] == token {
			delete(sec.labels, pending)
		}
		delete(sec.versions, token)
	} else if err == nil {
		if sec.labels[pending] == token {
			delete(sec.labels, pending)
		}
		sec.rotation.last = s.now()
	}
	sec.rotation.running, sec.rotation.err = false, err
	s.ended.Broadcast()
}

var errAbandoned = errors.New("rotation abandoned")

func (s *Sim) attempt(ctx context.Context, sec *secret, token string, f Invoker, steps []string, attempt int) error {
	for _, step := range steps {
		s.mu.Lock()
		gone := sec.labels[pending] != token && sec.labels[current] != token || !sec.deleted.IsZero()
		s.mu.Unlock()
		if gone {
			return errAbandoned
		}
		payload, _ := json.Marshal(map[string]string{"Step": step, "SecretId": sec.arn, "ClientRequestToken": token, "RotationToken": uuid()})
		body, functionError, err := f.Invoke(ctx, payload)
		if err == nil && functionError != "" {
			err = fmt.Errorf("error when executing lambda %s during %s step: %s", sec.rotation.function, step, body)
		}
		p := Progress{Secret: sec.arn, Name: sec.name, Version: token, Attempt: attempt, Step: step}
		if err != nil {
			p.Err = err.Error()
		}
		s.mu.Lock()
		p.Labels = maps.Clone(sec.labels)
		s.mu.Unlock()
		if s.opts.Watch != nil {
			s.opts.Watch(p)
		}
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(steps) > 1 && sec.labels[current] != token {
		return fmt.Errorf("the function succeeded, but version %s is not AWSCURRENT", token)
	}
	return nil
}

// WaitRotation waits until no rotation of the secret runs, and returns the error
// of the last.
func (s *Sim) WaitRotation(ctx context.Context, id string) error {
	defer context.AfterFunc(ctx, s.ended.Broadcast)()
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.find(id)
	if f != nil {
		return f
	}
	for sec.rotation.running {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.ended.Wait()
	}
	return sec.rotation.err
}
