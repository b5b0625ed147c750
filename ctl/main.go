// Package ctl implements rotatorctl, the operator's tool for the rotation function. It also runs the local simulator.
// It is never deployed. To build a rotatorctl with another engine, see docs/own-engine.md.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
)

// commit is the commit that the program was built from, set by the linker.
var commit = "unknown"

// Main runs rotatorctl with the built-in and the given engines, and does not return. A given engine replaces a built-in
// one with the same name.
func Main(version string, engines ...engine.Constructor) { os.Exit(run(version, engines...)) }

// run is Main, but returns the exit code. Tests use it to run the command as a separate program.
func run(version string, engines ...engine.Constructor) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process
	c, err := newCommand(version, engines...).ExecuteContextC(ctx)
	return conclude(c, err)
}

// newCommand returns the whole command tree.
func newCommand(version string, engines ...engine.Constructor) *cobra.Command {
	root := &cobra.Command{
		Use:     "rotatorctl COMMAND",
		Version: fmt.Sprintf("rotatorctl %s, commit %s, %s", version, commit, runtime.Version()),
		Short:   "Check, rotate and recover secrets, and run the local Secrets Manager simulator",
		Long: `Rotatorctl reads secrets as the rotation function does, with the region and credentials
of any AWS tool (AWS_REGION, AWS_PROFILE and so on) and the function's variables, such as
CA_BUNDLE. SECRET is a name or an ARN. No command prints a secret's value.

Exit codes: 0 fine; 1 a finding: a rotation would fail, has failed or is stuck; 2 wrong
usage; 3 not known, because an answer or a permission is missing; 130 interrupted.`,
		Example: `  rotatorctl status shop/db
  rotatorctl check shop/db --region eu-west-1
  rotatorctl rotate shop/db --json | jq .ok`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			formats := []string{"text", "json"}
			if c.Name() == "list" {
				formats = append(formats, "csv")
			}
			if f := format(c); !slices.Contains(formats, f) {
				return fmt.Errorf("--output %q is not one of %s", f, strings.Join(formats, ", "))
			}
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringP("output", "o", "text", "print text or json; list can also print csv")
	flags.Bool("json", false, "short for --output json")
	flags.String("region", "", "region of the secret; default: as for any AWS tool")
	flags.String("profile", "", "profile of ~/.aws/config; default: as for any AWS tool")
	root.Flags().Bool("version", false, "print the version") // without cobra's shorthand -v, which is for --verbose
	root.SetVersionTemplate("{{.Version}}\n")
	for _, create := range []func(*view) *cobra.Command{
		newCheck, newList, newStatus, newRecover, newAdopt, newEvent, newRotate, newPolicy,
	} {
		v := &view{engines: engines}
		v.command = create(v)
		root.AddCommand(v.command)
	}
	root.AddCommand(newSim(), newVersion(version))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Use, c.Example = "completion SHELL", "  rotatorctl completion bash > /etc/bash_completion.d/rotatorctl"
			// For an unknown shell, cobra prints help and succeeds.
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(*cobra.Command, []string) error {
				return errors.New("SHELL is one of bash, fish, powershell, zsh")
			}
			for _, shell := range c.Commands() {
				shell.Example = "  " + shell.CommandPath() + " > FILE"
			}
		}
		if c.ValidArgsFunction == nil {
			// No command takes a file name as an argument.
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}

func newVersion(version string) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version and the commit",
		Long:    "Version prints the release, the commit that it was built from, and the version of Go.",
		Example: "  rotatorctl version --json | jq -r .commit",
		Args:    cobra.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return newReport(c, "").end(map[string]any{"version": version, "commit": commit, "go": runtime.Version()},
				c.Root().Version)
		},
	}
}
