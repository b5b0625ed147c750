package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// A death at these points leaves the same state as one before the next request or call, so it is not tested separately.
const (
	answerArrives = "before an answer of the target arrives"
	handshake     = "in a TLS handshake"
	afterReading  = "after reading by "
)

// points calls pass at every point until stop is called: before and after each call to Secrets Manager, and before each
// piece of data to or from the target. If pass returns false, the call, its answer or the data is lost.
func (w *world) points(pass func(where string) bool) (stop func()) {
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		if !pass("before " + operation) {
			return nil, io.ErrUnexpectedEOF
		}
		resp, err := send()
		after := afterReading
		if operation == "PutSecretValue" || operation == "UpdateSecretVersionStage" {
			after = "after "
		}
		if !pass(after+operation) && err == nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, resp.Body.Close())
		}
		return resp, err
	})
	if w.proxy == nil {
		return func() { w.wire.set(nil) }
	}
	w.proxy.Filter(func(p testserver.Chunk) bool {
		switch {
		case p.FromServer:
			return pass(answerArrives)
		case !p.First && isHandshake(p.Bytes):
			return pass(handshake)
		}
		return pass("before a request reaches the target")
	})
	return func() {
		w.wire.set(nil)
		w.proxy.Filter(nil)
	}
}

// isHandshake reports whether data begins with a TLS record of a handshake or of its change of ciphers. A request may
// follow in the same data; none preceded it on the connection.
// Source: RFC 8446, section 5.1
func isHandshake(data []byte) bool {
	return len(data) > 2 && (data[0] == 0x14 || data[0] == 0x16) && data[1] == 3 && data[2] > 0 && data[2] <= 4
}

// interrupt calls do and loses what is exchanged at the given point. If dead is true, the process dies there: nothing
// that it does afterwards has any effect, and points that leave the same state as the next one do not count. Otherwise
// the process keeps running, and one connection to the target or all tries of one call to Secrets Manager fail.
// interrupt returns a description of the point, or "" if there are fewer points.
func (w *world) interrupt(at int, dead bool, do func(context.Context) error) (where string, err error) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	var mu sync.Mutex
	seen := 0
	stop := w.points(func(point string) bool {
		mu.Lock()
		defer mu.Unlock()
		if where != "" {
			return !dead && (point != where || strings.Contains(point, "the target"))
		}
		if dead && (point == answerArrives || point == handshake || strings.HasPrefix(point, afterReading)) {
			return true
		}
		if seen++; seen < at {
			return true
		}
		where = point
		if dead {
			kill()
		}
		return false
	})
	err = do(ctx)
	stop()
	if dead && w.proxy != nil {
		w.proxy.Cut()
	}
	mu.Lock()
	defer mu.Unlock()
	return where, err
}

// sweep crashes a rotation at every point and retries it as Secrets Manager does. Nobody may be
// locked out in between, and the retry must succeed.
func sweep(t testing.TB, h Harness) {
	points := crashes(t, h, "sweep", func(w *world) (func(context.Context) error, func() error) {
		token := w.begin()
		return func(ctx context.Context) error { return w.all(ctx, token) }, func() error { return w.ended(token) }
	})
	if points < 8 {
		t.Errorf("the sweep found only %d points", points)
	}
}

// crashes crashes an operation at every point, or at every fourth if the tests are short, and repeats it. It returns how
// many points there are. begin prepares a world and returns the operation and a check of its outcome.
func crashes(t testing.TB, h Harness, name string,
	begin func(*world) (do func(context.Context) error, ended func() error)) (points int) {
	stride, lockouts, failures := 1, 0, 0
	if testing.Short() {
		stride = 4
	}
	for n := 0; ; n++ {
		w := newWorld(t, h)
		do, ended := begin(w)
		at := 1 + n*stride
		where, err := w.interrupt(at, true, do)
		if where == "" || failures > 10 {
			if failures == 0 {
				w.must(err, "%s without a crash", name)
				w.must(ended(), "after %s without a crash", name)
			}
			figure(t, "%s %s %s: %d points, %d lock-outs", name, w.kind.Names[0], w.strategy(), n, lockouts)
			return at - 1
		}
		w.at("crash at point %d, %s", at, where)
		lockedOut := func(when string) {
			if err := w.notLockedOut(); err != nil {
				lockouts++
				failures++
				w.errorf("%s: %v", when, err)
			}
		}
		lockedOut("after it")
		// Every third time the retry also crashes, at a point that moves through it.
		if n%3 == 2 {
			if again, _ := w.interrupt(1+(n+1)*7%23, true, do); again != "" {
				lockedOut("after a second crash, " + again)
			}
		}
		if err = do(context.Background()); err == nil {
			err = ended()
		}
		if err != nil {
			failures++
			w.errorf("the retry: %v", err)
		}
	}
}

// honest checks that the target is in the state that finishSecret's error names.
func (w *world) honest(failure error) error {
	if failure == nil {
		return nil
	}
	text := failure.Error()
	for state, labels := range map[string]map[string]bool{
		"; the target is unchanged: AWSCURRENT opens it":      {"AWSCURRENT": true},
		"; the target is restored: AWSCURRENT opens it again": {"AWSCURRENT": true},
		"; the target is changed: AWSPENDING opens it":        {"AWSPENDING": true},
		"; the target refuses AWSCURRENT and AWSPENDING": {
			"AWSPENDING": false, "AWSCURRENT": false,
		},
		"; this attempt did not change the target":                               nil,
		"; whether the target is changed is not known: AWSCURRENT or AWSPENDING": nil,
	} {
		if !strings.Contains(text, state) {
			continue
		}
		for label, want := range labels {
			if ok := w.open(w.labeled(label).value); ok != want {
				return fmt.Errorf("%s is accepted %v, but the error says: %w", label, ok, failure)
			}
		}
		return nil
	}
	if strings.HasPrefix(text, "finishSecret: ") {
		return fmt.Errorf("the error does not say the state of the target: %w", failure)
	}
	return nil
}

// notLockedOut checks that a labeled version opens the target, and that AWSCURRENT does before
// finishSecret or if it must work throughout. It tries twice before it reports a lock-out: the
// target may complete the change of a dead rotation between two logins.
func (w *world) notLockedOut() error {
	w.t.Helper()
	all := w.versions()
	for range 2 {
		opened := false
		for _, v := range all {
			if len(v.labels) == 0 {
				continue
			}
			ok := w.open(v.value)
			opened = opened || ok
			if !ok && (w.continuous() || !w.finishing.Load()) && slices.Contains(v.labels, "AWSCURRENT") {
				return errors.New("locked out: AWSCURRENT does not open the target")
			}
		}
		if opened {
			return nil
		}
	}
	return errors.New("locked out: no labeled version opens the target")
}

// broken lists the causes that a step may return if the network broke. A refusal or a wrong
// credential is not among them.
var broken = []engine.Cause{engine.Unreachable, engine.OutOfTime, engine.TLSFailed, engine.TargetFailed,
	engine.SecretsManagerFailed}

// cuts breaks one connection to the target, or all tries of one call to Secrets Manager, at every third point of a
// rotation. Unlike in a crash, the process keeps running and decides what to do next.
func cuts(t testing.TB, h Harness) {
	const stride = 3
	points := 0
	for at := 1; ; at += stride {
		w := newWorld(t, h)
		token := w.begin()
		where, err := w.interrupt(at, false, func(ctx context.Context) error { return w.all(ctx, token) })
		if where == "" {
			w.must(err, "a rotation without a cut")
			figure(t, "cuts %s %s: %d points, 0 lock-outs", w.kind.Names[0], w.strategy(), points)
			return
		}
		points++
		w.at("a cut at point %d, %s", at, where)
		if err != nil && !slices.Contains(broken, engine.CauseOf(err)) {
			t.Fatalf("%sthe step returned %v, want one of %v", w.place, err, broken)
		}
		w.must(w.notLockedOut(), "after the cut")
		w.must(w.honest(err), "the error")
		w.complete(token, "the retry")
	}
}

// late holds a rotation at every fifth point, lets a retry overtake it, and then releases it: what a call has read may
// be outdated by the time it acts.
func late(t testing.TB, h Harness) { overtaken(t, h, 5) }

func overtaken(t testing.TB, h Harness, stride int) {
	for at := 1; ; at += stride {
		w := newWorld(t, h)
		token := w.begin()
		held, release := w.hold(at)
		end := make(chan error, 1)
		go func() { end <- w.all(context.Background(), token) }()
		select {
		case err := <-end:
			release()
			w.must(err, "a rotation that nothing holds")
			w.must(w.ended(token), "after a rotation that nothing holds")
			return
		case <-held:
		}
		// The held call may block the other one, by a lock at the target or because it may still
		// store what it created. Of its time, two seconds are for labels; what is left must suffice to revoke what it
		// issued. finishSecret changes nothing with less than 8 seconds left.
		patience := 4 * time.Second
		if w.oneAtATime() {
			patience = 9 * time.Second
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		overtaking := w.all(ctx, token)
		cancel()
		release()
		first := <-end
		w.at("a rotation held at point %d (%v) and a retry (%v)", at, first, overtaking)
		for _, err := range []error{first, overtaking} {
			if errors.Is(err, engine.LoginRefused) || errors.Is(err, engine.SecretEdited) {
				t.Fatalf("%sbut nothing was refused or edited", w.place)
			}
		}
		w.must(w.notLockedOut(), "afterwards")
		w.complete(token, "the third attempt")
	}
}

// hold blocks the call that reaches the given point until release is called, and closes held when a call gets there.
// All other calls pass.
func (w *world) hold(at int) (held <-chan struct{}, release func()) {
	var seen atomic.Int64
	there, free := make(chan struct{}), make(chan struct{})
	stop := w.points(func(string) bool {
		if seen.Add(1) == int64(at) {
			close(there)
			<-free
		}
		return true
	})
	return there, func() {
		stop()
		close(free)
	}
}
