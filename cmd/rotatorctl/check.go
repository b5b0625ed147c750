package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/operator"
)

// newCheck returns `rotatorctl check`.
func newCheck() *cobra.Command {
	var v view
	c := &cobra.Command{
		Use:   "check SECRET",
		Short: "Prove, without changing anything, that a rotation of the secret would succeed",
		Long: `Check takes the first step of a rotation up to where it would store a value: it
reads the secret, logs in, and rehearses the change where the target lets it.
It prints a line for each precondition and exits with 0 only if all hold.`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			r, arn, err := v.rotator(ctx, args[0])
			if err != nil {
				return err
			}
			findings := operator.Check(ctx, r, arn)
			failed := 0
			for _, f := range findings {
				if f.State == "failed" {
					failed++
				}
			}
			if wantsJSON(c) {
				if err := printJSON(c.OutOrStdout(), findings); err != nil {
					return err
				}
			} else {
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
				for _, f := range findings {
					fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.State, f.Detail)
				}
				if err := w.Flush(); err != nil {
					return err
				}
			}
			if failed > 0 {
				return found{fmt.Errorf("a rotation of %s would fail", args[0])}
			}
			return nil
		},
	}
	v.flags(c)
	return c
}
