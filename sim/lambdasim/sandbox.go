package lambdasim

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/rotator/sim"
)

// invocation is an event for a process, and its response.
type invocation struct {
	id              string
	payload         []byte
	begin, deadline time.Time
	done            chan result
}

// result is a process's response.
type result struct {
	body          []byte
	functionError string
}

// maxAnswer is the maximum size of a response on Lambda.
const maxAnswer = 6291556

// sandbox is one process and its Runtime API.
type sandbox struct {
	command *exec.Cmd
	kill    context.CancelFunc
	events  chan *invocation
	exited  chan struct{}

	mu     sync.Mutex
	now    *invocation // the event without a response yet
	broken []byte      // its error if it could not start

	begin time.Time
	opts  Options
	ready sync.Once
}

func (f *Function) start() (*sandbox, error) {
	o := f.opts
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sandbox{opts: o, events: make(chan *invocation), exited: make(chan struct{}), begin: time.Now()}
	mux := http.NewServeMux()
	const api = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+api+"invocation/next", s.next)
	mux.HandleFunc("POST "+api+"invocation/{id}/response",
		func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, "") })
	mux.HandleFunc("POST "+api+"invocation/{id}/error",
		func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, sim.Unhandled) })
	mux.HandleFunc("POST "+api+"init/error", s.initError)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // always ends with ErrServerClosed
	part := strings.Split(o.ARN, ":")
	life, kill := context.WithCancel(f.life)
	s.kill = kill
	s.command = exec.CommandContext(life, f.path, o.Args...)
	s.command.Cancel = func() error { return s.killAll() }
	s.command.Stdout, s.command.Stderr = o.Log, o.Log
	// Do not wait for children that a function leaves behind.
	s.command.WaitDelay = time.Second
	s.command.SysProcAttr = attributes()
	s.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=:UTC", "LANG=en_US.UTF-8",
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=" + part[6],
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + part[6], "AWS_LAMBDA_LOG_STREAM_NAME=local",
		"AWS_REGION=" + part[3], "AWS_DEFAULT_REGION=" + part[3], "_HANDLER=bootstrap",
		"AWS_ACCESS_KEY_ID=" + part[4], "AWS_SECRET_ACCESS_KEY=simulated", "AWS_EC2_METADATA_DISABLED=true",
	}, o.Env...)
	started := make(chan error)
	f.running.Go(func() {
		// Linux kills the process when the thread that started it ends, so keep that thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer server.Close()
		defer kill()
		err := s.command.Start()
		started <- err
		if err == nil {
			_ = s.command.Wait() // ProcessState has its exit status
			_ = s.killAll()      // its children
			close(s.exited)
		}
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start the function: %w", err)
	}
	return s, nil
}

// killAll kills the process and its children. It fails if they have already exited.
func (s *sandbox) killAll() error { return syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL) }

// end kills the process and waits for its exit.
func (s *sandbox) end() {
	s.kill()
	<-s.exited
}

// invoke passes an event to the process. It returns false if the process ended without receiving it.
func (s *sandbox) invoke(ctx context.Context, inv *invocation) bool {
	s.mu.Lock()
	s.now = inv
	s.mu.Unlock()
	select {
	case s.events <- inv:
		return true
	case <-s.exited:
		return false
	case <-ctx.Done():
		return true
	}
}

func (s *sandbox) next(w http.ResponseWriter, r *http.Request) {
	s.ready.Do(func() {
		if s.opts.Ready != nil {
			s.opts.Ready(time.Since(s.begin))
		}
	})
	select {
	case inv := <-s.events:
		hex := strings.ReplaceAll(inv.id, "-", "")
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", s.opts.ARN)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+hex[:8]+"-"+hex[8:]+";Sampled=0")
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(inv.payload)
	case <-r.Context().Done():
	}
}

func (s *sandbox) answer(w http.ResponseWriter, r *http.Request, functionError string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || s.now.id != r.PathValue("id") {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			"Exceeded maximum allowed payload size (6291556 bytes).")
		body, functionError, _ = sim.Failed("Function.ResponseSizeTooLarge",
			"Response payload size exceeded maximum allowed payload size (6291556 bytes).")
	} else {
		w.WriteHeader(http.StatusAccepted)
	}
	s.now.done <- result{body, functionError}
	s.now = nil
}

// initError receives the error of a runtime that could not start, and kills it. The error answers the waiting event.
func (s *sandbox) initError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.broken = body
	s.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	s.kill()
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.WriteHeader(status)
	body, _, _ := sim.Failed(kind, message)
	_, _ = w.Write(body)
}
