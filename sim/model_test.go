package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is a secret in the simplest terms: which label is on which version, and each version's
// value. It shares no code with the simulator.
type model struct {
	labels map[string]string
	values map[string]string
}

// give moves a label. A label is on one version, and AWSPREVIOUS follows AWSCURRENT.
func (m *model) give(label, v string) {
	if label == "AWSCURRENT" && m.labels[label] != v {
		delete(m.labels, "AWSPREVIOUS")
		if old, ok := m.labels[label]; ok {
			m.labels["AWSPREVIOUS"] = old
		}
	}
	m.labels[label] = v
}

// put returns the code of AWS's error, or "".
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

func (m *model) clone() *model { return &model{maps.Clone(m.labels), maps.Clone(m.values)} }

// world is a secret and what other regions have under its name: a replica, a promoted replica, or nothing.
type world struct {
	*model
	// replicas holds true for a replica in sync, and false for a failed one.
	replicas map[string]bool
	alone    map[string]*model
}

func (w *world) replicate(region string, force bool) {
	switch {
	case w.replicas[region]:
	case w.alone[region] == nil || force:
		delete(w.alone, region)
		w.replicas[region] = true
	default:
		w.replicas[region] = false
	}
}

func (w *world) promote(region string) string {
	switch {
	case w.replicas[region]:
		delete(w.replicas, region)
		w.alone[region] = w.clone()
		return ""
	case w.alone[region] != nil:
		return "InvalidRequestException"
	}
	return "ResourceNotFoundException"
}

func (w *world) putThere(region, v, value string) string {
	switch {
	case w.replicas[region]:
		return "InvalidParameterException"
	case w.alone[region] != nil:
		return w.alone[region].put(v, value, nil)
	}
	return "ResourceNotFoundException"
}

// in returns the secret as read in a region, or nil.
func (w *world) in(region string) *model {
	if w.replicas[region] {
		return w.model
	}
	return w.alone[region]
}

// ask calls an operation as a request would, without HTTP.
func ask(s *Sim, name string, in map[string]any) (map[string]any, string) {
	return askIn(s, s.opts.Region, name, in)
}

func askIn(s *Sim, region, name string, in map[string]any) (map[string]any, string) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err.Error()
	}
	text, f := operations[name](s, &caller{
		account: s.opts.Account, region: region, arn: "arn:aws:iam::" + s.opts.Account + ":root", operation: name,
	}, body)
	if f != nil {
		return nil, f.Code
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		return nil, err.Error()
	}
	return got, ""
}

// TestTheSimulatorWalksWithTheModel performs random operations on both and compares every answer,
// and all labels and values after each.
func TestTheSimulatorWalksWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Options{Clock: NewManualClock(begin)})
		m := &world{&model{map[string]string{}, map[string]string{}}, map[string]bool{}, map[string]*model{}}
		if _, code := ask(s, "CreateSecret", map[string]any{"Name": "s", "ClientRequestToken": id(0)}); code != "" {
			t.Fatal(code)
		}
		version := rapid.Custom(func(t *rapid.T) string { return id(rapid.IntRange(1, 6).Draw(t, "n")) })
		maybe := rapid.OneOf(rapid.Just(""), version)
		label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPENDING", "AWSPREVIOUS", "mine", "yours"})
		value := rapid.SampledFrom([]string{"a", "b"})
		others := []string{"eu-west-1", "us-west-2"}
		other := rapid.SampledFrom(others)
		// The codes from both must agree.
		agree := func(t *rapid.T, got, want string) {
			if got != want {
				t.Fatalf("the simulator answers %q, the model %q", got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				v, x, ls := version.Draw(t, "version"), value.Draw(t, "value"),
					rapid.SliceOfNDistinct(label, 0, 4, rapid.ID[string]).Draw(t, "labels")
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
				_, code := ask(s, "UpdateSecret", map[string]any{
					"SecretId": "s", "ClientRequestToken": v, "SecretString": x,
				})
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
				want := ""
				if len(m.replicas) > 0 {
					want = "InvalidParameterException"
				}
				_, code := ask(s, "DeleteSecret", map[string]any{"SecretId": "s"})
				agree(t, code, want)
				_, code = ask(s, "RestoreSecret", map[string]any{"SecretId": "s"})
				agree(t, code, "")
			},
			"replicate": func(t *rapid.T) {
				region, force := other.Draw(t, "region"), rapid.Bool().Draw(t, "force")
				out, code := ask(s, "ReplicateSecretToRegions", map[string]any{
					"SecretId": "s", "AddReplicaRegions": []map[string]string{{"Region": region}},
					"ForceOverwriteReplicaSecret": force,
				})
				agree(t, code, "")
				m.replicate(region, force)
				got := map[string]bool{}
				for _, r := range out["ReplicationStatus"].([]any) {
					r := r.(map[string]any)
					got[r["Region"].(string)] = r["Status"] == "InSync"
				}
				if !maps.Equal(got, m.replicas) {
					t.Fatalf("the replicas are %v, not %v", got, m.replicas)
				}
			},
			"remove a replica": func(t *rapid.T) {
				region := other.Draw(t, "region")
				_, code := ask(s, "RemoveRegionsFromReplication", map[string]any{
					"SecretId": "s", "RemoveReplicaRegions": []string{region},
				})
				agree(t, code, "")
				delete(m.replicas, region)
			},
			"promote": func(t *rapid.T) {
				region := other.Draw(t, "region")
				_, code := askIn(s, region, "StopReplicationToReplica", map[string]any{"SecretId": "s"})
				agree(t, code, m.promote(region))
			},
			"put there": func(t *rapid.T) {
				region, v, x := other.Draw(t, "region"), version.Draw(t, "version"), value.Draw(t, "value")
				_, code := askIn(s, region, "PutSecretValue", map[string]any{
					"SecretId": "s", "ClientRequestToken": v, "SecretString": x,
				})
				agree(t, code, m.putThere(region, v, x))
			},
			"": func(t *rapid.T) {
				m.compare(t, s, s.opts.Region)
				for _, region := range others {
					if m := m.in(region); m != nil {
						m.compare(t, s, region)
						continue
					}
					_, code := askIn(s, region, "DescribeSecret", map[string]any{"SecretId": "s"})
					agree(t, code, "ResourceNotFoundException")
				}
			},
		})
	})
}

// compare compares all labels and values with those read in a region.
func (m *model) compare(t *rapid.T, s *Sim, region string) {
	out, code := askIn(s, region, "DescribeSecret", map[string]any{"SecretId": "s"})
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
		t.Fatalf("%s: the labels are %v, not %v", region, labels, m.labels)
	}
	for v, want := range m.values {
		got, code := askIn(s, region, "GetSecretValue", map[string]any{"SecretId": "s", "VersionId": v})
		if code != "" || got["SecretString"] != want {
			t.Fatalf("%s: version %s is %v %s, not %q", region, v, got["SecretString"], code, want)
		}
	}
	list, code := askIn(s, region, "ListSecretVersionIds", map[string]any{"SecretId": "s", "IncludeDeprecated": true})
	if code != "" || len(list["Versions"].([]any)) != len(m.values) {
		t.Fatalf("%s: %v %s, not %d versions", region, list, code, len(m.values))
	}
}

// listed is a secret as lists show it. Its name is its words in title case, without separators.
type listed struct {
	words            []string
	created, changed time.Time
	tags             map[string]string
	deleted          bool
}

func (l *listed) name() string {
	var name string
	for _, w := range l.words {
		name += strings.ToUpper(w[:1]) + w[1:]
	}
	return name
}

// begins reports whether a word of its name or its tags begins with a text.
func (l *listed) begins(text string) bool {
	words := slices.Clone(l.words)
	for key, value := range l.tags {
		words = append(words, strings.ToLower(key), value)
	}
	return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, text) })
}

// TestListsWalkWithTheModel creates, tags and deletes secrets at random and compares lists of them:
// the order, the filtered secrets, and the tags.
func TestListsWalkWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := NewManualClock(begin)
		s := New(Options{Clock: clock})
		secrets := map[string]*listed{}
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"app", "api", "db"}), 1, 2)
		text := rapid.SampledFrom([]string{"", "x"})
		tagged := rapid.SampledFrom([]string{"team", "Team", "aws:x", "AWS:x", "aws"})
		reserved := func(key string) bool { return key == "aws:x" || key == "AWS:x" }
		// do calls an operation for a secret, whose name it draws, and checks the code against the model's.
		do := func(t *rapid.T, operation string, in map[string]any, model func(*listed) string) {
			clock.Advance(time.Second)
			l := &listed{words: words.Draw(t, "words")}
			want := "ResourceNotFoundException"
			if in["SecretString"] == "" {
				want = "ValidationException" // checked first
			} else if known := secrets[l.name()]; known != nil {
				want = model(known)
			}
			in["SecretId"] = l.name()
			if _, code := ask(s, operation, in); code != want {
				t.Fatalf("%s of %s: the simulator answers %q, the model %q", operation, l.name(), code, want)
			}
		}
		// edit changes a secret that is not scheduled for deletion.
		edit := func(reserved bool, change func(*listed)) func(*listed) string {
			return func(l *listed) string {
				switch {
				case l.deleted:
					return "InvalidRequestException"
				case reserved:
					return "InvalidParameterException"
				}
				change(l)
				l.changed = clock.Now()
				return ""
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				clock.Advance(time.Second)
				value, key := text.Draw(t, "value"), tagged.Draw(t, "key")
				l := &listed{words.Draw(t, "words"), clock.Now(), clock.Now(), map[string]string{key: "x"}, false}
				known, want := secrets[l.name()], ""
				switch {
				case value == "":
					want = "ValidationException"
				case known != nil && known.deleted:
					want = "InvalidRequestException"
				case known != nil:
					want = "ResourceExistsException"
				case reserved(key):
					want = "InvalidParameterException"
				default:
					secrets[l.name()] = l
				}
				token := fmt.Sprintf("%032d", clock.Now().Unix())
				if _, code := ask(s, "CreateSecret",
					map[string]any{"Name": l.name(), "ClientRequestToken": token, "SecretString": value,
						"Tags": []map[string]string{{"Key": key, "Value": "x"}}}); code != want {
					t.Fatalf("the simulator answers %q, the model %q", code, want)
				}
			},
			"put": func(t *rapid.T) {
				value := text.Draw(t, "value")
				in := map[string]any{
					"ClientRequestToken": fmt.Sprintf("%032d", clock.Now().Unix()), "SecretString": value,
				}
				do(t, "PutSecretValue", in, edit(false, func(*listed) {}))
			},
			"tag": func(t *rapid.T) {
				key, value := tagged.Draw(t, "key"), text.Draw(t, "value")
				in := map[string]any{"Tags": []map[string]string{{"Key": key, "Value": value}}}
				do(t, "TagResource", in, edit(reserved(key), func(l *listed) { l.tags[key] = value }))
			},
			"untag": func(t *rapid.T) {
				key := tagged.Draw(t, "key")
				do(t, "UntagResource", map[string]any{"TagKeys": []string{key}}, edit(reserved(key), func(l *listed) {
					delete(l.tags, key)
				}))
			},
			"delete": func(t *rapid.T) {
				do(t, "DeleteSecret", map[string]any{}, edit(false, func(l *listed) { l.deleted = true }))
			},
			"restore": func(t *rapid.T) {
				do(t, "RestoreSecret", map[string]any{}, func(l *listed) string {
					if l.deleted {
						l.deleted, l.changed = false, clock.Now()
					}
					return ""
				})
			},
			"list": func(t *rapid.T) {
				by := rapid.SampledFrom([]string{"", "created-date", "last-changed-date", "name"}).Draw(t, "by")
				order := rapid.SampledFrom([]string{"", "asc", "desc"}).Draw(t, "order")
				filter := rapid.SampledFrom([]string{"", "a", "ap", "App", "DB", "b", "/", "-."}).Draw(t, "filter")
				deleted := rapid.Bool().Draw(t, "deleted")
				in := map[string]any{"SortBy": by, "SortOrder": order, "IncludePlannedDeletion": deleted}
				maps.DeleteFunc(in, func(_ string, v any) bool { return v == "" })
				if filter != "" {
					in["Filters"] = []map[string]any{{"Key": "all", "Values": []string{filter}}}
				}
				want := slices.DeleteFunc(slices.Collect(maps.Values(secrets)), func(l *listed) bool {
					return l.deleted && !deleted || !l.begins(strings.ToLower(filter))
				})
				slices.SortFunc(want, func(a, b *listed) int {
					n := a.created.Compare(b.created)
					switch by {
					case "last-changed-date":
						n = a.changed.Compare(b.changed)
					case "name":
						n = strings.Compare(a.name(), b.name())
					}
					if order == "desc" {
						return -n
					}
					return n
				})
				out, code := ask(s, "ListSecrets", in)
				if code != "" {
					t.Fatal(code)
				}
				var got, wanted []string
				for _, l := range want {
					wanted = append(wanted, l.name()+fmt.Sprint(l.tags))
				}
				for _, e := range out["SecretList"].([]any) {
					e := e.(map[string]any)
					tags := map[string]string{}
					list, _ := e["Tags"].([]any)
					for _, t := range list {
						t := t.(map[string]any)
						tags[t["Key"].(string)], _ = t["Value"].(string)
					}
					got = append(got, e["Name"].(string)+fmt.Sprint(tags))
				}
				if !slices.Equal(got, wanted) {
					t.Fatalf("listed: %v, not %v", got, wanted)
				}
			},
		})
	})
}
