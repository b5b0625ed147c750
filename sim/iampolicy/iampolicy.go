// Package iampolicy evaluates IAM identity policies, for the simulator and the fakes: the holder of
// a policy may do what it allows, and nothing else.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package iampolicy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Policy is the only identity policy of a role or user.
type Policy struct{ statements []statement }

type statement struct {
	Sid                     string
	Effect                  string
	Principal, NotPrincipal any
	Action, NotAction       List[string]
	Resource, NotResource   List[string]
	Condition               map[string]map[string]List[string]
}

// List is a list that JSON may write as its only element.
type List[T any] []T

// UnmarshalJSON decodes a list or its only element.
func (l *List[T]) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]T)(l))
	}
	*l = make([]T, 1)
	return json.Unmarshal(text, &(*l)[0])
}

// operators lists the supported operators.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
var operators = []string{"StringEquals", "StringLike", "ForAnyValue:StringEquals", "ForAllValues:StringEquals"}

// Parse parses a policy whose conditions use only the given keys. It fails if the policy has
// anything unsupported: NotAction, NotResource, principals, or other operators and keys. No
// condition is ever silently ignored.
func Parse(document string, keys ...string) (*Policy, error) {
	var p struct{ Statement List[statement] }
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		return nil, fmt.Errorf("cannot parse the policy: %w", err)
	}
	for _, st := range p.Statement {
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			return nil, fmt.Errorf("statement %q: its effect is neither Allow nor Deny", st.Sid)
		case st.Principal != nil || st.NotPrincipal != nil:
			return nil, fmt.Errorf("statement %q: an identity policy has no principal", st.Sid)
		case st.NotAction != nil || st.NotResource != nil:
			return nil, fmt.Errorf("statement %q: NotAction and NotResource are not supported", st.Sid)
		case len(st.Action) == 0 || len(st.Resource) == 0:
			return nil, fmt.Errorf("statement %q: it has no action or no resource", st.Sid)
		}
		for operator, all := range st.Condition {
			if !slices.Contains(operators, operator) {
				return nil, fmt.Errorf("statement %q: the operator %s is not supported", st.Sid, operator)
			}
			for key := range all {
				if !slices.Contains(keys, key) {
					return nil, fmt.Errorf("statement %q: the condition key %s is not supported", st.Sid, key)
				}
			}
		}
	}
	return &Policy{p.Statement}, nil
}

// Permits evaluates the policy for one action on one resource. have holds the values of the call's
// condition keys.
func (p *Policy) Permits(action, resource string, have map[string][]string) bool {
	allowed := false
	for _, st := range p.statements {
		if !slices.ContainsFunc(st.Action, func(a string) bool { return Like(a, action) }) ||
			!slices.ContainsFunc(st.Resource, func(r string) bool { return exactly(r, resource) }) || !st.holds(have) {
			continue
		}
		if st.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// holds reports whether all of a statement's conditions hold. A key that the call does not have
// matches only ForAllValues, as on AWS.
func (st statement) holds(have map[string][]string) bool {
	for operator, keys := range st.Condition {
		for key, want := range keys {
			fits := func(text string) bool {
				return slices.ContainsFunc(want,
					func(w string) bool { return w == text || operator == "StringLike" && exactly(w, text) })
			}
			if operator == "ForAllValues:StringEquals" {
				if slices.ContainsFunc(have[key], func(text string) bool { return !fits(text) }) {
					return false
				}
			} else if !slices.ContainsFunc(have[key], fits) {
				return false
			}
		}
	}
	return true
}

// Like matches a text with a pattern of * and ?, ignoring case.
func Like(pattern, text string) bool { return glob("(?is)", pattern, text) }

// exactly is a case-sensitive Like, for resources of an identity policy.
func exactly(pattern, text string) bool { return glob("(?s)", pattern, text) }

func glob(flags, pattern, text string) bool {
	quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	ok, err := regexp.MatchString(flags+"^"+quoted+"$", text)
	return err == nil && ok
}
