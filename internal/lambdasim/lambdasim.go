// Package lambdasim runs a real Lambda binary on this machine: it serves the
// Lambda Runtime API that the binary polls, hands it events and takes its
// answers, and ends it when its time is over, as Lambda does.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package lambdasim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options configure a Function; the zero value is usable.
type Options struct {
	// ARN is the function's ARN.
	ARN string
	// Env is added to the function's environment, NAME=VALUE. Nothing of this
	// process's environment is passed on but PATH and HOME.
	Env []string
	// Timeout bounds one invocation: 60 s.
	Timeout time.Duration
	// Log gets what the function prints; nil drops it.
	Log io.Writer
	// Ready, if set, is told how long a process took from its start to its
	// first request for an event.
	Ready func(time.Duration)
	// Ended, if set, is given the state of a process that has ended.
	Ended func(*os.ProcessState)
}

// Function is a Lambda binary that can be invoked. It is safe for concurrent
// use: like Lambda it starts one more process for each invocation that finds all
// others busy.
type Function struct {
	path string
	opts Options

	mu     sync.Mutex
	idle   []*sandbox
	closed bool
}

// New returns the function of a binary, which starts with the first invocation.
func New(path string, o Options) (*Function, error) {
	if _, err := exec.LookPath(path); err != nil {
		return nil, fmt.Errorf("cannot run the function: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.ARN == "" {
		o.ARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return &Function{path: path, opts: o}, nil
}

// Invoke calls the function and waits for its answer. functionError is what
// Lambda puts into the header X-Amz-Function-Error: "" for success.
func (f *Function) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
	s, err := f.take()
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	a, err := s.invoke(ctx, payload, time.Now().Add(f.opts.Timeout))
	switch {
	case err == nil:
		f.give(s)
	case errors.Is(err, context.DeadlineExceeded):
		s.end()
		return failure("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", a.id, f.opts.Timeout.Seconds()))
	case errors.Is(err, errExited):
		s.end()
		return failure("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited", a.id))
	default:
		s.end()
		return nil, "", err
	}
	if a.failed {
		return a.body, "Unhandled", nil
	}
	return a.body, "", nil
}

func failure(kind, message string) ([]byte, string, error) {
	body, err := json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	return body, "Unhandled", err
}

// Close ends every process of the function.
func (f *Function) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, s := range f.idle {
		s.end()
	}
	f.idle = nil
	return nil
}

func (f *Function) take() (*sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("the function is closed")
	}
	if n := len(f.idle); n > 0 {
		s := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return s, nil
	}
	return start(f.path, f.opts)
}

func (f *Function) give(s *sandbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.end()
		return
	}
	f.idle = append(f.idle, s)
}

var errExited = errors.New("the process has exited")

// event is one invocation on its way to the process.
type event struct {
	id       string
	payload  []byte
	deadline time.Time
}

// result is what the process answered.
type result struct {
	id     string
	body   []byte
	failed bool
}

// sandbox is one process with the Runtime API that serves it.
type sandbox struct {
	opts     Options
	command  *exec.Cmd
	server   *http.Server
	events   chan event
	results  chan result
	exited   chan struct{}
	stopOnce sync.Once
	begin    time.Time
	ready    sync.Once
}

func start(path string, o Options) (*sandbox, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sandbox{opts: o, events: make(chan event), results: make(chan result, 1), exited: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", s.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, false) })
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, true) })
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, true) })
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }()
	s.command = exec.Command(path)
	s.command.Stdout, s.command.Stderr = o.Log, o.Log
	s.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=rotator", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_REGION=us-east-1", "_HANDLER=bootstrap",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "AWS_EC2_METADATA_DISABLED=true",
	}, o.Env...)
	s.begin = time.Now()
	if err := s.command.Start(); err != nil {
		_ = s.server.Close()
		return nil, fmt.Errorf("cannot start the function: %w", err)
	}
	go func() {
		_ = s.command.Wait()
		if o.Ended != nil {
			o.Ended(s.command.ProcessState)
		}
		close(s.exited)
	}()
	return s, nil
}

func (s *sandbox) end() {
	s.stopOnce.Do(func() {
		_ = s.command.Process.Kill()
		<-s.exited
		_ = s.server.Close()
	})
}

func (s *sandbox) invoke(ctx context.Context, payload []byte, deadline time.Time) (result, error) {
	e := event{id: requestID(), payload: payload, deadline: deadline}
	select {
	case s.events <- e:
	case r := <-s.results: // the runtime could not even begin
		return r, nil
	case <-s.exited:
		return result{id: e.id}, errExited
	case <-ctx.Done():
		return result{id: e.id}, ctx.Err()
	}
	select {
	case r := <-s.results:
		return r, nil
	case <-s.exited:
		return result{id: e.id}, errExited
	case <-ctx.Done():
		return result{id: e.id}, ctx.Err()
	}
}

func (s *sandbox) next(w http.ResponseWriter, r *http.Request) {
	s.ready.Do(func() {
		if s.opts.Ready != nil {
			s.opts.Ready(time.Since(s.begin))
		}
	})
	select {
	case e := <-s.events:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", s.opts.ARN)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+strings.ReplaceAll(e.id, "-", "")[:8]+"-"+strings.ReplaceAll(e.id, "-", "")[8:])
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(e.payload)
	case <-r.Context().Done():
	}
}

func (s *sandbox) answer(w http.ResponseWriter, r *http.Request, failed bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 6<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	s.results <- result{id: r.PathValue("id"), body: body, failed: failed}
}

// requestID returns a random UUID.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
