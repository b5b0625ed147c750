package ctl

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp: every help text has an explanation and an example, and no short flag has two meanings.
func TestHelp(t *testing.T) {
	meanings := make(map[string]string)
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() != "help" && (c.Long == "" || c.Short == "" || !strings.Contains(c.Example, c.CommandPath())) {
			t.Errorf("the help text of %q has no explanation, or no example of it", c.CommandPath())
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 101 {
				t.Errorf("%s: the help text is not wrapped: %s", c.CommandPath(), line)
			}
		}
		c.InitDefaultHelpFlag()
		c.InitDefaultVersionFlag()
		for letter := 'a'; letter <= 'z'; letter++ {
			f := c.Flags().ShorthandLookup(string(letter))
			if f == nil {
				continue
			}
			if other := meanings[f.Shorthand]; other != "" && other != f.Name {
				t.Errorf("-%s is --%s and --%s", f.Shorthand, f.Name, other)
			}
			meanings[f.Shorthand] = f.Name
		}
		for _, s := range c.Commands() {
			visit(s)
		}
	}
	visit(newCommand("unreleased"))
}
