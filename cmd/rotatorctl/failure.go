package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
)

// invalidArguments is the cause of what is wrong with the command line itself; all
// others are the function's own causes.
const invalidArguments engine.Cause = "InvalidArguments"

// failure is an error as --json prints it.
type failure struct {
	Cause   engine.Cause `json:"cause"`
	Message string       `json:"message"`
	Advice  string       `json:"advice,omitempty"`
}

// found is an error of a command that has printed its result, such as a check
// that failed: there is nothing to add to standard output.
type found struct{ error }

// fail writes the reason to stderr and, where JSON is asked for and no result was
// printed, an object to stdout: so that this always holds one JSON value.
func fail(stdout, stderr io.Writer, err error, asJSON bool) {
	e, ok := errors.AsType[*engine.Error](err)
	if !ok {
		// Cobra's own, which has several lines, and what is wrong with a flag's value.
		e = engine.Errorf(invalidArguments, "see rotatorctl --help", "%s", strings.Join(strings.Fields(err.Error()), " "))
	}
	_, told := errors.AsType[found](err)
	if told {
		fmt.Fprintf(stderr, "rotatorctl: %v\n", err)
		return
	}
	fmt.Fprintf(stderr, "rotatorctl: %v\n", e)
	if asJSON {
		if err := printJSON(stdout, map[string]failure{"error": {e.Cause, e.Err.Error(), e.Advice}}); err != nil {
			fmt.Fprintf(stderr, "rotatorctl: %v\n", err)
		}
	}
}

// wantsJSON tells whether a command was called with --json.
func wantsJSON(c *cobra.Command) bool {
	on, err := c.Flags().GetBool("json")
	return err == nil && on
}

// wantedJSON is wantsJSON where the command line may be one that cannot be read.
func wantedJSON(root *cobra.Command) bool {
	return root.PersistentFlags().Changed("json") && wantsJSON(root) || slices.Contains(os.Args[1:], "--json")
}

// exactArgs is cobra.ExactArgs with an error that shows how the command is called.
func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usage(c, fmt.Errorf("%s takes %s, not %d", c.Name(), count(n), len(args)))
	}
}

func count(n int) string {
	switch n {
	case 0:
		return "no argument"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// usage is an error of a command line.
func usage(c *cobra.Command, err error) error {
	return engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "%w; usage: %s", err, c.UseLine())
}
