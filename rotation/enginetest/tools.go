package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// Within returns a context with a timeout of 15 s for one call of an engine: a call that hangs must not hang the test.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// WantCause fails the test unless err is an *engine.Error with the cause, contains the text, and has advice.
func WantCause(t testing.TB, err error, cause engine.Cause, text string) {
	t.Helper()
	e, ok := errors.AsType[*engine.Error](err)
	if !ok || e.Cause != cause || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v, want cause %s and %q", err, cause, text)
	}
	if e.Advice == "" {
		t.Errorf("the error has no advice: %v", err)
	}
}

// Policies returns the IAM policy for permissions and every policy that allows less, named by what
// it lacks: one without each action, one without each resource (or with another if it is the only
// one), and one with another value for each condition. A resource with a wildcard is an error.
func Policies(t testing.TB, permissions []engine.Permission) (whole string, lesser map[string]string) {
	t.Helper()
	write := func(list []engine.Permission) string {
		statements := []map[string]any{}
		for _, p := range list {
			if len(p.Actions) == 0 {
				continue
			}
			s := map[string]any{"Sid": p.Sid, "Effect": "Allow", "Action": p.Actions, "Resource": p.Resources}
			if p.Conditions != nil {
				s["Condition"] = p.Conditions
			}
			statements = append(statements, s)
		}
		text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	lesser = map[string]string{}
	less := func(i int, what string, change func(p *engine.Permission)) {
		list := slices.Clone(permissions)
		change(&list[i])
		lesser[permissions[i].Sid+" without "+what] = write(list)
	}
	for i, p := range permissions {
		for j, action := range p.Actions {
			less(i, action, func(p *engine.Permission) { p.Actions = slices.Delete(slices.Clone(p.Actions), j, j+1) })
		}
		for j, resource := range p.Resources {
			if resource == "*" {
				continue // the action does not take an ARN
			}
			if strings.ContainsAny(resource, "*?") {
				t.Errorf("%s: the resource %s matches more than one", p.Sid, resource)
			}
			less(i, resource, func(p *engine.Permission) {
				if p.Resources = slices.Delete(slices.Clone(p.Resources), j, j+1); len(p.Resources) == 0 {
					p.Resources = []string{resource + "-another"}
				}
			})
		}
		for operator, keys := range p.Conditions {
			for key, value := range keys {
				less(i, operator+" "+key+" "+value, func(p *engine.Permission) {
					p.Conditions = maps.Clone(p.Conditions)
					p.Conditions[operator] = maps.Clone(keys)
					p.Conditions[operator][key] = value + "-another"
				})
			}
		}
	}
	return write(permissions), lesser
}

// Recent holds the names of the users that a harness created last. The suite creates hundreds, which slows some servers
// down. All but the last two belong to finished tests and can be dropped.
type Recent []string

// Add adds a new user's name and returns the name of a user to drop, or "".
func (r *Recent) Add(name string) string {
	*r = append(*r, name)
	if len(*r) < 3 {
		return ""
	}
	old := (*r)[0]
	*r = (*r)[1:]
	return old
}
