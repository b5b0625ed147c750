package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

func newAdopt(v *view) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "adopt SECRET",
		Short: "Take over two users that AWS's template or an operator created",
		Long: `Adopt prints the changes after which the function can alternate between the two users
of a secret: which objects change owner, which rights are granted, and what stays as it
is because the superuser may not change it. With --yes it applies them. The secret must
hold a working credential of each user. It is safe to repeat.`,
		Example: "  rotatorctl adopt shop/db\n  rotatorctl adopt shop/db --yes",
		Args:    cobra.ExactArgs(1),
		RunE: v.with(func(ctx context.Context, r *rotation.Rotator, secret string, out *report) error {
			defer out.wait("looking at the users of " + secret)()
			changes, err := operator.Adopt(ctx, r, out.Secret, yes)
			if err != nil {
				return err
			}
			for _, line := range changes {
				out.line(line)
			}
			pair, verdict := fine("pair", "the function can alternate between the users"), "Done."
			switch {
			case len(changes) == 0:
				verdict = "Nothing to do."
			case !yes:
				pair = failed("pair", engine.TakeoverRefused, "the function cannot alternate between the users yet",
					"read the changes above, and repeat with --yes")
				verdict = "nothing was changed (repeat with --yes)"
			}
			out.find(pair)
			done := yes && len(changes) > 0
			return out.end(map[string]any{"changes": append([]string{}, changes...), "done": done}, verdict)
		}),
	}
	v.flags(c)
	c.Flags().BoolVar(&yes, "yes", false, "apply the changes")
	return c
}
