package enginetest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// failure is an error response of Secrets Manager.
func failure(code string) *http.Response {
	body := `{"__type":"` + code + `","Message":"made up by the suite"}`
	return &http.Response{StatusCode: 400, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
		Body: io.NopCloser(bytes.NewBufferString(body))}
}

// denied answers a call that the function may not make.
func denied(sender) (*http.Response, error) { return failure("AccessDeniedException"), nil }

// body reads the body of a response, which stays readable.
func body(resp *http.Response) []byte {
	data, _ := io.ReadAll(resp.Body) // the SDK would miss the same bytes
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return data
}

// faults rotates while Secrets Manager and the network misbehave.
func faults(t testing.TB, h Harness) {
	var count map[string]int
	once := func(operation string) bool { count[operation]++; return count[operation] == 1 }
	for name, handle := range map[string]hook{
		"every call is throttled once": func(operation string, send sender) (*http.Response, error) {
			if once(operation) {
				return failure("ThrottlingException"), nil
			}
			count[operation] = 0
			return send()
		},
		"every answer is lost once": func(operation string, send sender) (*http.Response, error) {
			resp, err := send()
			if once(operation) && err == nil {
				resp.Body.Close()
				return nil, io.ErrUnexpectedEOF
			}
			count[operation] = 0
			return resp, err
		},
		"a read after a write finds nothing": func(operation string, send sender) (*http.Response, error) {
			if operation == "PutSecretValue" {
				count = map[string]int{}
			}
			resp, err := send()
			if operation == "GetSecretValue" && count["stale"] < 2 {
				count["stale"]++
				// Only the pending version is recent enough to be missing.
				if err == nil && resp.StatusCode == 200 && bytes.Contains(body(resp), []byte("AWSPENDING")) {
					return failure("ResourceNotFoundException"), nil
				}
			}
			return resp, err
		},
	} {
		w := newWorld(t, h)
		w.at("%s", name)
		count = map[string]int{}
		token := w.begin()
		w.wire.set(handle)
		w.complete(token, "a rotation")
		w.wire.set(nil)
	}
	outdated(t, h)
	hung(t, h)
}

// outdated repeats steps of a finished rotation while DescribeSecret still returns the labels from
// before the promotion.
func outdated(t testing.TB, h Harness) {
	w := newWorld(t, h)
	token := w.begin()
	var before []byte
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		resp, err := send()
		if operation == "DescribeSecret" && err == nil {
			before = body(resp)
		}
		return resp, err
	})
	err := w.all(context.Background(), token)
	w.wire.set(nil)
	w.must(err, "a rotation")
	for _, step := range []rotation.Step{rotation.CreateSecret, rotation.FinishSecret} {
		w.at("%s of a finished rotation, with an old description", step)
		seen := 0
		w.wire.set(func(operation string, send sender) (*http.Response, error) {
			resp, err := send()
			if operation == "DescribeSecret" && err == nil {
				if seen++; seen == 1 {
					resp.ContentLength = int64(len(before))
					err = resp.Body.Close()
					resp.Body = io.NopCloser(bytes.NewReader(before))
				}
			}
			return resp, err
		})
		err := w.step(context.Background(), step, token)
		w.wire.set(nil)
		w.must(err, "the call")
		w.must(w.ended(token), "afterwards")
	}
}

// hung makes the target stop answering in each step. The step must end within its deadline with a cause, and the
// rotation must finish when the target is back.
func hung(t testing.TB, h Harness) {
	w := newWorld(t, h)
	if w.proxy == nil {
		return
	}
	token := w.begin()
	for _, step := range steps {
		w.at("%s with a silent target", step)
		limit := 1500 * time.Millisecond
		if step == rotation.FinishSecret {
			limit = 9 * time.Second // it changes nothing with less than 8 s left
		}
		release := make(chan struct{})
		w.proxy.Filter(func(p testserver.Chunk) bool {
			if p.FromServer {
				<-release
			}
			return true
		})
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		begin := time.Now()
		err := w.step(ctx, step, token)
		took := time.Since(begin)
		cancel()
		close(release)
		w.proxy.Filter(nil)
		w.proxy.Cut()
		idle := step == rotation.FinishSecret && !w.oneAtATime() ||
			step == rotation.SetSecret && w.oneAtATime() && w.kind.Overlap == engine.OneAtATime
		if idle && err == nil {
			continue // it does not call the target
		}
		if cause := engine.CauseOf(err); err == nil || cause != engine.Unreachable && cause != engine.OutOfTime {
			t.Fatalf("%s%v, want the cause Unreachable or OutOfTime", w.place, err)
		}
		if took > limit {
			t.Fatalf("%sit took %s of %s", w.place, took, limit)
		}
		w.must(w.notLockedOut(), "afterwards")
		w.must(w.step(context.Background(), step, token), "the retry")
	}
	w.must(w.ended(token), "at the end")
}
