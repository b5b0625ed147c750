// Package sim simulates AWS Secrets Manager on a laptop: its state, its rotations and its wire protocol. It is
// independent of the rotation function. To test a rotation function in Go, start with package simtest.
//
// Where AWS's behavior is not known, a comment begins with "Unknown:" and says what the simulator does.
// docs/simulator.md lists the cases that affect users.
package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"example.com/rotator/sim/iampolicy"
)

// Invoker calls a Lambda function.
type Invoker interface {
	// Invoke returns the function's response. functionError is the value of the header
	// X-Amz-Function-Error, "" for success. err means that the function could not be called.
	// Canceling ctx ends the function, and ctx's deadline is the function's.
	Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error)
}

// InvokerFunc adapts a function to an Invoker.
type InvokerFunc func(ctx context.Context, payload []byte) ([]byte, string, error)

// Invoke calls f.
func (f InvokerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, string, error) {
	return f(ctx, payload)
}

// Unhandled is the functionError of every failure.
const Unhandled = "Unhandled"

// Failed returns what Invoke returns for a function that failed with an errorType and an errorMessage.
func Failed(kind, message string) (body []byte, functionError string, err error) {
	body, err = json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	return body, Unhandled, err
}

// Options configures a Sim. The zero value suits tests: no faults and real time.
type Options struct {
	Region     string        // where this package's calls, such as WaitRotation, look up names; by default us-east-1
	Account    string        // of callers whose access key is not an account; by default 123456789012
	Clock      Clock         // real time by default
	RetryDelay time.Duration // before a failed rotation is retried: 100 s by default, as seen on AWS
	// MaxAttempts is how often a rotation is attempted before it waits for its next window: 5 by default. Unknown:
	// AWS's number.
	MaxAttempts int
	KeepPending bool    // leaves AWSPENDING on the version that became AWSCURRENT; AWS does both
	Faults      *Faults // to inject, or nil
	// Trace, if set, is called for every step and event in order. It must return quickly and must not call the Sim.
	Trace   func(Progress)
	History int // how many steps and events are kept for each secret, by default 64
}

// Sim is a simulated Secrets Manager. It is safe for concurrent use.
type Sim struct {
	opts     Options
	clock    Clock
	staleFor time.Duration // how long a read may miss the last write

	// life is the context of all rotations; Stop cancels it.
	life context.Context
	kill context.CancelFunc

	mu            sync.Mutex
	secrets       map[place]*secret
	functions     map[string]Invoker           // by ARN
	sessions      map[string]*caller           // of sessions, by access key id
	roles         map[string]string            // external ids by the ARN of a role
	policies      map[string]*iampolicy.Policy // of roles and keys, by ARN
	organizations map[string][]string          // by account
	stats         Stats
}

// New returns a service without secrets.
func New(o Options) *Sim {
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.Account = cmp.Or(o.Account, "123456789012")
	o.RetryDelay = cmp.Or(o.RetryDelay, 100*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	o.History = cmp.Or(o.History, 64)
	o.Clock = cmp.Or(o.Clock, RealTime())
	s := &Sim{
		opts: o, clock: o.Clock, staleFor: 2 * time.Second,
		secrets: make(map[place]*secret), functions: make(map[string]Invoker), sessions: make(map[string]*caller),
		roles: make(map[string]string), policies: make(map[string]*iampolicy.Policy),
		organizations: make(map[string][]string),
	}
	s.life, s.kill = context.WithCancel(context.Background())
	return s
}

// Stop ends running invocations and starts no new ones. Call it before closing the functions.
func (s *Sim) Stop() { s.kill() }

func (s *Sim) stopped() bool { return s.life.Err() != nil }

// RegisterFunction registers a function under its ARN. RotateSecret refuses other ARNs, as AWS refuses a function that
// does not exist or does not allow Secrets Manager to invoke it.
func (s *Sim) RegisterFunction(arn string, f Invoker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.functions[arn] = f
}

// Own marks a secret as created by a service, such as rds.
func (s *Sim) Own(arn, service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec, f := s.own(arn); f == nil {
		sec.Owner = service
	}
}

// Progress is a completed step of a rotation, or an event. It never contains a value of the secret.
type Progress struct {
	Time    time.Time `json:"time"`
	Secret  string    `json:"secret"` // the ARN
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Step    string    `json:"step,omitempty"`
	Attempt int       `json:"attempt,omitempty"` // counts from 1
	Event   string    `json:"event,omitempty"`   // the name of the event that AWS sends to EventBridge, or "" for a step
	// Cause and Message explain why a step failed: the function's errorType and errorMessage, if it returned them. An
	// event has a message only if no step failed.
	Cause   string            `json:"cause,omitempty"`
	Message string            `json:"message,omitempty"`
	Labels  map[string]string `json:"labels"` // the version that each label is on
}

// Stats counts what happened since the start.
type Stats struct {
	Started, Succeeded, Failed, Retried, Abandoned int
	Late                                           int // rotations whose last attempt began after their window
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// History returns the steps and events of a secret that are still kept, oldest first.
func (s *Sim) History(id string) ([]Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, f := s.own(id)
	if f != nil {
		return nil, f
	}
	return append([]Progress{}, sec.history...), nil // never nil, which would be null in JSON
}

// note records a step or an event of a secret.
func (s *Sim) note(sec *secret, p Progress) {
	if s.opts.Trace != nil {
		s.opts.Trace(p)
	}
	if limit := s.opts.History; len(sec.history) >= limit {
		sec.history = append(sec.history[:0], sec.history[len(sec.history)-limit+1:]...)
	}
	sec.history = append(sec.history, p)
}

// announce records an event that AWS also sends to EventBridge.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html
func (s *Sim) announce(sec *secret, event, token, message string) {
	s.note(sec, Progress{Time: s.clock.Now(), Secret: sec.ARN, Name: sec.Name, Version: token, Event: event,
		Message: message, Labels: maps.Clone(sec.Labels)})
}
