// Command rotatorctl is the operator's tool for the rotation function and the
// front of the local simulator. It is never deployed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker in a release.
var version = "unreleased"

func main() { os.Exit(run()) }

// run is main with an exit status, so that tests can run the command as a
// program of their own.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "rotatorctl: %v\n", err)
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
status is 0 for success and 1 otherwise, with the reason on standard error.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newCheck(), newStatus(), newRecover(), newEvent(), newRotate(), newPolicy(), newSim())
	for _, c := range root.Commands() {
		if c.ValidArgsFunction == nil {
			// No argument of any command is the name of a file.
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}
