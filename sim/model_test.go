package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is a secret as the rules describe it, in the plainest words: which label
// is on which version, and what each version's value is. It shares no code with
// the simulator.
type model struct {
	labels map[string]string
	values map[string]string
}

// give is setCurrent and its like: a label is on one version, and AWSPREVIOUS
// follows AWSCURRENT.
func (m *model) give(label, v string) {
	if label == "AWSCURRENT" && m.labels[label] != v {
		delete(m.labels, "AWSPREVIOUS")
		if old, ok := m.labels[label]; ok {
			m.labels["AWSPREVIOUS"] = old
		}
	}
	m.labels[label] = v
}

// put returns the code of the error that AWS answers, or "".
func (m *model) put(v, value string, labels []string) string {
	if old, ok := m.values[v]; ok {
		if old != value {
			return "ResourceExistsException"
		}
		return ""
	}
	if len(labels) == 0 {
		labels = []string{"AWSCURRENT"}
	}
	first := len(m.values) == 0
	m.values[v] = value
	for _, l := range labels {
		m.give(l, v)
	}
	if first {
		m.give("AWSCURRENT", v)
	}
	if slices.Contains(labels, "AWSCURRENT") && m.labels["AWSPENDING"] != v {
		delete(m.labels, "AWSPENDING")
	}
	return ""
}

func (m *model) move(label, from, to string) string {
	_, fromExists := m.values[from]
	_, toExists := m.values[to]
	holder := m.labels[label]
	switch {
	case from == "" && to == "":
		return "InvalidParameterException"
	case from != "" && !fromExists || to != "" && !toExists:
		return "ResourceNotFoundException"
	case to == "" && (label == "AWSCURRENT" || holder != from):
		return "InvalidParameterException"
	case to == "":
		delete(m.labels, label)
	case holder == to:
	case holder != from:
		return "InvalidParameterException"
	default:
		m.give(label, to)
	}
	return ""
}

// ask calls an operation as the wire does, without the wire.
func ask(s *Sim, name string, in map[string]any) (map[string]any, string) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err.Error()
	}
	out, f := operations[name].do(s, &caller{account: s.opts.Account, region: s.opts.Region, arn: "arn:aws:iam::" + s.opts.Account + ":root", operation: name}, body)
	if f != nil {
		return nil, f.Code
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err.Error()
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		return nil, err.Error()
	}
	return got, ""
}

// TestTheSimulatorWalksWithTheModel does random operations on both and compares
// every answer, and all labels and values after each.
func TestTheSimulatorWalksWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Options{Clock: NewManualClock(begin)})
		m := &model{map[string]string{}, map[string]string{}}
		if _, code := ask(s, "CreateSecret", map[string]any{"Name": "s", "ClientRequestToken": id(0)}); code != "" {
			t.Fatal(code)
		}
		version := rapid.Custom(func(t *rapid.T) string { return id(rapid.IntRange(1, 6).Draw(t, "n")) })
		maybe := rapid.OneOf(rapid.Just(""), version)
		label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPENDING", "AWSPREVIOUS", "mine", "yours"})
		value := rapid.SampledFrom([]string{"a", "b"})
		// Each action has its own code from both, which must agree.
		agree := func(t *rapid.T, got, want string) {
			if got != want {
				t.Fatalf("the simulator answers %q, the model %q", got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				v, x, ls := version.Draw(t, "version"), value.Draw(t, "value"), rapid.SliceOfNDistinct(label, 0, 4, rapid.ID[string]).Draw(t, "labels")
				if slices.Contains(ls, "AWSPREVIOUS") && slices.Contains(ls, "AWSCURRENT") {
					return // no rule says which comes first
				}
				in := map[string]any{"SecretId": "s", "ClientRequestToken": v, "SecretString": x}
				if len(ls) > 0 {
					in["VersionStages"] = ls
				}
				out, code := ask(s, "PutSecretValue", in)
				agree(t, code, m.put(v, x, ls))
				if code == "" {
					var want []string
					for l, on := range m.labels {
						if on == v {
							want = append(want, l)
						}
					}
					slices.Sort(want)
					var got []string
					have, _ := out["VersionStages"].([]any)
					for _, l := range have {
						got = append(got, l.(string))
					}
					if !slices.Equal(got, want) {
						t.Fatalf("VersionStages is %v, not %v", got, want)
					}
				}
			},
			"update": func(t *rapid.T) {
				v, x := version.Draw(t, "version"), value.Draw(t, "value")
				_, code := ask(s, "UpdateSecret", map[string]any{"SecretId": "s", "ClientRequestToken": v, "SecretString": x})
				agree(t, code, m.put(v, x, nil))
			},
			"move": func(t *rapid.T) {
				l, from, to := label.Draw(t, "label"), maybe.Draw(t, "from"), maybe.Draw(t, "to")
				in := map[string]any{"SecretId": "s", "VersionStage": l}
				if from != "" {
					in["RemoveFromVersionId"] = from
				}
				if to != "" {
					in["MoveToVersionId"] = to
				}
				_, code := ask(s, "UpdateSecretVersionStage", in)
				agree(t, code, m.move(l, from, to))
			},
			"delete and restore": func(t *rapid.T) {
				for _, op := range []string{"DeleteSecret", "RestoreSecret"} {
					if _, code := ask(s, op, map[string]any{"SecretId": "s"}); code != "" {
						t.Fatal(code)
					}
				}
			},
			"": func(t *rapid.T) {
				out, code := ask(s, "DescribeSecret", map[string]any{"SecretId": "s"})
				if code != "" {
					t.Fatal(code)
				}
				labels := map[string]string{}
				versions, _ := out["VersionIdsToStages"].(map[string]any)
				for v, ls := range versions {
					for _, l := range ls.([]any) {
						if labels[l.(string)] != "" {
							t.Fatalf("%s is on two versions", l)
						}
						labels[l.(string)] = v
					}
				}
				if !maps.Equal(labels, m.labels) {
					t.Fatalf("the labels are %v, not %v", labels, m.labels)
				}
				for v, want := range m.values {
					got, code := ask(s, "GetSecretValue", map[string]any{"SecretId": "s", "VersionId": v})
					if code != "" || got["SecretString"] != want {
						t.Fatalf("version %s is %v %s, not %q", v, got["SecretString"], code, want)
					}
				}
				list, code := ask(s, "ListSecretVersionIds", map[string]any{"SecretId": "s", "IncludeDeprecated": true})
				if code != "" || len(list["Versions"].([]any)) != len(m.values) {
					t.Fatalf("%v %s, not %d versions", list, code, len(m.values))
				}
			},
		})
	})
}
