package fleet

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/rotation/engine"
)

// Filter selects secrets. Every field that is set must match, by any one of its values; of Tags, all must.
type Filter struct {
	Names      []string          // prefixes
	Tags       map[string]string // "" matches any value
	States     []State
	Engines    []string
	Strategies []engine.Strategy
	Functions  []string // ARNs or names of rotation functions
	Runtimes   []string // prefixes
	// RotatedBefore selects secrets that were last rotated before that time, or never.
	RotatedBefore time.Time
	// Rotates selects secrets that have a rotation function.
	Rotates bool
}

// Empty reports whether the filter selects all secrets.
func (f Filter) Empty() bool {
	n := len(f.Names) + len(f.Tags) + len(f.States) + len(f.Engines) + len(f.Strategies)
	return n+len(f.Functions)+len(f.Runtimes) == 0 && f.RotatedBefore.IsZero()
}

// atService returns the part of the filter that Secrets Manager can apply. It compares prefixes and does
// not match a tag's value with its key, so Passes is also needed.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func (f Filter) atService() []types.Filter {
	var filters []types.Filter
	if n := len(f.Names); n > 0 && n <= 10 && !slices.ContainsFunc(f.Names, unlike) {
		filters = append(filters, types.Filter{Key: types.FilterNameStringTypeName, Values: f.Names})
	}
	for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
		value := f.Tags[key]
		if len(filters) > 8 || unlike(key) || unlike(value) { // ten are allowed
			continue
		}
		filters = append(filters, types.Filter{Key: types.FilterNameStringTypeTagKey, Values: []string{key}})
		if value != "" {
			filters = append(filters, types.Filter{Key: types.FilterNameStringTypeTagValue, Values: []string{value}})
		}
	}
	return filters
}

var filterForm = regexp.MustCompile(`^[a-zA-Z0-9 :_@/+=.-][a-zA-Z0-9 :_@/+=.!-]*$|^$`)

// unlike reports whether Secrets Manager would refuse a text in a filter, or negate it.
func unlike(text string) bool { return !filterForm.MatchString(text) }

// Passes reports whether the filter selects a secret.
func (f Filter) Passes(s *Secret) bool {
	for key, value := range f.Tags {
		if have, ok := s.tags[key]; !ok || value != "" && have != value {
			return false
		}
	}
	return oneOf(f.Names, func(p string) bool { return strings.HasPrefix(s.Name, p) }) &&
		oneOf(f.States, func(x State) bool { return s.State == x }) &&
		oneOf(f.Engines, func(x string) bool { return s.Engine == x }) &&
		oneOf(f.Strategies, func(x engine.Strategy) bool { return s.Strategy == x }) &&
		oneOf(f.Functions, func(x string) bool { return x == s.Function || x == functionName(s.Function) }) &&
		oneOf(f.Runtimes, func(p string) bool { return s.Runtime != "" && strings.HasPrefix(s.Runtime, p) }) &&
		(f.RotatedBefore.IsZero() || s.Last == nil || s.Last.Before(f.RotatedBefore)) &&
		(!f.Rotates || s.Rotates())
}

// oneOf reports whether a list is empty or has a member that f accepts.
func oneOf[T interface{ ~string }](list []T, f func(T) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, f)
}
