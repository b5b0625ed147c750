package function

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/redis/go-redis/v9"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/sim"
)

// sample is one value of one metric, as CloudWatch would store it.
type sample struct {
	name, unit string
	dimensions []string // as Name=value, sorted
	value      float64
}

// embedded reads a line as CloudWatch does. It checks the format's schema, and then what the schema cannot express:
// every dimension is a string and every metric a number in the root node.
func embedded(schema *jsonschema.Schema, line []byte) ([]sample, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(document); err != nil {
		return nil, err
	}
	var root map[string]any
	var metadata struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	if err := json.Unmarshal(line, &root); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(line, &metadata); err != nil {
		return nil, err
	}
	if at := time.UnixMilli(metadata.AWS.Timestamp); time.Since(at).Abs() > time.Minute {
		return nil, fmt.Errorf("the timestamp is %v", at)
	}
	var out []sample
	for _, d := range metadata.AWS.CloudWatchMetrics {
		if d.Namespace != "Rotator" {
			return nil, fmt.Errorf("the namespace is %s", d.Namespace)
		}
		for _, set := range d.Dimensions {
			var dimensions []string
			for _, name := range set {
				value, ok := root[name].(string)
				if !ok || value == "" || len(value) > 1024 {
					return nil, fmt.Errorf("the dimension %s is %v", name, root[name])
				}
				dimensions = append(dimensions, name+"="+value)
			}
			slices.Sort(dimensions)
			for _, m := range d.Metrics {
				value, ok := root[m.Name].(float64)
				if !ok {
					return nil, fmt.Errorf("the metric %s is %v", m.Name, root[m.Name])
				}
				out = append(out, sample{m.Name, m.Unit, dimensions, value})
			}
		}
	}
	return out, nil
}

func formatSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("testdata/embedded-metric-format.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// samples returns the values that the function wrote since the last call, by metric.
func (w *world) samples() map[string][]sample {
	w.t.Helper()
	schema := formatSchema(w.t)
	out := make(map[string][]sample)
	for line := range bytes.Lines(w.metrics.Bytes()) {
		values, err := embedded(schema, line)
		if err != nil {
			w.t.Fatalf("CloudWatch would refuse\n%s%v", line, err)
		}
		for _, s := range values {
			out[s.name] = append(out[s.name], s)
		}
	}
	w.metrics.Reset()
	return out
}

// past is a clock that can be set back to store something old.
type past struct {
	sim.Clock
	ago time.Duration
}

func (c *past) Now() time.Time { return c.Clock.Now().Add(-c.ago) }

// rotate makes the simulator rotate the secret with the handler. It returns each invocation's duration, and the error.
func (w *world) rotate(arn, token string) (map[string]time.Duration, error) {
	w.t.Helper()
	took := make(map[string]time.Duration)
	w.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(_ context.Context, payload []byte) ([]byte, string, error) {
			var event struct{ Step string }
			if err := json.Unmarshal(payload, &event); err != nil {
				return nil, "", err
			}
			begin := time.Now()
			err := w.invoke(string(payload))
			took[event.Step] = time.Since(begin)
			if err != nil {
				return []byte(err.Error()), "Unhandled", nil
			}
			return []byte("null"), "", nil
		}))
	if _, err := w.client.RotateSecret(w.t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token,
			RotationLambdaARN: aws.String(functionARN)}); err != nil {
		w.t.Fatal(err)
	}
	return took, w.sim.WaitRotation(w.t.Context(), arn)
}

// redisWorld is a world with an old secret of a real Redis, and a function that sets its user's password by hand.
func redisWorld(t *testing.T, age time.Duration) (w *world, server *testserver.RedisServer, arn string,
	byHand func(string)) {
	t.Helper()
	server = testserver.Redis(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first ~* &* +@all"})
	clock := &past{sim.RealTime(), age}
	w = newWorldOf(t, sim.Options{MaxAttempts: 1, Clock: clock})
	w.env["AWS_LAMBDA_FUNCTION_NAME"] = "prod-rotator"
	arn = w.secret(fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"username":"app","password":"first",`+
		`"ssl":false}`, server.Port))
	clock.ago = 0
	return w, server, arn, func(password string) {
		t.Helper()
		client := redis.NewClient(server.Options(server.User, server.Password))
		defer client.Close()
		if err := client.Do(t.Context(), "ACL", "SETUSER", "app", "resetpass", ">"+password).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// bySteps returns the values of a metric with the dimensions engine and step, one for every step.
func bySteps(t *testing.T, all []sample, engine string) map[string]float64 {
	t.Helper()
	out := make(map[string]float64)
	for _, s := range all {
		step := strings.TrimPrefix(s.dimensions[len(s.dimensions)-1], "step=")
		want := []string{"engine=" + engine, "function_name=prod-rotator", "step=" + step}
		if !slices.Equal(s.dimensions, want) {
			t.Errorf("%s of %v, want %v", s.name, s.dimensions, want)
		}
		if _, twice := out[step]; twice {
			t.Errorf("%s of %s twice", s.name, step)
		}
		out[step] = s.value
	}
	return out
}

// TestMetricsOfARotation uses a secret that is forty days old and a slow Secrets Manager, so no value is right by
// chance.
func TestMetricsOfARotation(t *testing.T) {
	const age, slow = 40 * 24 * time.Hour, 30 * time.Millisecond
	w, _, arn, _ := redisWorld(t, age)
	w.wire = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetSecretValue") { // every step asks for one
			time.Sleep(slow)
		}
		return false
	}
	begin := time.Now()
	took, err := w.rotate(arn, token)
	if err != nil {
		t.Fatal(err)
	}
	elapsed := time.Since(begin)
	got := w.samples()
	if len(got["Failures"]) > 0 {
		t.Errorf("failures: %v", got["Failures"])
	}
	durations, refused := bySteps(t, got["Duration"], "redis"), bySteps(t, got["RefusedLogins"], "redis")
	for _, step := range allSteps {
		if ms := durations[step]; ms < float64(slow.Milliseconds()) || ms > float64(took[step].Milliseconds()) {
			t.Errorf("%s took %v ms; the invocation took %v", step, ms, took[step])
		}
		if n, ok := refused[step]; !ok || n != 0 {
			t.Errorf("%s: %v refused logins, want none", step, n)
		}
	}
	engine := []string{"engine=redis", "function_name=prod-rotator"}
	one := func(name, unit string) float64 {
		t.Helper()
		if s := got[name]; len(s) != 1 || s[0].unit != unit || !slices.Equal(s[0].dimensions, engine) {
			t.Fatalf("%s is %v, want one in %s of %v", name, s, unit, engine)
		}
		return got[name][0].value
	}
	if n := one("Rotations", "Count"); n != 1 {
		t.Errorf("%v rotations", n)
	}
	// The metrics are in milliseconds, so either end is off by up to one.
	between := took["setSecret"] + took["testSecret"]
	if ms := one("Window", "Milliseconds"); ms < float64(between.Milliseconds()-1) ||
		ms > float64(elapsed.Milliseconds()+1) {
		t.Errorf("the pending value was promoted after %v ms; the steps between took %v, the whole rotation %v", ms,
			between, elapsed)
	}
	ages := got["CredentialAge"]
	if len(ages) == 0 {
		t.Error("no age")
	}
	for _, s := range ages {
		if s.unit != "Seconds" || !slices.Equal(s.dimensions, engine) || s.value < age.Seconds() ||
			s.value > (age+elapsed+time.Millisecond).Seconds() {
			t.Errorf("the age is %v, want %v", s, age.Seconds())
		}
	}
}

// TestMetricsOfRefusedLogins: each login that the target refuses counts in its step, even if the rotation finds a
// version that opens it.
func TestMetricsOfRefusedLogins(t *testing.T) {
	w, _, arn, byHand := redisWorld(t, time.Hour)
	if _, err := w.rotate(arn, token); err != nil {
		t.Fatal(err)
	}
	byHand("first") // it is AWSPREVIOUS by now
	w.samples()
	if _, err := w.rotate(arn, "99999999-e29b-41d4-a716-446655440000"); err != nil {
		t.Fatal(err)
	}
	got := w.samples()
	// createSecret tries AWSCURRENT, and setSecret AWSPENDING as well.
	want := map[string]float64{"createSecret": 1, "setSecret": 2, "testSecret": 0, "finishSecret": 0}
	if refused := bySteps(t, got["RefusedLogins"], "redis"); !maps.Equal(refused, want) {
		t.Errorf("refused logins %v, want %v", refused, want)
	}
	// AWSCURRENT is refused until finishSecret has moved the label.
	if s := got["CurrentRefused"]; len(s) != 2 || s[0].value != 1 ||
		!slices.Equal(s[0].dimensions, []string{"function_name=prod-rotator"}) {
		t.Errorf("AWSCURRENT refused %v, want in createSecret and setSecret", s)
	}
	if len(got["Rotations"]) != 1 || len(got["Failures"]) != 0 {
		t.Errorf("rotations %v, failures %v", got["Rotations"], got["Failures"])
	}
}

// TestMetricsOfFailures: a failed rotation counts only under its cause, and reports the credential's age.
func TestMetricsOfFailures(t *testing.T) {
	const age = 40 * 24 * time.Hour
	w, server, arn, byHand := redisWorld(t, age)
	byHand("of nobody's")
	want := func(cause string, err error) map[string][]sample {
		t.Helper()
		if err == nil {
			t.Fatal("rotated")
		}
		got := w.samples()
		dimensions := []string{"cause=" + cause, "function_name=prod-rotator"}
		if s := got["Failures"]; len(s) != 1 || s[0].value != 1 || s[0].unit != "Count" ||
			!slices.Equal(s[0].dimensions, dimensions) {
			t.Errorf("failures %v, want one of %v", s, dimensions)
		}
		if len(got["Rotations"])+len(got["Window"]) > 0 {
			t.Errorf("rotations %v, windows %v", got["Rotations"], got["Window"])
		}
		if s := got["CredentialAge"]; len(s) != 1 || s[0].value < age.Seconds() ||
			s[0].value > (age+time.Minute).Seconds() {
			t.Errorf("the age is %v, want %v", s, age.Seconds())
		}
		return got
	}
	_, err := w.rotate(arn, token)
	got := want("LoginRefused", err)
	refused := bySteps(t, got["RefusedLogins"], "redis")
	if !maps.Equal(refused, map[string]float64{"createSecret": 1}) {
		t.Errorf("refused logins %v", refused)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	want("Unreachable", w.invoke(event("createSecret", arn)))
}

// TestFailureBeforeAnyStepIsCounted: an alarm on failures by cause must see it.
func TestFailureBeforeAnyStepIsCounted(t *testing.T) {
	for cause, setting := range map[string]string{"InvalidConfiguration": "perhaps", "InvalidEvent": "false"} {
		w := newWorld(t)
		w.env["ALLOW_PLAINTEXT_FALLBACK"] = setting
		w.want(w.invoke("no event"), cause, "")
		got := w.samples()
		want := []sample{{"Failures", "Count", []string{"cause=" + cause, "function_name=unknown"}, 1}}
		if len(got) != 1 || fmt.Sprint(got["Failures"]) != fmt.Sprint(want) {
			t.Errorf("%s: metrics %v, want %v", cause, got, want)
		}
	}
}

// TestMalformedMetricsAreFound: the check of the other tests refuses lines that CloudWatch would not accept, or would
// silently accept as something else.
func TestMalformedMetricsAreFound(t *testing.T) {
	w := newWorld(t)
	_ = w.invoke("no event")
	line := w.metrics.String()
	schema := formatSchema(t)
	if _, err := embedded(schema, []byte(line)); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 251)
	for what, change := range map[string][2]string{
		"text behind it":         {"}\n", "} rotated\n"},
		"no metadata":            {`"_aws"`, `"aws"`},
		"no timestamp":           {`"Timestamp"`, `"Time"`},
		"a timestamp in words":   {`"Timestamp":`, `"Timestamp":"now","Was":`},
		"no namespace":           {`"Namespace":"Rotator"`, `"Namespace":""`},
		"no set of dimensions":   {`"Dimensions":[["function_name","cause"]]`, `"Dimensions":[]`},
		"too long a dimension":   {`["function_name"`, `["` + long + `"`},
		"too many dimensions":    {`["function_name"`, `["function_name"` + strings.Repeat(`,"cause"`, 30)},
		"too many metrics":       {`"Metrics":[`, `"Metrics":[` + strings.Repeat(`{"Name":"Failures"},`, 100)},
		"an unknown unit":        {`"Unit":"Count"`, `"Unit":"Counts"`},
		"a member too many":      {`"Unit":"Count"`, `"Units":"Count"`},
		"a metric without value": {`"Name":"Failures"`, `"Name":"Successes"`},
		"a metric in words":      {`"Failures":1`, `"Failures":"1"`},
		"a dimension as number":  {`"cause":"InvalidEvent"`, `"cause":1`},
		"an empty dimension":     {`"function_name":"unknown"`, `"function_name":""`},
	} {
		bad := strings.Replace(line, change[0], change[1], 1)
		if bad == line {
			t.Fatalf("%s: nothing to change in %s", what, line)
		}
		if got, err := embedded(schema, []byte(bad)); err == nil {
			t.Errorf("%s: taken for %v", what, got)
		}
	}
}

// TestMetricsPage: the table in docs/metrics.md has exactly what a rotation and a failure write, with units and
// dimensions.
func TestMetricsPage(t *testing.T) {
	w := newWorld(t)
	w.env["ENGINE"] = "generic"
	if _, err := w.rotate(w.secret("hidden-value"), token); err != nil {
		t.Fatal(err)
	}
	_ = w.invoke("no event")
	// These come only from a target that accepts one credential at a time.
	metrics{&w.metrics, "prod-rotator", "INFO"}.write(rotation.Observation{
		Step: rotation.FinishSecret, Engine: "postgres", CurrentRefused: true, Gap: time.Second})
	want := make(map[string]string)
	for name, values := range w.samples() {
		for _, s := range values {
			var dimensions []string
			for _, d := range s.dimensions {
				d, _, _ = strings.Cut(d, "=")
				dimensions = append(dimensions, d)
			}
			row := s.unit + " by " + strings.Join(dimensions, ", ")
			if want[name] != "" && want[name] != row {
				t.Errorf("%s is %s and %s", name, want[name], row)
			}
			want[name] = row
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([`\\w, ]+) \\|")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		dimensions := strings.Split(strings.ReplaceAll(m[3], "`", ""), ", ")
		slices.Sort(dimensions)
		got[m[1]] = m[2] + " by " + strings.Join(dimensions, ", ")
	}
	if len(want) < 6 || !maps.Equal(got, want) {
		t.Errorf("docs/metrics.md has\n%v\nthe function writes\n%v", got, want)
	}
}

func TestMetricsCanBeSwitchedOff(t *testing.T) {
	for setting, want := range map[string]bool{"": true, "off": false, "OFF": false} {
		w := newWorld(t)
		w.env["METRICS"] = setting
		_ = w.invoke(event("createSecret", w.secret(value)))
		if got := w.metrics.Len() > 0; got != want {
			t.Errorf("METRICS=%q: written %v, want %v", setting, got, want)
		}
	}
}
