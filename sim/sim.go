// Package sim is AWS Secrets Manager for a laptop: its state, its rotations
// and its wire protocol. It knows nothing of the rotation function. A Go test of a
// rotation function starts with the package simtest.
//
// Where AWS's behavior is not known, a comment begins with "Unknown:" and says
// what was chosen; docs/simulator.md has those that users meet.
package sim

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"example.com/rotator/sim/iampolicy"
)

// Invoker calls a Lambda function.
type Invoker interface {
	// Invoke returns the function's answer; functionError is the value of the
	// header X-Amz-Function-Error, "" for success. err says that the function
	// could not be called. A cancelled ctx ends the function, and its deadline is
	// the function's.
	Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error)
}

// InvokerFunc is a function that is an Invoker.
type InvokerFunc func(ctx context.Context, payload []byte) ([]byte, string, error)

// Invoke calls f.
func (f InvokerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, string, error) {
	return f(ctx, payload)
}

// Options configure a Sim; the zero value is usable and suits tests: it has no
// faults, no quotas and real time.
type Options struct {
	// Region is that of a secret whose name the program's own calls give, such as
	// WaitRotation: us-east-1. The wire has its region in every request.
	Region string
	// Account is that of callers whose access key names no other:
	// 123456789012.
	Account string
	// Clock is the time that the service lives in: real time.
	Clock Clock
	// RetryDelay is the pause before a failed rotation is repeated: 100 s, as
	// was seen on AWS.
	RetryDelay time.Duration
	// MaxAttempts is how often a rotation is tried before it waits for its next
	// window: 5. Unknown: AWS's number.
	MaxAttempts int
	// KeepPending leaves AWSPENDING on the version that became AWSCURRENT. Both
	// were seen on AWS; removing it is the default.
	KeepPending bool
	// Faults are injected if set.
	Faults *Faults
	// Quotas makes the service refuse what AWS's request quotas refuse.
	Quotas bool
	// Watch, if set, is told of every step of a rotation after it ended.
	Watch func(Progress)
	// Trace, if set, is told of every step and every event in their order. It must return
	// soon and must not call the Sim.
	Trace func(Progress)
	// Events, if set, gets what AWS sends to EventBridge, one JSON object a line.
	Events io.Writer
	// History is how many steps and events are kept for each secret: 64.
	History int
	// AllowRemote lets Serve listen on addresses that other machines can reach.
	AllowRemote bool
	// StateFile keeps the whole state, values included, from one run to the
	// next; "" keeps it in memory only.
	StateFile string
	// Log, if set, gets what no caller can be told: that the state file could not be
	// written when a rotation ended.
	Log *slog.Logger
}

// Sim is the service. It is safe for concurrent use.
type Sim struct {
	opts  Options
	clock Clock

	// life is that of all rotations: Stop ends it.
	life context.Context
	kill context.CancelFunc

	mu        sync.Mutex
	accounts  map[string]map[string]*secret // by account, then by place
	functions map[string]Invoker
	sessions  map[string]*session          // by access key id
	roles     map[string]string            // external ids by the ARN of a role
	policies  map[string]*iampolicy.Policy // identity policies by the ARN of a role
	// keyPolicies are by the ARN of a key, organizations by account.
	keyPolicies   map[string]*policy
	organizations map[string]string
	quotas        map[quotaKey]*bucket
	ended         *sync.Cond
	stats         Stats
}

// New returns a service without secrets.
func New(o Options) *Sim {
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.Account = cmp.Or(o.Account, "123456789012")
	o.RetryDelay = cmp.Or(o.RetryDelay, 100*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	o.History = cmp.Or(o.History, 64)
	if o.Clock == nil {
		o.Clock = RealTime()
	}
	s := &Sim{
		opts: o, clock: o.Clock,
		accounts: make(map[string]map[string]*secret), functions: make(map[string]Invoker),
		sessions: make(map[string]*session), roles: make(map[string]string), policies: make(map[string]*iampolicy.Policy), keyPolicies: make(map[string]*policy), organizations: make(map[string]string), quotas: make(map[quotaKey]*bucket),
	}
	s.ended = sync.NewCond(&s.mu)
	s.life, s.kill = context.WithCancel(context.Background())
	return s
}

// Stop ends the invocations that run, and begins no others. It must be called before
// the functions are closed: a rotation that is under way is not spoilt, and goes on
// in the next run from the state file, as after a crash.
func (s *Sim) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
	s.ended.Broadcast()
	return s.save() // with the time at which the clock goes on
}

func (s *Sim) stopped() bool { return s.life.Err() != nil }

// RegisterFunction makes a function known by its ARN. Any other ARN is refused
// as AWS refuses a function that does not exist or does not admit Secrets Manager.
func (s *Sim) RegisterFunction(arn string, f Invoker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.functions[arn] = f
}

// Own makes a secret one that a service has created, such as rds.
func (s *Sim) Own(arn, service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secrets := range s.accounts {
		for _, sec := range secrets {
			if sec.ARN == arn {
				sec.Owner = service
			}
		}
	}
}
