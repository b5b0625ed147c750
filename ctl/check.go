package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/ctl/fleet"
)

// newCheck returns `rotatorctl check`.
func newCheck(v *view) *cobra.Command {
	m := many{view: v, verb: "checked"}
	c := &cobra.Command{
		Use:   "check SECRET...",
		Short: "Prove that rotations would succeed, without changing anything",
		Long: `Check takes the first step of a rotation, up to storing a value: it reads the secret,
logs in, and rehearses the change if the target supports that. It also tries AWSPENDING,
and reports whether a rotation under way will finish.

The rows are the same for every secret. The row clients shows whether AWSCURRENT opens
the target. The exit code is 0 if all is well, 1 if a rotation would fail or clients are
refused, and 3 if this machine cannot tell.

Several secrets, or those that the filters select, are checked concurrently, superuser
secrets first. Each has one line, and there is one exit code.`,
		Example: `  rotatorctl check shop/db
  rotatorctl check shop/db --json | jq '.findings[] | select(.state != "ok")'
  rotatorctl check --name shop/ --parallel 20`,
		Args: m.args,
		RunE: func(c *cobra.Command, args []string) error {
			if m.several(args) {
				return m.run(c, args, func(ctx context.Context, s *fleet.Secret, _ []string, out *report) error {
					return check(ctx, m.rotator, s.Name, nil, out)
				})
			}
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			r, arn, err := v.rotator(ctx, args[0])
			if err != nil {
				return err
			}
			out := newReport(c, arn)
			defer out.wait("checking " + args[0])()
			return check(ctx, r, args[0], &v.peer, out)
		},
	}
	v.flags(c, 0)
	m.flags(c)
	c.Flags().StringVar(&m.from, "from", "", "secret to begin with, as printed by an interrupted check")
	return c
}

// check reports whether a rotation of the report's secret would succeed. p, if not nil, has met no
// servers but those of this secret's target.
func check(ctx context.Context, r *rotation.Rotator, name string, p *peer, out *report) error {
	clients, rotates := true, true
	for f := range operator.Check(ctx, r, out.Secret) {
		if p != nil && f.Check == "tls" && f.State == operator.OK {
			f = p.finding()
		}
		out.find(f)
		if f.Check == "clients" {
			clients = f.State != operator.Failed
		} else {
			rotates = rotates && f.State != operator.Failed
		}
	}
	switch {
	case !rotates:
		return out.end(nil, "a rotation of "+name+" would fail")
	case !clients:
		return out.end(nil, "clients of "+name+" are refused; a rotation would succeed and fix that")
	case !out.OK:
		return out.end(nil, "cannot tell from this machine whether a rotation of "+name+" would succeed")
	}
	return out.end(nil, "A rotation of "+name+" would succeed.")
}
