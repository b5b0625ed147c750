// Package lambdasim runs a real Lambda binary on this machine, as Lambda does: it serves the Lambda
// Runtime API, passes events to the binary, receives its responses, and ends it at its timeout.
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
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/uuid"

	"example.com/rotator/sim"
)

// Options configures a Function. The zero value is usable.
type Options struct {
	ARN string // the function's access key is the account in it, which identifies the function to the simulator
	// Env is added to the function's environment, as NAME=VALUE. Of this process's, it gets only PATH and HOME.
	Env     []string
	Timeout time.Duration // of one invocation, by default a minute
	Log     io.Writer     // for the function's output, or nil
	// Ready, if set, is called with the time from a process's start to its first request for an event.
	Ready func(time.Duration)
}

// Function is a Lambda binary that can be invoked. It is safe for concurrent use: like Lambda, it
// starts another process if all others are busy.
type Function struct {
	runtime, handler string
	command          []string
	opts             Options

	// life ends on Close, which kills every process.
	life  context.Context
	close context.CancelFunc

	mu      sync.Mutex
	idle    []*sandbox
	running sync.WaitGroup
}

// New returns a function that runs a binary. The first invocation starts it. New fails if the program does not exist.
func New(path string, o Options) (*Function, error) {
	return newFunction(o, "provided.al2023", "bootstrap", path)
}

func newFunction(o Options, runtime, handler string, command ...string) (*Function, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
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
	f := &Function{runtime: runtime, handler: handler, command: command, opts: o}
	f.life, f.close = context.WithCancel(context.Background())
	return f, nil
}

var (
	//go:embed runtime.py
	pythonRuntime string
	//go:embed runtime.mjs
	nodeRuntime string
)

// Python returns a Python function with a handler in Lambda's notation, such as
// lambda_function.lambda_handler. python3 runs it.
func Python(handler string, o Options) (*Function, error) {
	return script(o, "python3.13", handler, "python3", "-u", "-c", pythonRuntime, handler)
}

// Node returns a JavaScript function with an async handler in Lambda's notation, such as
// index.handler. node, version 18 or later, runs it.
func Node(handler string, o Options) (*Function, error) {
	return script(o, "nodejs22.x", handler, "node", "--input-type=module", "--eval", nodeRuntime, handler)
}

func script(o Options, runtime, handler string, command ...string) (*Function, error) {
	if file, name, ok := strings.Cut(filepath.Base(handler), "."); !ok || file == "" || name == "" {
		return nil, fmt.Errorf("%q is not a handler, which is FILE.FUNCTION without the file's extension", handler)
	}
	return newFunction(o, runtime, handler, command...)
}

// Configuration returns what Lambda's API returns about the function.
func (f *Function) Configuration() sim.Configuration {
	c := sim.Configuration{Runtime: f.runtime, Handler: filepath.Base(f.handler), Timeout: f.opts.Timeout,
		Environment: make(map[string]string)}
	for _, e := range f.opts.Env {
		if name, value, ok := strings.Cut(e, "="); ok {
			c.Environment[name] = value
		}
	}
	return c
}

func notARN(text string) error { return fmt.Errorf("%q is not the ARN of a function", text) }

// Invoke implements sim.Invoker. A crash or a timeout is a functionError. err means that no process could be started.
func (f *Function) Invoke(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	inv := &invocation{id: uuid.NewString(), payload: payload, begin: time.Now(), deadline: deadline,
		done: make(chan result, 1)}
	for {
		s, warm, err := f.take(inv)
		if err != nil {
			return nil, "", err
		}
		r, received := f.wait(ctx, s, inv)
		if received || !warm || ctx.Err() != nil {
			return r.body, r.functionError, nil
		}
	}
}

// wait waits for a process's response to an event. It also reports whether the process received the event: an idle one
// may exit without doing so.
func (f *Function) wait(ctx context.Context, s *sandbox, inv *invocation) (_ result, received bool) {
	select {
	case r := <-inv.done:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.idle = append(f.idle, s)
		return r, true
	case <-s.exited:
	case <-ctx.Done():
	}
	s.end()
	select {
	case r := <-inv.done: // it answered before it ended
		return r, true
	default:
	}
	kind, message := "Runtime.ExitError", fmt.Sprintf("Runtime exited with error: %s", s.command.ProcessState)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = "Sandbox.Timedout"
		message = fmt.Sprintf("Task timed out after %.2f seconds", time.Since(inv.begin).Seconds())
	}
	body, functionError, _ := sim.Failed(kind, fmt.Sprintf("RequestId: %s Error: %s", inv.id, message))
	return result{body: body, functionError: functionError}, len(s.events) == 0
}

// Close ends every process of the function, including busy ones.
func (f *Function) Close() error {
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	f.running.Wait()
	return nil
}

// take returns a process for an event: an idle one, which is warm, or a new one.
func (f *Function) take(inv *invocation) (s *sandbox, warm bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.Err() != nil {
		return nil, false, errors.New("the function is closed")
	}
	if n := len(f.idle); n > 0 {
		s, f.idle = f.idle[n-1], f.idle[:n-1]
		s.expect(inv)
		return s, true, nil
	}
	s, err = f.start(inv)
	return s, false, err
}

// longest is the maximum timeout of a Lambda function.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const longest = 15 * time.Minute

// Remote returns the function with an ARN behind a server of Lambda's Invoke API, such as `sam local start-lambda`. The
// server enforces the function's timeout. An alias or version in the ARN is dropped, because SAM does not support them.
func Remote(base, arn string) (sim.InvokerFunc, error) {
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL", base)
	}
	part := strings.Split(arn, ":")
	if len(part) < 7 {
		return nil, notARN(arn)
	}
	client := lambda.New(lambda.Options{BaseEndpoint: &base, Region: part[3], Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(part[4], "simulated", "")})
	return func(ctx context.Context, payload []byte) (body []byte, functionError string, err error) {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		out, err := client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &part[6], Payload: payload})
		if err != nil {
			return nil, "", err
		}
		// SAM reports a timeout without the header, and not as JSON.
		if out.FunctionError == nil && !json.Valid(out.Payload) {
			return out.Payload, sim.Unhandled, nil
		}
		return out.Payload, aws.ToString(out.FunctionError), nil
	}, nil
}
