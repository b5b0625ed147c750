package fleet

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Filter selects secrets. Every field that is set must match: all of Tags, and any one value of another field.
type Filter struct {
	Names     []string // prefixes
	Tags      map[string]string
	States    []string
	Functions []string // ARNs or names of rotation functions
	// RotatedBefore selects secrets that were last rotated before that time, or never.
	RotatedBefore time.Time
}

// Empty reports whether the filter selects all secrets.
func (f Filter) Empty() bool {
	return len(f.Names)+len(f.Tags)+len(f.States)+len(f.Functions) == 0 && f.RotatedBefore.IsZero()
}

// plainName matches name prefixes that Secrets Manager accepts in a filter and does not negate.
var plainName = regexp.MustCompile(`^[a-zA-Z0-9 :_@/+=.-][a-zA-Z0-9 :_@/+=.!-]*$`)

// atService returns the part of the filter that Secrets Manager can apply, to save calls: up to ten prefixes of names.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func (f Filter) atService() []types.Filter {
	odd := func(name string) bool { return !plainName.MatchString(name) }
	if n := len(f.Names); n == 0 || n > 10 || slices.ContainsFunc(f.Names, odd) {
		return nil
	}
	return []types.Filter{{Key: types.FilterNameStringTypeName, Values: f.Names}}
}

// Selects reports whether the filter selects a secret.
func (f Filter) Selects(s *Secret) bool {
	for key, value := range f.Tags {
		if have, ok := s.tags[key]; !ok || have != value {
			return false
		}
	}
	return oneOf(f.Names, func(prefix string) bool { return strings.HasPrefix(s.Name, prefix) }) &&
		oneOf(f.States, func(x string) bool { return x == s.State }) &&
		oneOf(f.Functions, func(x string) bool { return x == s.Function || x == FunctionName(s.Function) }) &&
		(f.RotatedBefore.IsZero() || s.Last == nil || s.Last.Before(f.RotatedBefore))
}

// oneOf reports whether a list is empty or has a member that f accepts.
func oneOf(list []string, f func(string) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, f)
}
