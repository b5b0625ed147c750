package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// Causes that only rotatorctl reports, in addition to stuck.
const (
	invalidArguments engine.Cause = "InvalidArguments" // the command line is wrong
	notConfigured    engine.Cause = "NotConfigured"    // this machine has no AWS region or credentials
	interrupted      engine.Cause = "Interrupted"      // stopped by Ctrl-C or SIGTERM
)

// conclude reports the error of a command and returns the exit code. With --json, standard output holds one JSON
// object: the command's result or the error.
func conclude(c *cobra.Command, err error) int {
	if err == nil {
		return exitFine
	}
	if v, ok := errors.AsType[verdict](err); ok {
		newScreen(c.ErrOrStderr(), c.ErrOrStderr(), false).line("rotatorctl: " + v.Error())
		return v.code
	}
	e, ok := errors.AsType[*engine.Error](err)
	switch {
	case c.Context() != nil && c.Context().Err() != nil && (ok || errors.Is(err, context.Canceled)):
		e = engine.Errorf(interrupted, cmp.Or(c.Annotations[onInterrupt], "run it again"), "stopped by a signal")
	case !ok:
		// Cobra's errors can have several lines.
		text := strings.Join(strings.Fields(err.Error()), " ")
		e = engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "%s", text)
	}
	newScreen(c.ErrOrStderr(), c.ErrOrStderr(), false).line("rotatorctl: " + e.Error())
	f, code := operator.Failure(e), 0
	switch e.Cause {
	case invalidArguments:
		f.Check, code = "arguments", exitUsage
	case notConfigured:
		f.Check, f.State = "command", operator.Unknown
	case interrupted:
		f.Check, f.State, code = "command", operator.Unknown, exitInterrupted
	}
	out := outcome{Secret: secretArgument(c), Findings: []operator.Finding{f}}
	if wantedJSON(c, os.Args[1:]) {
		if err := printJSON(c.OutOrStdout(), out); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "rotatorctl: %v\n", err)
		}
	}
	return cmp.Or(code, out.code())
}

// onInterrupt is the annotation that holds a command's advice after Ctrl-C.
const onInterrupt = "interrupt"

// secretArgument returns the SECRET of a command line, or "".
func secretArgument(c *cobra.Command) string {
	args := c.Flags().Args()
	words := strings.Fields(strings.TrimSuffix(c.Use, "..."))
	if len(words) > 1 && len(args) == len(words)-1 && words[len(words)-1] == "SECRET" {
		return args[len(args)-1]
	}
	return ""
}

// exactArgs is cobra.ExactArgs with an error that shows the usage.
func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usage(c, fmt.Errorf("%s takes %s, not %d", c.Name(), plural(n, "argument"), len(args)))
	}
}

func usage(c *cobra.Command, err error) error {
	return engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "%w; usage: %s", err, c.UseLine())
}

// choice is a flag with a fixed list of values.
type choice struct {
	value   string
	allowed []string
}

func (f *choice) String() string { return f.value }
func (f *choice) Type() string   { return "FORMAT" }

func (f *choice) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(f.allowed, ", "))
	}
	f.value = value
	return nil
}

// outputFlag adds --output with the formats of a command.
func outputFlag(c *cobra.Command, formats ...string) {
	flags := c.PersistentFlags()
	flags.VarP(&choice{formats[0], formats}, "output", "o", "print "+strings.Join(formats, " or "))
	completeFlag(c, "output", formats)
}

// completeFlag sets up shell completion for the values of a flag.
func completeFlag(c *cobra.Command, flag string, values []string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
