package main

import (
	"context"

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
reads the secret, logs in, and rehearses the change where the target lets it. It also
tries AWSPENDING, and finds out whether a rotation under way will finish.

Every secret has the same rows. The row clients says whether AWSCURRENT opens the
target. The exit code is 0 if all is well, 1 if a rotation would fail or clients are
refused, and 3 if that cannot be decided from this machine.`,
		Example: `  rotatorctl check shop/db
  rotatorctl check shop/db --json | jq '.findings[] | select(.state != "ok")'`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			r, arn, err := v.rotator(ctx, args[0])
			if err != nil {
				return err
			}
			out := newReport(c, arn)
			stop := out.wait("checking " + args[0])
			clients, rotates := true, true
			for f := range operator.Check(ctx, r, arn) {
				if f.Check == "tls" && f.State == operator.OK {
					f = v.peer.finding()
				}
				out.find(f)
				if f.Check == "clients" {
					clients = f.State != operator.Failed
				} else {
					rotates = rotates && f.State != operator.Failed
				}
			}
			stop()
			switch {
			case !rotates:
				return out.end(nil, "a rotation of "+args[0]+" would fail")
			case !clients:
				return out.end(nil, "clients of "+args[0]+" are refused; a rotation would succeed and end that")
			case !out.OK:
				return out.end(nil, "cannot tell from here whether a rotation of "+args[0]+" would succeed")
			}
			return out.end(nil, "A rotation of "+args[0]+" would succeed.")
		},
	}
	v.flags(c, 0)
	return c
}
