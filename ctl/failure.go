package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
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
	stderr := reportTo(c.Context(), c.ErrOrStderr(), c.ErrOrStderr(), false, "")
	if v, ok := errors.AsType[verdict](err); ok {
		stderr.line("rotatorctl: " + v.Error())
		return v.code
	}
	e, ok := errors.AsType[*engine.Error](err)
	switch {
	case c.Context() != nil && c.Context().Err() != nil && (ok || errors.Is(err, context.Canceled)):
		e = engine.Errorf(interrupted, cmp.Or(c.Annotations[onInterrupt], "run it again"), "stopped by a signal")
	case !ok:
		// Cobra's errors can have several lines.
		text := strings.Join(strings.Fields(err.Error()), " ")
		e = engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "%s; usage: %s", text, c.UseLine())
	}
	stderr.line("rotatorctl: " + e.Error())
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
	if format(c) == "json" || formatFlag.MatchString(strings.Join(os.Args, " ")) {
		if err := printJSON(c.OutOrStdout(), out); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "rotatorctl: %v\n", err)
		}
	}
	return cmp.Or(code, out.code())
}

// formatFlag matches a flag that selects JSON, also in a command line that is invalid before it.
var formatFlag = regexp.MustCompile(`(^| )(--json|--output[ =]json|-o[ =]?json)( |$)`)

// onInterrupt is the annotation that holds a command's advice after Ctrl-C.
const onInterrupt = "interrupt"

// secretArgument returns the SECRET of a command line, or "".
func secretArgument(c *cobra.Command) string {
	args := c.Flags().Args()
	if usage := strings.Fields(strings.TrimSuffix(c.Use, "...")); usage[len(usage)-1] == "SECRET" && len(args) == len(usage)-1 {
		return args[len(args)-1]
	}
	return ""
}
