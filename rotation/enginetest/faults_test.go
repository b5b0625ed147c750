package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/google/uuid"

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

// TestFaultsOfSecretsManager rotates while Secrets Manager and the way to it misbehave.
func TestFaultsOfSecretsManager(t *testing.T) {
	for name, h := range map[string]Harness{
		"single":      &toyHarness{server: newToyServer(t)},
		"overlap":     &toyHarness{server: newToyServer(t), engine: toyEngine{overlap: true}},
		"alternating": &toyHarness{server: newToyServer(t), alternating: true},
		"superuser":   newLent(t),
		"minted":      &mintingHarness{toyHarness{server: newToyServer(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults(t, h)
			outdated(t, h)
			foreign(t, h)
		})
	}
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

// foreign leaves AWSPENDING on a version that was never filled, and on one that no rotation created. No step acts on
// it, and once the label is gone the next rotation succeeds.
func foreign(t testing.TB, h Harness) {
	w := newWorld(t, h)
	token := w.begin()
	if err := w.step(context.Background(), rotation.SetSecret, token); !errors.Is(err, engine.VersionNotStaged) {
		t.Fatalf("setSecret without a pending value: %v, want VersionNotStaged", err)
	}
	w.stage("AWSPENDING", token, "")
	w.made--
	w.must(w.rotate(), "after an empty AWSPENDING")
	left := uuid.NewString()
	w.put(w.first, left, "AWSPENDING")
	token = uuid.NewString()
	for _, step := range steps {
		if err := w.step(context.Background(), step, token); !errors.Is(err, engine.VersionNotStaged) {
			w.errorf("%s while another version is AWSPENDING: %v, want VersionNotStaged", step, err)
		}
	}
	w.must(w.notLockedOut(), "after a foreign AWSPENDING")
	w.stage("AWSPENDING", left, "")
	w.made++ // the version that was left
	w.must(w.rotate(), "after a foreign AWSPENDING")
}
