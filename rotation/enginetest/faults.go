package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// faults rotates while Secrets Manager and the network misbehave.
func faults(t testing.TB, h Harness) error {
	count := map[string]int{}
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
		"answers are late": func(_ string, send sender) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond)
			return send()
		},
		"a read after a write finds nothing": func(operation string, send sender) (*http.Response, error) {
			if operation == "PutSecretValue" {
				count = map[string]int{}
			}
			if operation == "GetSecretValue" && count["stale"] < 2 && count["PutSecretValue"] == 0 {
				count["stale"]++
				resp, err := send()
				// Only the pending version is recent enough to be missing.
				if err == nil {
					body, rerr := io.ReadAll(resp.Body)
					resp.Body.Close()
					if rerr == nil && bytes.Contains(body, []byte("AWSPENDING")) && resp.StatusCode == 200 {
						return failure("ResourceNotFoundException"), nil
					}
					resp.Body = io.NopCloser(bytes.NewReader(body))
				}
				return resp, err
			}
			return send()
		},
	} {
		w, err := newWorld(t, h)
		if err != nil {
			return err
		}
		count = map[string]int{}
		token, err := w.begin()
		if err != nil {
			return err
		}
		w.wire.set(handle)
		err = w.all(context.Background(), token)
		w.wire.set(nil)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := outdated(t, h); err != nil {
		return err
	}
	return hung(t, h)
}

// outdated repeats steps of a finished rotation while DescribeSecret still returns the labels from
// before the promotion.
func outdated(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil {
		return err
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	var before []byte
	w.wire.set(func(operation string, send sender) (*http.Response, error) {
		resp, err := send()
		if operation == "DescribeSecret" && err == nil {
			before, err = io.ReadAll(resp.Body)
			err = errors.Join(err, resp.Body.Close())
			resp.Body = io.NopCloser(bytes.NewReader(before))
		}
		return resp, err
	})
	err = w.all(context.Background(), token)
	w.wire.set(nil)
	if err != nil {
		return err
	}
	for _, step := range []rotation.Step{rotation.CreateSecret, rotation.FinishSecret} {
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
		if err != nil {
			return fmt.Errorf("%s of a finished rotation, with an old description: %w", step, err)
		}
		if err := w.ended(token); err != nil {
			return fmt.Errorf("%s of a finished rotation, with an old description: %w", step, err)
		}
	}
	return nil
}

// hung makes the target fall silent in each step. The step must end within its deadline with a
// cause, and the rotation must finish when the target is back.
func hung(t testing.TB, h Harness) error {
	w, err := newWorld(t, h)
	if err != nil || w.proxy == nil {
		return err
	}
	token, err := w.begin()
	if err != nil {
		return err
	}
	for _, step := range steps {
		limit := 1500 * time.Millisecond
		if step == rotation.FinishSecret {
			limit = 9 * time.Second // it changes nothing with less than 8
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
		if step == rotation.FinishSecret && err == nil && !w.oneAtATime() {
			break // it does not call the target
		}
		if took > limit {
			return fmt.Errorf("%s with a silent target took %s of %s", step, took, limit)
		}
		if step == rotation.SetSecret && err == nil && w.oneAtATime() && w.kind.Overlap == engine.OneAtATime {
			continue // it does not call the target
		}
		if cause := engine.CauseOf(err); err == nil || cause != engine.Unreachable && cause != engine.OutOfTime {
			return fmt.Errorf("%s with a silent target: %v, want the cause Unreachable or OutOfTime", step, err)
		}
		if err := w.notLockedOut(); err != nil {
			return fmt.Errorf("%s with a silent target: %w", step, err)
		}
		if err := w.step(context.Background(), step, token); err != nil {
			return fmt.Errorf("%s after the target was silent: %w", step, err)
		}
	}
	return w.ended(token)
}
