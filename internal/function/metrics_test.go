package function

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation"
)

// TestMetricsAreEmbeddedMetricFormat checks each line by the rules of the
// specification: every metric and dimension that a directive names is a member
// of the root, dimensions are texts, values are numbers and units are known.
func TestMetricsAreEmbeddedMetricFormat(t *testing.T) {
	for name, tc := range map[string]struct {
		o    rotation.Observation
		want []string
	}{
		"a step":      {rotation.Observation{Step: rotation.CreateSecret, Engine: "postgres", Duration: time.Second}, []string{"Duration", "RefusedLogins"}},
		"a failure":   {rotation.Observation{Step: rotation.TestSecret, Cause: rotation.LoginRefused, Refusals: 3}, []string{"Duration", "RefusedLogins", "Failures"}},
		"a set":       {rotation.Observation{Step: rotation.SetSecret, Engine: "postgres", Age: time.Hour}, []string{"Duration", "RefusedLogins", "CredentialAge"}},
		"no step":     {rotation.Observation{Cause: rotation.InvalidEvent}, []string{"Failures"}},
		"a promotion": {rotation.Observation{Step: rotation.FinishSecret, Engine: "postgres", Rotated: true, Window: time.Minute}, []string{"Duration", "RefusedLogins", "Rotations", "Window"}},
	} {
		var out bytes.Buffer
		metrics{&out}.write(tc.o)
		var root map[string]any
		if err := json.Unmarshal(out.Bytes(), &root); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%s: not one line of JSON: %v", name, err)
		}
		aws := root["_aws"].(map[string]any)
		if ms := aws["Timestamp"].(float64); time.Since(time.UnixMilli(int64(ms))).Abs() > time.Minute {
			t.Errorf("%s: the time stamp is %v", name, ms)
		}
		var names []string
		for _, d := range aws["CloudWatchMetrics"].([]any) {
			d := d.(map[string]any)
			if d["Namespace"] != "Rotator" {
				t.Errorf("%s: namespace %v", name, d["Namespace"])
			}
			for _, set := range d["Dimensions"].([]any) {
				for _, dimension := range set.([]any) {
					if v, ok := root[dimension.(string)].(string); !ok || v == "" {
						t.Errorf("%s: the dimension %v is no text", name, dimension)
					}
				}
			}
			for _, m := range d["Metrics"].([]any) {
				m := m.(map[string]any)
				names = append(names, m["Name"].(string))
				if _, ok := root[m["Name"].(string)].(float64); !ok {
					t.Errorf("%s: the metric %v is no number", name, m["Name"])
				}
				if !slices.Contains([]string{"Count", "Milliseconds", "Seconds"}, m["Unit"].(string)) {
					t.Errorf("%s: unit %v", name, m["Unit"])
				}
			}
		}
		if !slices.Equal(names, tc.want) {
			t.Errorf("%s: metrics %v, want %v", name, names, tc.want)
		}
	}
}

// TestFailureBeforeAnyStepIsCounted: an alarm on failures by cause sees them, too.
func TestFailureBeforeAnyStepIsCounted(t *testing.T) {
	for cause, setting := range map[string]string{"InvalidConfiguration": "perhaps", "InvalidEvent": "false"} {
		w := newWorld(t)
		w.env["ALLOW_PLAINTEXT_FALLBACK"] = setting
		w.want(w.invoke("no event"), cause, "")
		if got := w.metrics.String(); !strings.Contains(got, `"Cause":"`+cause+`"`) || !strings.Contains(got, `"Failures":1`) {
			t.Errorf("%s: metrics %q", cause, got)
		}
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
