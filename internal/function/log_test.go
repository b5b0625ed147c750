package function

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// line is one line of the log or of the metrics.
type line map[string]any

func lines(t *testing.T, text []byte) []line {
	t.Helper()
	var out []line
	for l := range bytes.Lines(text) {
		var v line
		if err := json.Unmarshal(l, &v); err != nil {
			t.Fatalf("%s%v", l, err)
		}
		out = append(out, v)
	}
	return out
}

// onLambda returns a handler as main creates it, and the context that Lambda gives each event.
func (w *world) onLambda(level string) (h *Handler, ctx context.Context) {
	w.t.Helper()
	for name, value := range map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": "prod-rotator", "AWS_LAMBDA_FUNCTION_VERSION": "7",
		"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level} {
		w.env[name] = value
	}
	getenv := func(name string) string { return w.env[name] }
	ctx = lambdacontext.NewContext(w.t.Context(),
		&lambdacontext.LambdaContext{AwsRequestID: "request-1", InvokedFunctionArn: functionARN})
	const trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
	ctx = context.WithValue(ctx, "x-amzn-trace-id", trace) //nolint:staticcheck // aws-lambda-go's key is a string
	return NewHandler(getenv, NewLog(getenv, &w.log), &w.metrics, "v1.2.3"), ctx
}

// TestFieldsOfTheLog: every line of an event has the field names of Lambda's JSON logging and of Powertools, and the
// metrics use the same names.
func TestFieldsOfTheLog(t *testing.T) {
	w, _, arn, _ := redisWorld(t, time.Hour)
	w.begin(arn)
	h, ctx := w.onLambda("")
	for i := range 2 {
		if _, err := h.Invoke(ctx, []byte(event("createSecret", arn))); err != nil {
			t.Fatal(err)
		}
		all := lines(t, w.log.Bytes())
		if len(all) < 2 {
			t.Fatalf("%s", w.log.String())
		}
		if cold := i == 0; (all[0]["message"] == "started" && all[0]["build"] == "v1.2.3") != cold {
			t.Errorf("event %d begins with %v", i, all[0])
		}
		for _, l := range all {
			for name, want := range map[string]any{
				"function_request_id": "request-1", "function_name": "prod-rotator", "function_version": "7",
				"cold_start": i == 0, "xray_trace_id": "1-5759e988-bd862e3fe1be46a994272793", "level": "INFO"} {
				if l[name] != want {
					t.Errorf("%s is %v, want %v, in %v", name, l[name], want, l)
				}
			}
			if at, err := time.Parse(time.RFC3339, l["timestamp"].(string)); err != nil ||
				time.Since(at).Abs() > time.Minute {
				t.Errorf("time stamp: %v in %v", err, l)
			}
		}
		last, metric := all[len(all)-1], lines(t, w.metrics.Bytes())[0]
		if last["message"] != "step done" {
			t.Errorf("the last line is %v", last)
		}
		for _, name := range []string{"function_name", "step", "secret", "version", "engine", "strategy",
			"duration_ms"} {
			if last[name] == nil || last[name] != metric[name] {
				t.Errorf("%s is %v in the log and %v in the metrics", name, last[name], metric[name])
			}
		}
		w.log.Reset()
		w.metrics.Reset()
	}
}

// TestLevelOfTheLog: Lambda treats a line without a level or a timestamp as INFO, so the metrics set one.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
func TestLevelOfTheLog(t *testing.T) {
	order := []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
	w, _, arn, _ := redisWorld(t, time.Hour)
	w.begin(arn)
	for level, message := range map[string]string{
		"": "step done", "TRACE": "engine answered", "DEBUG": "engine answered", "INFO": "step done",
		"WARN": "step failed", "ERROR": "step failed", "FATAL": "",
	} {
		w.log.Reset()
		w.metrics.Reset()
		h, ctx := w.onLambda(level)
		if _, err := h.Invoke(ctx, []byte(event("createSecret", arn))); err != nil {
			t.Fatal(err)
		}
		_, _ = h.Invoke(ctx, []byte(event("createSecret",
			"arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf")))
		least := max(slices.Index(order, level), 0)
		if level == "" {
			least = slices.Index(order, "INFO")
		}
		found := message == ""
		for _, l := range lines(t, w.log.Bytes()) {
			found = found || l["message"] == message
			if slices.Index(order, l["level"].(string)) < least {
				t.Errorf("with %s the log has %v", level, l)
			}
		}
		if !found {
			t.Errorf("with %s the log has no %q:\n%s", level, message, w.log.String())
		}
		metrics := lines(t, w.metrics.Bytes())
		for _, l := range metrics {
			at, err := time.Parse(time.RFC3339, l["timestamp"].(string))
			if slices.Index(order, l["level"].(string)) < least || err != nil || time.Since(at).Abs() > time.Minute {
				t.Errorf("Lambda would drop, with %s, %v", level, l)
			}
		}
		if len(metrics) != 2 {
			t.Errorf("with %s, %d lines of metrics", level, len(metrics))
		}
	}
}

// TestDebugShowsCallsAndLogins: the level DEBUG shows them with their durations, but without values.
func TestDebugShowsCallsAndLogins(t *testing.T) {
	w, _, arn, _ := redisWorld(t, time.Hour)
	w.begin(arn)
	h, ctx := w.onLambda("DEBUG")
	if _, err := h.Invoke(ctx, []byte(event("createSecret", arn))); err != nil {
		t.Fatal(err)
	}
	_, _ = h.Invoke(ctx, []byte(event("createSecret",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf")))
	var calls []string
	logins := 0
	for _, l := range lines(t, w.log.Bytes()) {
		took, timed := l["duration_ms"].(float64)
		switch l["message"] {
		case "AWS called":
			if l["step"] != "createSecret" || l["service"] != "Secrets Manager" || !timed || took > 10000 ||
				l["level"] != "DEBUG" {
				t.Errorf("%v", l)
			}
			calls = append(calls, l["operation"].(string)+" "+l["code"].(string))
		case "engine answered":
			if !timed || l["engine"] != "redis" || l["cause"] != "" || l["level"] != "DEBUG" {
				t.Errorf("%v", l)
			}
			logins++
		}
	}
	if !slices.Contains(calls, "PutSecretValue OK") ||
		!slices.Contains(calls, "DescribeSecret ResourceNotFoundException") || logins < 1 {
		t.Errorf("calls %v, %d logins", calls, logins)
	}
	for _, hidden := range []string{`:"first"`, rotationToken} {
		if strings.Contains(w.log.String(), hidden) {
			t.Errorf("the log shows %s:\n%s", hidden, w.log.String())
		}
	}
}

// TestOneLineForAFailure: aws-lambda-go prints the error that the handler returns, which is already in the log.
func TestOneLineForAFailure(t *testing.T) {
	w := newWorld(t)
	h, ctx := w.onLambda("")
	log.SetFlags(0)
	log.SetOutput(h.RuntimeLog())
	t.Cleanup(func() { log.SetOutput(io.Discard) })
	for _, payload := range []string{"no event",
		event("createSecret", "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf")} {
		w.log.Reset()
		_, err := h.Invoke(ctx, []byte(payload))
		printed, _ := json.Marshal(err)
		log.Printf("%s", printed)
		var failed []line
		for _, l := range lines(t, w.log.Bytes()) {
			if l["level"] == "ERROR" {
				failed = append(failed, l)
			}
		}
		if len(failed) != 1 || failed[0]["cause"] == nil || !strings.HasSuffix(failed[0]["error"].(string), ")") {
			t.Errorf("%s: %d lines: %v", payload, len(failed), failed)
		}
	}
	w.log.Reset()
	w.env["ROTATOR_SETTINGS"] = `{"RETIRE": "now"}`
	bad, ctx := w.onLambda("")
	if _, err := bad.Invoke(ctx, []byte("{}")); err == nil {
		t.Error("bad settings are accepted")
	}
	if n := strings.Count(w.log.String(), `"ERROR"`); n != 1 || !strings.Contains(w.log.String(), "RETIRE") {
		t.Errorf("bad settings: %d lines: %s", n, &w.log)
	}
	w.log.Reset()
	log.Printf("failed to get the next event: %s", "connection refused")
	if l := lines(t, w.log.Bytes()); len(l) != 1 || l[0]["level"] != "ERROR" ||
		!strings.Contains(l[0]["error"].(string), "connection refused") {
		t.Errorf("what is no answer: %v", l)
	}
}
