package lambdasim

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// sandbox is one process and its Runtime API.
type sandbox struct {
	command *exec.Cmd
	kill    context.CancelFunc
	events  chan *invocation // at most one
	exited  chan struct{}

	mu    sync.Mutex
	now   *invocation // the event without a response yet
	begin time.Time
	opts  Options
	ready sync.Once
}

// start starts a process for an event.
func (f *Function) start(inv *invocation) (*sandbox, error) {
	o := f.opts
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(f.life)
	s := &sandbox{opts: o, kill: kill, events: make(chan *invocation, 1), exited: make(chan struct{}), begin: time.Now()}
	s.expect(inv)
	mux := http.NewServeMux()
	const api = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+api+"invocation/next", s.next)
	mux.HandleFunc("POST "+api+"invocation/{id}/response", s.answer(""))
	mux.HandleFunc("POST "+api+"invocation/{id}/error", s.answer(sim.Unhandled))
	// The error of a runtime that could not start answers the waiting event.
	mux.HandleFunc("POST "+api+"init/error", s.answer(sim.Unhandled))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // always ends with ErrServerClosed
	part := strings.Split(o.ARN, ":")
	s.command = exec.CommandContext(life, f.command[0], f.command[1:]...)
	s.command.Cancel = func() error { return s.killAll() }
	s.command.Stdout, s.command.Stderr = o.Log, o.Log
	// Do not wait for children that a function leaves behind.
	s.command.WaitDelay = time.Second
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // allows killing it with its children
	s.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=:UTC", "LANG=en_US.UTF-8",
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=" + part[6],
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + part[6], "AWS_LAMBDA_LOG_STREAM_NAME=local",
		"AWS_REGION=" + part[3], "AWS_DEFAULT_REGION=" + part[3], "_HANDLER=" + f.handler,
		"AWS_ACCESS_KEY_ID=" + part[4], "AWS_SECRET_ACCESS_KEY=simulated", "AWS_EC2_METADATA_DISABLED=true",
	}, o.Env...)
	if err := s.command.Start(); err != nil {
		kill()
		server.Close()
		return nil, fmt.Errorf("cannot start the function: %w", err)
	}
	f.running.Go(func() {
		_ = s.command.Wait() // ProcessState has its exit status
		_ = s.killAll()      // its children
		kill()
		server.Close()
		close(s.exited)
	})
	return s, nil
}

// killAll kills the process and its children. It fails if they have already exited.
func (s *sandbox) killAll() error { return syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL) }

// end kills the process and waits for its exit.
func (s *sandbox) end() {
	s.kill()
	<-s.exited
}

// expect passes an event to the process, which is new or idle.
func (s *sandbox) expect(inv *invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = inv
	s.events <- inv
}

func (s *sandbox) next(w http.ResponseWriter, r *http.Request) {
	s.ready.Do(func() {
		if s.opts.Ready != nil {
			s.opts.Ready(time.Since(s.begin))
		}
	})
	select {
	case inv := <-s.events:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", s.opts.ARN)
		_, _ = w.Write(inv.payload)
	case <-r.Context().Done():
	}
}

// answer returns the handler of a response, or of an error. A response to any other event is refused.
func (s *sandbox) answer(functionError string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil || s.now == nil || id != "" && id != s.now.id {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.now.done <- result{body, functionError}
		s.now = nil
		if id == "" { // a runtime that could not start has not received the invocation
			s.kill()
			select {
			case <-s.events:
			default:
			}
		}
		w.WriteHeader(http.StatusAccepted)
	}
}
