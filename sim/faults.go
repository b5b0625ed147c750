package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is a kind of failure that occurs occasionally on AWS, and that a rotation function must handle.
type Fault string

// The kinds of faults.
const (
	DuplicateStep Fault = "duplicate"   // runs a step twice, with the same ClientRequestToken
	LostAnswer    Fault = "lost-answer" // performs a call and cuts the connection instead of answering
	Throttle      Fault = "throttle"    // refuses a call with ThrottlingException
	StaleRead     Fault = "stale-read"  // hides the last write from a read, for two seconds
	Slow          Fault = "slow"        // delays a call by up to two seconds
	Crash         Fault = "crash"       // ends the function within a second of its start
	Deadline      Fault = "deadline"    // gives the function at most a second and a half
)

// AllFaults lists every kind.
var AllFaults = []Fault{DuplicateStep, LostAnswer, Throttle, StaleRead, Slow, Crash, Deadline}

// lowRate is the default share of calls or steps that a fault affects.
const lowRate = 0.01

// Faults decides when faults occur, with a seeded random source: the same seed and calls give the same decisions. A nil
// *Faults injects none.
type Faults struct {
	seed  uint64
	rates map[Fault]float64

	mu   sync.Mutex
	rand *rand.Rand
}

// NewFaults returns faults that each affect the given share of calls, between 0 and 1.
func NewFaults(seed uint64, rates map[Fault]float64) *Faults {
	return &Faults{seed: seed, rates: rates, rand: rand.New(rand.NewPCG(seed, 0))}
}

// ParseFaults parses the arguments of --fault: KIND or KIND=RATE, all or all=RATE for the kinds that are not named, and
// seed=N. It returns nil for no arguments.
func ParseFaults(args []string) (*Faults, error) {
	if len(args) == 0 {
		return nil, nil
	}
	seed, rates := rand.Uint64()%1e9, make(map[Fault]float64)
	for a := range strings.SplitSeq(strings.Join(args, ","), ",") {
		kind, value, given := strings.Cut(a, "=")
		rate, err := lowRate, error(nil)
		switch {
		case kind == "seed":
			if seed, err = strconv.ParseUint(value, 10, 64); err != nil {
				return nil, fmt.Errorf("fault seed %q is not a number", value)
			}
			continue
		case given:
			if rate, err = strconv.ParseFloat(value, 64); err != nil || !(rate >= 0 && rate <= 1) {
				return nil, fmt.Errorf("the rate of fault %q is not a number between 0 and 1", a)
			}
		}
		switch {
		case slices.Contains(AllFaults, Fault(kind)):
			rates[Fault(kind)] = rate
		case kind == "all":
			for _, k := range AllFaults {
				if _, named := rates[k]; !named {
					rates[k] = rate
				}
			}
		default:
			return nil, fmt.Errorf("fault %q is unknown: use all, seed=N or one of %v; without --fault there are none",
				a, AllFaults)
		}
	}
	return NewFaults(seed, rates), nil
}

// String formats faults in the syntax that ParseFaults accepts, or returns "none".
func (f *Faults) String() string {
	if f == nil {
		return "none"
	}
	out := []string{fmt.Sprintf("seed=%d", f.seed)}
	for _, k := range slices.Sorted(maps.Keys(f.rates)) {
		out = append(out, fmt.Sprintf("%s=%g", k, f.rates[k]))
	}
	return strings.Join(out, ",")
}

func (f *Faults) rate(k Fault) float64 {
	if f == nil {
		return 0
	}
	return f.rates[k]
}

// hit decides whether a fault occurs now.
func (f *Faults) hit(k Fault) bool {
	if f.rate(k) == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rand.Float64() < f.rates[k]
}

// within returns a random time up to d.
func (f *Faults) within(d time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(f.rand.Float64() * float64(d))
}

// mortal returns the context of an invocation, which a Crash or Deadline fault may end. Both use real time, like the
// function.
func (f *Faults) mortal(life context.Context) (context.Context, context.CancelFunc) {
	switch {
	case f.hit(Crash):
		ctx, crash := context.WithCancel(life)
		t := time.AfterFunc(f.within(time.Second), crash)
		return ctx, func() {
			t.Stop()
			crash()
		}
	case f.hit(Deadline):
		return context.WithTimeout(life, f.within(1500*time.Millisecond))
	}
	return context.WithCancel(life)
}
