package sim

import (
	"slices"
	"sync"
	"time"
)

// Clock is a source of time for schedules, retries and the ages of versions.
type Clock interface {
	Now() time.Time
	// At calls f at t, or as soon as possible if t has passed. stop reports whether it prevented the call.
	At(t time.Time, f func()) (stop func() bool)
	// Go runs f concurrently. A clock that is moved by hand waits for f.
	Go(f func())
}

type realClock struct {
	begin, real time.Time
	speed       float64
}

// RealTime returns the machine's clock.
func RealTime() Clock { return FastTime(time.Now(), 1) }

// FastTime returns a clock that starts at begin and runs speed times as fast as the machine's.
func FastTime(begin time.Time, speed float64) Clock { return &realClock{begin, time.Now(), speed} }

func (c *realClock) Now() time.Time {
	return c.begin.Add(time.Duration(float64(time.Since(c.real)) * c.speed)).UTC()
}

func (c *realClock) At(t time.Time, f func()) func() bool {
	return time.AfterFunc(time.Duration(float64(t.Sub(c.Now()))/c.speed), f).Stop
}

func (c *realClock) Go(f func()) { go f() }

// ManualClock moves only when Advance is called. A test, or a benchmark of a whole year, runs as
// fast as the machine can.
type ManualClock struct {
	mu   sync.Mutex
	idle *sync.Cond
	now  time.Time
	due  []*entry // earliest first
	busy int
}

type entry struct {
	t time.Time
	f func()
}

// NewManualClock returns a clock that is stopped at now.
func NewManualClock(now time.Time) *ManualClock {
	c := &ManualClock{now: now.UTC()}
	c.idle = sync.NewCond(&c.mu)
	return c
}

// Now returns the clock's time.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// At calls f when the clock reaches t.
func (c *ManualClock) At(t time.Time, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &entry{t, f}
	c.due = append(c.due, e)
	slices.SortStableFunc(c.due, func(a, b *entry) int { return a.t.Compare(b.t) })
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.due, e)
		if i >= 0 {
			c.due = slices.Delete(c.due, i, i+1)
		}
		return i >= 0
	}
}

// Go runs f concurrently; Advance waits for it.
func (c *ManualClock) Go(f func()) {
	c.mu.Lock()
	c.busy++
	c.mu.Unlock()
	go func() {
		defer c.rest(-1)
		f()
	}()
}

func (c *ManualClock) rest(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy += n; c.busy == 0 {
		c.idle.Broadcast()
	}
}

// Advance moves the clock by d and runs, in order, everything that falls due on the way.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now.Add(d)
	for {
		for c.busy > 0 {
			c.idle.Wait()
		}
		if len(c.due) == 0 || c.due[0].t.After(end) {
			c.now = end
			return
		}
		e := c.due[0]
		c.due = c.due[1:]
		if e.t.After(c.now) {
			c.now = e.t
		}
		c.mu.Unlock()
		e.f()
		c.mu.Lock()
	}
}
