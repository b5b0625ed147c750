package lambdasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"example.com/rotator/sim"
)

// The test binary is also the Lambda function, with AWS's own runtime client.
func TestMain(m *testing.M) {
	if os.Getenv("ORPHANS") != "" {
		leaveBehind()
	}
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	if broken := os.Getenv("BROKEN"); broken != "" {
		resp, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/init/error",
			"application/json", strings.NewReader(`{"errorType":"Extension.Unwell"}`))
		if err == nil {
			resp.Body.Close()
		}
		if broken == "stays" {
			time.Sleep(time.Minute)
		}
		os.Exit(1)
	}
	count := 0
	lambda.Start(func(ctx context.Context, in map[string]string) (any, error) {
		count++
		deadline, _ := ctx.Deadline()
		lc, _ := lambdacontext.FromContext(ctx)
		switch in["do"] {
		case "fail":
			return nil, errors.New("it failed")
		case "panic":
			panic("it broke")
		case "exit":
			os.Exit(3)
		case "sleep":
			time.Sleep(time.Hour)
		case "nap":
			time.Sleep(300 * time.Millisecond)
		}
		return map[string]any{"count": count, "pid": os.Getpid(), "left": time.Until(deadline).Seconds(),
			"arn": lc.InvokedFunctionArn, "id": lc.AwsRequestID,
			"name": os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), "key": os.Getenv("AWS_ACCESS_KEY_ID"),
			"region": os.Getenv("AWS_REGION"), "mine": os.Getenv("MINE"), "leaked": os.Getenv("LEAKED")}, nil
	})
}

const arn = "arn:aws:lambda:eu-west-1:210987654321:function:mine"

func function(t *testing.T, o Options) *Function {
	t.Helper()
	o.ARN = arn
	f, err := New(os.Args[0], o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

type reply struct {
	Count, Pid                               int
	Left                                     float64
	Arn, ID, Name, Key, Region, Mine, Leaked string
	ErrorType, ErrorMessage                  string
}

func invoke(t *testing.T, f *Function, ctx context.Context, do string) (reply, string) {
	t.Helper()
	body, functionError, err := f.Invoke(ctx, fmt.Appendf(nil, `{"do":%q}`, do))
	if err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r, functionError
}

func TestAProcessIsKeptWarmAndSeesLambdasEnvironmentAndNotOurs(t *testing.T) {
	t.Setenv("LEAKED", "yes")
	f := function(t, Options{Timeout: 20 * time.Second, Env: []string{"MINE=here"}})
	first, e := invoke(t, f, t.Context(), "")
	if e != "" || first.Arn != arn || first.Name != "mine" || first.Region != "eu-west-1" ||
		first.Key != "210987654321" || first.Mine != "here" || first.Leaked != "" || len(first.ID) != 36 {
		t.Errorf("%+v %s", first, e)
	}
	if first.Left > 20 || first.Left < 15 {
		t.Errorf("the function has %.1f s, not 20", first.Left)
	}
	second, _ := invoke(t, f, t.Context(), "")
	if second.Pid != first.Pid || second.Count != 2 || second.ID == first.ID {
		t.Errorf("the second invocation was not by the warm process: %+v", second)
	}
}

func TestAnErrorIsUnhandledAndKeepsTheProcess(t *testing.T) {
	f := function(t, Options{})
	r, e := invoke(t, f, t.Context(), "fail")
	if e != "Unhandled" || r.ErrorMessage != "it failed" || r.ErrorType == "" {
		t.Errorf("%+v %s", r, e)
	}
	if r, e := invoke(t, f, t.Context(), ""); e != "" || r.Count != 2 {
		t.Errorf("afterwards: %+v %s", r, e)
	}
}

func TestAProcessThatDiesIsReplaced(t *testing.T) {
	f := function(t, Options{})
	for _, do := range []string{"exit", "panic"} {
		if r, e := invoke(t, f, t.Context(), do); e != "Unhandled" || r.ErrorType == "" {
			t.Errorf("%s: %+v %s", do, r, e)
		}
		if r, e := invoke(t, f, t.Context(), ""); e != "" || r.Pid == 0 {
			t.Errorf("after %s: %+v %s", do, r, e)
		}
	}
}

func TestTheTimeoutEndsTheProcess(t *testing.T) {
	f := function(t, Options{Timeout: 500 * time.Millisecond})
	warm, _ := invoke(t, f, t.Context(), "")
	begin := time.Now()
	r, e := invoke(t, f, t.Context(), "sleep")
	if e != "Unhandled" || !strings.Contains(r.ErrorMessage, "Task timed out after") ||
		r.ErrorType != "Sandbox.Timedout" {
		t.Errorf("%+v %s", r, e)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if cold, e := invoke(t, f, t.Context(), ""); e != "" || cold.Pid == warm.Pid || cold.Count != 1 {
		t.Errorf("afterwards: %+v %s", cold, e)
	}
}

func TestAnEarlierDeadlineOfTheCallerIsTheFunctionsOwn(t *testing.T) {
	f := function(t, Options{Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, e := invoke(t, f, ctx, ""); e != "" || r.Left > 10 {
		t.Errorf("%+v %s", r, e)
	}
}

func TestACanceledCallKillsTheProcess(t *testing.T) {
	f := function(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if r, e := invoke(t, f, ctx, "sleep"); e != "Unhandled" || r.ErrorType != "Runtime.ExitError" {
		t.Errorf("%+v %s", r, e)
	}
}

func TestConcurrentInvocationsHaveSeparateProcesses(t *testing.T) {
	f := function(t, Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	pids := map[int]bool{}
	for range 3 {
		wg.Go(func() {
			body, _, err := f.Invoke(t.Context(), []byte(`{"do":"nap"}`))
			var r reply
			if err == nil {
				err = json.Unmarshal(body, &r)
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			pids[r.Pid] = true
		})
	}
	wg.Wait()
	if len(pids) != 3 {
		t.Errorf("%d processes, not 3", len(pids))
	}
}

func TestARuntimeThatCannotStartAnswersItsInvocation(t *testing.T) {
	for _, then := range []string{"exits", "stays"} {
		f := function(t, Options{Timeout: 20 * time.Second, Env: []string{"BROKEN=" + then}})
		for range 2 {
			if r, e := invoke(t, f, t.Context(), ""); e != "Unhandled" ||
				r.ErrorType != "Extension.Unwell" {
				t.Errorf("%s: %+v %s", then, r, e)
			}
		}
	}
}

func TestAnAnswerCountsAlsoIfTheProcessExits(t *testing.T) {
	f := function(t, Options{})
	for range 20 {
		s, _, err := f.take(&invocation{})
		if err != nil {
			t.Fatal(err)
		}
		s.end()
		inv := &invocation{done: make(chan result, 1)}
		inv.done <- result{body: []byte("answered")}
		if r, received := f.wait(t.Context(), s, inv); string(r.body) != "answered" || r.functionError != "" || !received {
			t.Fatalf("%s %s %t", r.body, r.functionError, received)
		}
		f.mu.Lock()
		f.idle = nil
		f.mu.Unlock()
	}
}

func TestCloseEndsBusyProcesses(t *testing.T) {
	started := make(chan struct{})
	f := function(t, Options{Ready: func(time.Duration) { close(started) }})
	done := make(chan string, 1)
	go func() {
		_, e, _ := f.Invoke(context.Background(), []byte(`{"do":"sleep"}`))
		done <- e
	}()
	<-started
	f.Close()
	if e := <-done; e != "Unhandled" {
		t.Errorf("got %q", e)
	}
	if _, _, err := f.Invoke(t.Context(), nil); err == nil {
		t.Error("a closed function was invoked")
	}
}

func TestAMissingProgramIsRejectedByNew(t *testing.T) {
	if _, err := New(t.TempDir()+"/bootstrap", Options{}); err == nil {
		t.Error("no error")
	}
	if _, err := New(os.Args[0], Options{ARN: "mine"}); err == nil {
		t.Error("no error for a name that is not an ARN")
	}
}

func TestRemoteFunctionSpeaksLambdasInvokeAPI(t *testing.T) {
	for _, c := range []struct{ answer, header, want string }{
		{"null", "", ""},
		{`{"errorMessage":"no"}`, "Unhandled", "Unhandled"},
		// SAM's response to a timeout.
		{"", "", "Unhandled"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.URL.Path != "/2015-03-31/functions/mine/invocations" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if c.header != "" {
				w.Header().Set("X-Amz-Function-Error", c.header)
			}
			fmt.Fprint(w, c.answer)
		}))
		f, err := Remote(server.URL, arn)
		if err != nil {
			t.Fatal(err)
		}
		body, e, err := f.Invoke(t.Context(), []byte("{}"))
		if err != nil || e != c.want || string(body) != c.answer {
			t.Errorf("%q: %s %q %v", c.answer, body, e, err)
		}
		server.Close()
		if _, _, err := f.Invoke(t.Context(), []byte("{}")); err == nil {
			t.Error("a stopped server was invoked")
		}
	}
	if _, err := Remote("nowhere", arn); err == nil {
		t.Error("no error for an invalid URL")
	}
}

func TestRemoteFunctionIsCalledByItsNameUntilTheContextEnds(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/2015-03-31/functions/mine/invocations" {
			t.Errorf("%s", r.URL)
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "{}" {
			<-hold
		}
		fmt.Fprint(w, "null")
	}))
	defer server.Close()
	defer close(hold)
	f, err := Remote(server.URL, arn+":live") // SAM does not support aliases
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Invoke(t.Context(), []byte("{}")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := f.Invoke(ctx, []byte(`{"hold":true}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a host that does not answer: %v", err)
	}
	if _, err := Remote(server.URL, "mine"); err == nil {
		t.Error("no error for a name that is not an ARN")
	}
}

// Without the simulator, a function ends when it asks for its next event.
func TestNoFunctionOutlivesAProgramThatIsKilled(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), "ORPHANS=1")
	out, err := command.Output()
	if command.ProcessState == nil || command.ProcessState.Success() {
		t.Fatalf("it was not killed: %v", err)
	}
	var r reply
	if err := json.Unmarshal(out, &r); err != nil || r.Pid == 0 {
		t.Fatalf("%s: %v", out, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(r.Pid, syscall.SIGKILL) })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// A zombie has no command line.
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.Pid))
		if err != nil || len(line) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the function's process still runs")
		}
	}
}

// leaveBehind is a program that prints the process id of a function and is killed while the function works.
func leaveBehind() {
	f, err := New(os.Args[0], Options{ARN: arn})
	if err != nil {
		panic(err)
	}
	body, _, err := f.Invoke(context.Background(), []byte(`{"do":""}`))
	if err != nil {
		panic(err)
	}
	go func() { _, _, _ = f.Invoke(context.Background(), []byte(`{"do":"nap"}`)) }()
	time.Sleep(100 * time.Millisecond) // until it naps, most of the time; without work it exits, as it must
	fmt.Printf("%s\n", body)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestConfiguration(t *testing.T) {
	binary, err := New("true", Options{Timeout: 30 * time.Second, Env: []string{"PASSWORD_LENGTH=40"}})
	if err != nil {
		t.Fatal(err)
	}
	want := sim.Configuration{Runtime: "provided.al2023", Handler: "bootstrap", Timeout: 30 * time.Second, Environment: map[string]string{"PASSWORD_LENGTH": "40"}}
	if got := binary.Configuration(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	script, err := Python("/somewhere/lambda_function.lambda_handler", Options{})
	if err != nil {
		t.Fatal(err)
	}
	want = sim.Configuration{Runtime: "python3.13", Handler: "lambda_function.lambda_handler", Timeout: time.Minute, Environment: map[string]string{}}
	if got := script.Configuration(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
