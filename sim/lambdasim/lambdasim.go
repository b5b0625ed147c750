// Package lambdasim runs a real Lambda binary on this machine: it serves the
// Lambda Runtime API that the binary polls, hands it events and takes its
// answers, and ends it when its time is over, as Lambda does.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package lambdasim

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Options configure a Function; the zero value is usable.
type Options struct {
	// ARN is the function's ARN. Its region, account and name are those that
	// the function finds in its environment; its access key is the account, by
	// which the simulator knows it.
	ARN string
	// Args are the program's arguments.
	Args []string
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
}

// Function is a Lambda binary that can be invoked. It is safe for concurrent
// use: like Lambda it starts one more process for each invocation that finds all
// others busy.
type Function struct {
	path string
	opts Options

	mu     sync.Mutex
	idle   []*sandbox
	all    map[*sandbox]bool
	closed bool
}

// New returns the function of a binary, which starts with the first invocation.
// It fails if there is no such program.
func New(path string, o Options) (*Function, error) {
	if _, err := exec.LookPath(path); err != nil {
		return nil, fmt.Errorf("cannot run the function: %w", err)
	}
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	o.ARN = cmp.Or(o.ARN, "arn:aws:lambda:us-east-1:123456789012:function:rotator")
	if p := strings.Split(o.ARN, ":"); len(p) < 7 || p[0] != "arn" {
		return nil, notARN(o.ARN)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return &Function{path: path, opts: o, all: make(map[*sandbox]bool)}, nil
}

var (
	//go:embed runtime.py
	pythonRuntime string
	//go:embed runtime.mjs
	nodeRuntime string
)

// Python returns a function in Python whose handler is named as Lambda's setting is, such as
// lambda_function.lambda_handler. The program python3 runs it.
func Python(handler string, o Options) (*Function, error) {
	o.Args = []string{"-u", "-c", pythonRuntime, handler}
	return script("python3", handler, o)
}

// Node returns a function in JavaScript whose handler, an async function, is named as Lambda's
// setting is, such as index.handler. The program node, of version 20 or later, runs it.
func Node(handler string, o Options) (*Function, error) {
	o.Args = []string{"--input-type=module", "--eval", nodeRuntime, handler}
	return script("node", handler, o)
}

func script(program, handler string, o Options) (*Function, error) {
	if file, name, ok := strings.Cut(filepath.Base(handler), "."); !ok || file == "" || name == "" {
		return nil, fmt.Errorf("%q is not a handler, which is FILE.FUNCTION without the file's extension", handler)
	}
	o.Env = append([]string{"_HANDLER=" + handler}, o.Env...)
	return New(program, o)
}

func notARN(text string) error { return fmt.Errorf("%q is not the ARN of a function", text) }

// Invoke calls the function and waits for its answer. functionError is what
// Lambda puts into the header X-Amz-Function-Error: "" for success, and
// "Unhandled" also where the process died or took longer than its time-out. A
// deadline of ctx that comes before is announced to the function as its own; when
// ctx ends the process is ended too. err says that no process could be started.
func (f *Function) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	inv := &invocation{id: uuid.NewString(), payload: payload, deadline: deadline, done: make(chan result, 1)}
	s, warm, err := f.take()
	for ; err == nil && !s.invoke(ctx, inv) && warm; s, warm, err = f.take() {
		f.end(s) // it was about to exit, and has not seen the event
	}
	if err != nil {
		return nil, "", err
	}
	select {
	case r := <-inv.done:
		if r.fatal {
			f.end(s)
		} else {
			f.give(s)
		}
		if r.failed {
			return r.body, "Unhandled", nil
		}
		return r.body, "", nil
	case <-s.exited:
		f.end(s)
		return failure("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited with error: %s", inv.id, s.command.ProcessState))
	case <-ctx.Done():
		f.end(s)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return failure("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, time.Since(begin).Seconds()))
		}
		return failure("Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited with error: signal: killed", inv.id))
	}
}

func failure(kind, message string) ([]byte, string, error) {
	body, err := json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	return body, "Unhandled", err
}

// Close ends every process of the function, the busy ones too.
func (f *Function) Close() error {
	f.mu.Lock()
	f.closed = true
	all := f.all
	f.all, f.idle = make(map[*sandbox]bool), nil
	f.mu.Unlock()
	for s := range all {
		s.end()
	}
	return nil
}

// take returns a process that waits for an event, which is a warm one, or a new
// one.
func (f *Function) take() (s *sandbox, warm bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, errors.New("the function is closed")
	}
	for n := len(f.idle); n > 0; n = len(f.idle) {
		s := f.idle[n-1]
		f.idle = f.idle[:n-1]
		return s, true, nil
	}
	if s, err = start(f.path, f.opts); err == nil {
		f.all[s] = true
	}
	return s, false, err
}

func (f *Function) give(s *sandbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.idle = append(f.idle, s)
	}
}

func (f *Function) end(s *sandbox) {
	f.mu.Lock()
	delete(f.all, s)
	f.mu.Unlock()
	s.end()
}
