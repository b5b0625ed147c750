package function

import (
	"cmp"
	"encoding/json"
	"io"
	"time"

	"example.com/rotator/rotation"
)

// metrics writes measurements as lines of CloudWatch's embedded metric format, which need neither a call nor a
// permission. docs/metrics.md explains each.
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type metrics struct {
	out io.Writer
	// function is the function's name. It separates the metrics of an account's rotation functions.
	function string
	// level is the function's log level. Lambda treats a line without one as INFO, and drops it at a higher level.
	level string
}

// namespace is the metrics' namespace in CloudWatch.
const namespace = "Rotator"

// write writes the outcome of a step. Failures have the cause as a dimension, and most others the engine. The secret
// and its version are properties, not dimensions, because CloudWatch would otherwise create a metric for every secret.
// An event that reached no step has only a cause.
func (m metrics) write(o rotation.Observation) {
	now := time.Now()
	// Lambda reads a level only in a line that has a timestamp.
	values := map[string]any{"timestamp": now.Format(time.RFC3339Nano), "level": m.level, "message": "metrics",
		"function_name": m.function, "engine": cmp.Or(o.Engine, "unknown"), "secret": o.Secret, "version": o.Version}
	if o.Strategy != "" {
		values["strategy"] = string(o.Strategy)
	}
	var directives []any
	add := func(name, unit string, value any, dimensions ...string) {
		values[name] = value
		directives = append(directives, map[string]any{
			"Namespace":  namespace,
			"Dimensions": [][]string{append([]string{"function_name"}, dimensions...)},
			"Metrics":    []any{map[string]string{"Name": name, "Unit": unit}},
		})
	}
	if o.Step != "" {
		values["step"] = string(o.Step)
		values["duration_ms"] = o.Duration.Milliseconds() // as in the log
		add("Duration", "Milliseconds", o.Duration.Milliseconds(), "engine", "step")
		add("RefusedLogins", "Count", o.Refusals, "engine", "step")
	}
	if o.Cause != "" {
		values["cause"] = string(o.Cause)
		add("Failures", "Count", 1, "cause")
	}
	if o.CurrentRefused {
		add("CurrentRefused", "Count", 1)
	}
	if o.Gap > 0 {
		add("Gap", "Milliseconds", o.Gap.Milliseconds(), "engine")
	}
	if o.Rotated {
		add("Rotations", "Count", 1, "engine")
		add("Window", "Milliseconds", o.Window.Milliseconds(), "engine")
	}
	if o.Age > 0 {
		add("CredentialAge", "Seconds", int64(o.Age.Seconds()), "engine")
	}
	values["_aws"] = map[string]any{"Timestamp": now.UnixMilli(), "CloudWatchMetrics": directives}
	line, err := json.Marshal(values)
	if err != nil {
		return // unreachable: texts and numbers can be marshaled
	}
	_, _ = m.out.Write(append(line, '\n')) // a metric that cannot be written must not fail a rotation
}
