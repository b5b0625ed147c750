// Command rotatorctl is the operator's tool for the rotation function and the
// front of the local simulator. It is never deployed.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
)

// version is set by the linker in a release.
var version = "unreleased"

func main() { os.Exit(run()) }

// run is main with an exit status, so that tests can run the command as a
// program of their own.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newCommand()
	if err := root.ExecuteContext(ctx); err != nil {
		fail(os.Stdout, os.Stderr, err, wantedJSON(root))
		return 1
	}
	return 0
}

// newCommand returns the whole command tree; each subcommand stands in a file
// of its own name.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "rotatorctl",
		Version: version,
		Short:   "Check, rotate and recover secrets, and run the local Secrets Manager simulator",
		Long: `Rotatorctl looks at secrets as the rotation function does, with your own credentials.
Region, credentials and endpoints are those of any AWS tool (AWS_REGION, AWS_PROFILE and
so on); the function's variables, such as CA_BUNDLE, count here as they do there.

SECRET is the name or the ARN of a secret. No command prints a secret's value. The exit
status is 0 for success and 1 otherwise, with the reason on standard error and,
with --json, on standard output, too.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().Bool("json", false, "print JSON, errors too, as docs/rotatorctl.md describes it")
	root.SetFlagErrorFunc(usage)
	root.AddCommand(newCheck(), newStatus(), newRecover(), newAdopt(), newEvent(), newRotate(), newPolicy(), newSim())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			// Cobra answers a shell that it does not know with help and success.
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(c *cobra.Command, args []string) error {
				var shells []string
				for _, s := range c.Commands() {
					shells = append(shells, s.Name())
				}
				return engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "SHELL is one of %s; usage: %s SHELL", strings.Join(shells, ", "), c.CommandPath())
			}
		}
		if c.ValidArgsFunction == nil {
			// No argument of any command is the name of a file.
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}
