// Package secretsim is AWS Secrets Manager for a laptop: its state, its rotations
// and its wire protocol. It knows nothing of the rotation function.
package secretsim

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// Invoker calls a Lambda function.
type Invoker interface {
	// Invoke returns the function's answer; functionError is the value of the
	// header X-Amz-Function-Error, "" for success. err says that the function
	// could not be called.
	Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error)
}

// InvokerFunc is a function that is an Invoker.
type InvokerFunc func(ctx context.Context, payload []byte) ([]byte, string, error)

// Invoke calls f.
func (f InvokerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, string, error) {
	return f(ctx, payload)
}

// Options configure a Sim; the zero value is usable.
type Options struct {
	// Region and Account are those of every ARN: us-east-1 and 123456789012.
	Region, Account string
	// RetryDelay is the pause before a failed rotation is repeated: 100 s.
	RetryDelay time.Duration
	// MaxAttempts is how often a rotation is tried: 5.
	MaxAttempts int
	// Watch, if set, is told of every step of a rotation after it ended.
	Watch func(Progress)
}

// Progress is one step of a rotation.
type Progress struct {
	Secret, Name, Version string
	Attempt               int
	Step                  string
	// Err is "" for a step that the function took without an error.
	Err    string
	Labels map[string]string // the version that each label is on
}

// Sim is the service. It is safe for concurrent use.
type Sim struct {
	opts Options

	mu        sync.Mutex
	secrets   map[string]*secret // by name
	functions map[string]Invoker
	ended     *sync.Cond
	tick      time.Time
}

// New returns an empty service.
func New(o Options) *Sim {
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.Account = cmp.Or(o.Account, "123456789012")
	o.RetryDelay = cmp.Or(o.RetryDelay, 100*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	s := &Sim{opts: o, secrets: make(map[string]*secret), functions: make(map[string]Invoker)}
	s.ended = sync.NewCond(&s.mu)
	return s
}

// RegisterFunction makes a function known by its ARN.
func (s *Sim) RegisterFunction(arn string, f Invoker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.functions[arn] = f
}

// now returns a time in whole milliseconds that is later than any before.
func (s *Sim) now() time.Time {
	t := time.Now().Truncate(time.Millisecond)
	if !t.After(s.tick) {
		t = s.tick.Add(time.Millisecond)
	}
	s.tick = t
	return t
}
