package function

import (
	"encoding/json"
	"io"
	"time"

	"example.com/rotator/rotation"
)

// metrics writes measurements as lines of CloudWatch's embedded metric format,
// which need neither a call nor a permission.
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type metrics struct{ out io.Writer }

// namespace is the metrics' namespace in CloudWatch.
const namespace = "Rotator"

type metric struct {
	Name string
	Unit string
}

// write writes what a step came to. Failures stand under their cause, all else
// under the engine; the secret and its version are properties, not dimensions,
// so that a fleet does not make a metric for every secret. An event that has come to
// no step has a cause alone.
func (m metrics) write(o rotation.Observation) {
	values := map[string]any{"Engine": "unknown", "Secret": o.Secret, "Version": o.Version}
	if o.Engine != "" {
		values["Engine"] = o.Engine
	}
	var directives []map[string]any
	if o.Step != "" {
		values["Step"], values["Duration"], values["RefusedLogins"] = string(o.Step), o.Duration.Milliseconds(), o.Refusals
		directives = []map[string]any{{
			"Namespace": namespace, "Dimensions": [][]string{{"Engine", "Step"}},
			"Metrics": []metric{{"Duration", "Milliseconds"}, {"RefusedLogins", "Count"}},
		}}
	}
	add := func(dimensions []string, name, unit string, value any) {
		values[name] = value
		directives = append(directives, map[string]any{"Namespace": namespace, "Dimensions": [][]string{dimensions}, "Metrics": []metric{{name, unit}}})
	}
	if o.Cause != "" {
		values["Cause"] = string(o.Cause)
		add([]string{"Cause"}, "Failures", "Count", 1)
	}
	if o.Rotated {
		add([]string{"Engine"}, "Rotations", "Count", 1)
		add([]string{"Engine"}, "Window", "Milliseconds", o.Window.Milliseconds())
	}
	if o.Age > 0 {
		add([]string{"Engine"}, "CredentialAge", "Seconds", int64(o.Age.Seconds()))
	}
	values["_aws"] = map[string]any{"Timestamp": time.Now().UnixMilli(), "CloudWatchMetrics": directives}
	line, err := json.Marshal(values)
	if err != nil {
		return // unreachable: texts and numbers can be marshalled
	}
	_, _ = m.out.Write(append(line, '\n')) // a metric that cannot be written must not fail a rotation
}
