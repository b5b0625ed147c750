package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/operator"
)

// newAdopt returns `rotatorctl adopt`.
func newAdopt() *cobra.Command {
	var v view
	var yes bool
	c := &cobra.Command{
		Use:   "adopt SECRET",
		Short: "Take over two users that AWS's template or an operator made",
		Long: `Adopt prints what makes the two users of a secret a pair that the function can
alternate: which objects change their owner, which rights are given, and what
is left alone because the superuser may not change it. With --yes it does that.
Both users must have a working credential in the secret. It may be repeated.`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			r, arn, err := v.rotator(ctx, args[0])
			if err != nil {
				return err
			}
			changes, err := operator.Adopt(ctx, r, arn, yes)
			if err != nil {
				return err
			}
			if wantsJSON(c) {
				if err := printJSON(c.OutOrStdout(), map[string]any{"secret": arn, "changes": changes, "done": yes}); err != nil {
					return err
				}
			} else {
				if len(changes) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "Nothing to do.")
				}
				for _, line := range changes {
					fmt.Fprintln(c.OutOrStdout(), line)
				}
			}
			if len(changes) > 0 && !yes {
				return found{errors.New("nothing was changed (repeat with --yes)")}
			}
			return nil
		},
	}
	v.flags(c)
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
