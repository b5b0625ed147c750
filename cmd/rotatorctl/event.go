package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// event is what Secrets Manager sends to a rotation function.
type event struct {
	Step               string
	SecretId           string
	ClientRequestToken string
	RotationToken      string
}

// steps are those of a rotation, in their order.
var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// newEvent returns `rotatorctl event`.
func newEvent() *cobra.Command {
	var v view
	c := &cobra.Command{
		Use:   "event STEP SECRET",
		Short: "Print the event of one step, for `sam local invoke --event`",
		Long: `Event prints what Secrets Manager would send for a step of the rotation that is
under way: createSecret, setSecret, testSecret or finishSecret.`,
		Example: "  rotatorctl event setSecret shop/db > event.json && sam local invoke --event event.json",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return steps, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(steps, args[0]) {
				return fmt.Errorf("%q is none of the steps %s", args[0], strings.Join(steps, ", "))
			}
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			_, d, err := v.open(ctx, args[1])
			if err != nil {
				return err
			}
			e := event{Step: args[0], SecretId: arnOf(d), RotationToken: uuid.NewString()}
			for id, labels := range d.VersionIdsToStages {
				if slices.Contains(labels, "AWSPENDING") {
					e.ClientRequestToken = id
				}
			}
			if e.ClientRequestToken == "" {
				return fmt.Errorf("no rotation of %s is under way (start one with rotate-secret)", args[1])
			}
			return printJSON(c.OutOrStdout(), e)
		},
	}
	c.Flags().Bool("json", false, "print JSON, which is what an event is: this changes nothing")
	c.Flags().DurationVar(&v.timeout, "timeout", 30*time.Second, "how long to wait for Secrets Manager")
	return c
}
