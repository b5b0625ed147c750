// Package iampolicy evaluates IAM policies, for the simulator and the fakes.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package iampolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Policy is an IAM policy.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type Policy struct {
	Version, Id string
	Statement   List[Statement]
}

// Statement is a statement of a policy. The values of a condition can have any type.
type Statement struct {
	Sid, Effect             string
	Principal, NotPrincipal Principal
	Action, NotAction       List[string]
	Resource, NotResource   List[string]
	Condition               map[string]map[string]List[any]
}

// Principal maps kinds of principals to names. A policy may write "*" for the name "*" of the kind AWS.
type Principal map[string]List[string]

// UnmarshalJSON decodes a map or "*".
func (p *Principal) UnmarshalJSON(text []byte) error {
	if string(text) == `"*"` {
		*p = Principal{"AWS": {"*"}}
		return nil
	}
	return json.Unmarshal(text, (*map[string]List[string])(p))
}

// List is a list. A policy may write a list of one element as the element.
type List[T any] []T

// UnmarshalJSON decodes a list or a single element.
func (l *List[T]) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return strictly(text, (*[]T)(l))
	}
	*l = make([]T, 1)
	return strictly(text, &(*l)[0])
}

// strictly decodes JSON, and rejects unknown members.
func strictly(text []byte, v any) error {
	if !json.Valid(text) {
		return errors.New("it is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// ErrUnsupported is the error of a policy that is valid, but that this package cannot evaluate.
var ErrUnsupported = errors.New("not supported")

// Parse parses a policy whose conditions use only the given keys. It rejects what it cannot evaluate instead of ignoring
// it.
func Parse(document string, keys ...string) (*Policy, error) {
	var p Policy
	if err := strictly([]byte(document), &p); err != nil {
		return nil, fmt.Errorf("cannot parse the policy: %w", err)
	}
	for _, st := range p.Statement {
		if err := st.check(keys); err != nil {
			return nil, fmt.Errorf("statement %q: %w", st.Sid, err)
		}
	}
	return &p, nil
}

// operators lists the supported operators.
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
var operators = []string{"StringEquals", "StringLike", "ForAnyValue:StringEquals", "ForAllValues:StringEquals"}

func (st *Statement) check(supported []string) error {
	switch {
	case st.Effect != "Allow" && st.Effect != "Deny":
		return errors.New("its effect is neither Allow nor Deny")
	case len(st.Action)+len(st.NotAction) == 0 || len(st.Resource)+len(st.NotResource) == 0:
		return errors.New("it has no action or no resource")
	}
	for operator, keys := range st.Condition {
		if !slices.Contains(operators, operator) {
			return fmt.Errorf("the operator %s is %w", operator, ErrUnsupported)
		}
		for key, values := range keys {
			if !slices.Contains(supported, key) {
				return fmt.Errorf("the condition key %s is %w", key, ErrUnsupported)
			}
			for _, v := range values {
				if _, ok := v.(string); !ok {
					return fmt.Errorf("the value %v of %s, which is not a text, is %w", v, key, ErrUnsupported)
				}
			}
		}
	}
	return nil
}

// Permits reports whether the policy allows an action on a resource; see Effect.
func (p *Policy) Permits(action, resource string, have map[string][]string) bool {
	return p.Effect(action, resource, have) == "Allow"
}

// Effect returns "Deny" or "Allow", or "" if the policy does not cover the action on the resource. have holds the
// values of the call's condition keys. caller holds the names that statements with principals may use for the caller.
func (p *Policy) Effect(action, resource string, have map[string][]string, caller ...string) (effect string) {
	for _, st := range p.Statement {
		if effect != "Deny" && st.concerns(caller) && st.covers(action, resource) && st.holds(have) {
			effect = st.Effect
		}
	}
	return effect
}

// concerns reports whether a statement applies to a caller.
func (st *Statement) concerns(caller []string) bool {
	is := func(p Principal) bool {
		return slices.ContainsFunc(p["AWS"], func(name string) bool { return name == "*" || slices.Contains(caller, name) })
	}
	return is(st.Principal) || st.Principal == nil && (st.NotPrincipal == nil || !is(st.NotPrincipal))
}

// covers reports whether a statement applies to an action, ignoring case, and to a resource.
func (st *Statement) covers(action, resource string) bool {
	return matches("(?is)", st.Action, st.NotAction, action) && matches("(?s)", st.Resource, st.NotResource, resource)
}

// matches reports whether a text matches a pattern of an element or, if not is set, no pattern of its negation.
func matches(flags string, patterns, not []string, text string) bool {
	if len(not) > 0 {
		return !matches(flags, not, nil, text)
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool { return glob(flags, pattern, text) })
}

// holds reports whether all of a statement's conditions hold. A key that is missing from the call matches only
// ForAllValues, as on AWS.
func (st *Statement) holds(have map[string][]string) bool {
	for operator, keys := range st.Condition {
		for key, want := range keys {
			fits := func(text string) bool {
				return slices.ContainsFunc(want, func(w any) bool {
					pattern, _ := w.(string)
					return pattern == text || operator == "StringLike" && glob("(?s)", pattern, text)
				})
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

// glob reports whether a text matches a pattern with * and ?.
func glob(flags, pattern, text string) bool {
	quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	ok, err := regexp.MatchString(flags+"^"+quoted+"$", text)
	return err == nil && ok
}
