package function

import (
	"encoding/json"
	"io"
	"time"

	"example.com/rotator/rotation"
)

// metrics writes measurements as lines of CloudWatch's embedded metric format,
// which need neither a call nor a permission. docs/metrics.md explains each.
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type metrics struct {
	out io.Writer
	// function is its name, by which every metric is told from those of the other
	// rotation functions of the account.
	function string
}

// namespace is the metrics' namespace in CloudWatch.
const namespace = "Rotator"

// write writes what a step came to. Failures stand under their cause, all else
// under the engine; the secret and its version are properties, not dimensions,
// so that a fleet does not make a metric for every secret. An event that has come to
// no step has a cause alone.
func (m metrics) write(o rotation.Observation) {
	values := map[string]any{"FunctionName": m.function, "Engine": "unknown", "Secret": o.Secret, "Version": o.Version}
	if o.Engine != "" {
		values["Engine"] = o.Engine
	}
	var directives []any
	add := func(name, unit string, value any, dimensions ...string) {
		values[name] = value
		directives = append(directives, map[string]any{
			"Namespace":  namespace,
			"Dimensions": [][]string{append([]string{"FunctionName"}, dimensions...)},
			"Metrics":    []any{map[string]string{"Name": name, "Unit": unit}},
		})
	}
	if o.Step != "" {
		values["Step"] = string(o.Step)
		add("Duration", "Milliseconds", o.Duration.Milliseconds(), "Engine", "Step")
		add("RefusedLogins", "Count", o.Refusals, "Engine", "Step")
	}
	if o.Cause != "" {
		values["Cause"] = string(o.Cause)
		add("Failures", "Count", 1, "Cause")
	}
	if o.CurrentRefused {
		add("CurrentRefused", "Count", 1)
	}
	if o.Gap > 0 {
		add("Gap", "Milliseconds", o.Gap.Milliseconds(), "Engine")
	}
	if o.Rotated {
		add("Rotations", "Count", 1, "Engine")
		add("Window", "Milliseconds", o.Window.Milliseconds(), "Engine")
	}
	if o.Age > 0 {
		add("CredentialAge", "Seconds", int64(o.Age.Seconds()), "Engine")
	}
	values["_aws"] = map[string]any{"Timestamp": time.Now().UnixMilli(), "CloudWatchMetrics": directives}
	line, err := json.Marshal(values)
	if err != nil {
		return // unreachable: texts and numbers can be marshalled
	}
	_, _ = m.out.Write(append(line, '\n')) // a metric that cannot be written must not fail a rotation
}
