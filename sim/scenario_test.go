package sim

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"example.com/rotator/internal/testing/testserver"
)

// call is one step of a scenario file, in us-east-1 unless it names another region. A string that begins with $ is
// replaced with what an earlier step saved. want must be part of the response; until repeats the call until it is.
type call struct {
	Op, Region     string
	In             map[string]any
	Want           map[string]any
	Error, Message string
	Save           map[string]string
	Until          bool
}

// foreign is one of AWS's own clients.
type foreign func(region, op string, in map[string]any) (out map[string]any, code, message string, err error)

// goSDK calls with AWS's SDK for Go.
func (b *bench) goSDK(region, op string, in map[string]any) (map[string]any, string, string, error) {
	method := reflect.ValueOf(b.at(region)).MethodByName(op)
	request := reflect.New(method.Type().In(1).Elem())
	text, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(text, request.Interface())
	}
	if err != nil {
		return nil, "", "", err
	}
	got := method.Call([]reflect.Value{reflect.ValueOf(ctx), request})
	if failed, ok := got[1].Interface().(error); ok {
		var api smithy.APIError
		if !errors.As(failed, &api) {
			return nil, "", "", failed
		}
		return nil, api.ErrorCode(), api.ErrorMessage(), nil
	}
	var out map[string]any
	if text, err = json.Marshal(got[0].Interface()); err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, "", "", err
}

// clean returns the environment without the user's AWS settings.
func clean() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	return append(env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}

// python calls with a script in testdata, one process for all calls.
func (b *bench) python(script string) foreign {
	python, err := testserver.Python()
	if err != nil {
		b.Fatal(err)
	}
	command := exec.CommandContext(b.Context(), python, "testdata/"+script, b.url)
	command.Stderr = os.Stderr
	command.Env = append(clean(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
	stdin, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		_ = command.Wait() // it ends with its input
	})
	lines := bufio.NewReader(stdout)
	return func(region, op string, in map[string]any) (map[string]any, string, string, error) {
		text, err := json.Marshal(map[string]any{"region": region, "op": op, "in": in})
		if err != nil {
			return nil, "", "", err
		}
		if _, err := io.WriteString(stdin, string(text)+"\n"); err != nil {
			return nil, "", "", err
		}
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, "", "", err
		}
		var answer struct {
			Out            map[string]any
			Error, Message string
		}
		err = json.Unmarshal(line, &answer)
		return answer.Out, answer.Error, answer.Message, err
	}
}

// expand replaces $names with what was saved, in all strings of x.
func expand(x any, saved map[string]string) any {
	switch x := x.(type) {
	case string:
		for name, v := range saved {
			x = strings.ReplaceAll(x, "$"+name, v)
		}
		return x
	case map[string]any:
		out := map[string]any{}
		for k, v := range x {
			out[k] = expand(v, saved)
		}
		return out
	case []any:
		out := []any{}
		for _, v := range x {
			out = append(out, expand(v, saved))
		}
		return out
	}
	return x
}

// within reports whether got contains want: maps may have more members, unless want's keys are versions.
func within(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		for k, v := range want {
			ok = ok && within(v, g[k]) && (len(k) != 36 || len(g) == len(want))
		}
		return ok
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return false
		}
		for i := range want {
			ok = ok && within(want[i], g[i])
		}
		return ok
	}
	return reflect.DeepEqual(want, got)
}

// scenarios are the names of the files.
var scenarios = []string{"scenario", "regions"}

func (b *bench) play(scenario string, do foreign) {
	text, err := os.ReadFile("testdata/" + scenario + ".json")
	if err != nil {
		b.Fatal(err)
	}
	var calls []call
	if err := json.Unmarshal(text, &calls); err != nil {
		b.Fatal(err)
	}
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	saved := map[string]string{}
	for i, c := range calls {
		in := expand(c.In, saved).(map[string]any)
		want := expand(c.Want, saved)
		if c.Want == nil {
			want = map[string]any{}
		}
		region := cmp.Or(c.Region, "us-east-1")
		out, code, message, err := do(region, c.Op, in)
		for deadline := time.Now().Add(30 * time.Second); c.Until && err == nil && !within(want, out) &&
			time.Now().Before(deadline); {
			out, code, message, err = do(region, c.Op, in)
		}
		switch {
		case err != nil:
			b.Fatalf("step %d, %s: %v", i+1, c.Op, err)
		case code != c.Error || code != "" && message != expand(c.Message, saved):
			b.Errorf("step %d, %s: %s %q, not %s %q", i+1, c.Op, code, message, c.Error, expand(c.Message, saved))
		case code == "" && !within(want, out):
			b.Errorf("step %d, %s: %v is not within %v", i+1, c.Op, want, out)
		}
		for name, member := range c.Save {
			saved[name], _ = out[member].(string)
		}
	}
}

func TestScenariosByTheGoSDK(t *testing.T) {
	for _, name := range scenarios {
		b := newBench(t, Options{})
		b.play(name, b.goSDK)
	}
}

func TestScenariosByTheAWSCLI(t *testing.T) {
	for _, name := range scenarios {
		b := newBench(t, Options{})
		b.play(name, b.python("cli.py"))
	}
}

func TestScenariosByBoto3(t *testing.T) {
	for _, name := range scenarios {
		b := newBench(t, Options{})
		b.play(name, b.python("boto.py"))
	}
}
