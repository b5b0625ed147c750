// Package lazyregexp compiles regular expressions on first use. Most expressions belong to a single engine, and
// compiling all of them took a fifth of the function's start time.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp returns a regular expression. It is safe for concurrent use.
type Regexp func() *regexp.Regexp

// New returns the expression. Its first use panics if the text is not a valid expression.
func New(text string) Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
