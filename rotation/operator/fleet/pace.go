package fleet

import (
	"context"
	"time"
)

// RotatePace keeps rotations below Secrets Manager's quota of 50 writes a second for an account, since
// each rotation writes twice.
const RotatePace = 20

// Pace spaces calls to stay below a quota. It is safe for concurrent use.
type Pace struct {
	gap time.Duration
	// last holds the time of the last call. Whichever goroutine takes it out makes the next.
	last chan time.Time
}

// NewPace returns a pace of perSecond calls per second.
func NewPace(perSecond int) *Pace {
	p := &Pace{time.Second / time.Duration(perSecond), make(chan time.Time, 1)}
	p.last <- time.Time{}
	return p
}

// Wait returns when the next call may be made, or returns the error of ctx. Delayed calls do not catch up.
func (p *Pace) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case last := <-p.last:
		err := sleep(ctx, time.Until(last.Add(p.gap)))
		if err == nil {
			last = time.Now()
		}
		p.last <- last
		return err
	}
}

// Try reports whether a call may be made now. If so, it counts as made.
func (p *Pace) Try() bool {
	select {
	case last := <-p.last:
		ok := time.Since(last) >= p.gap
		if ok {
			last = time.Now()
		}
		p.last <- last
		return ok
	default:
		return false
	}
}

// sleep waits for d, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return ctx.Err()
	}
}
