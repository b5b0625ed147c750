package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation/operator"
)

func newCheck(v *view) *cobra.Command {
	m := newMany(v, "would be rotated")
	c := &cobra.Command{
		Use:   "check SECRET...",
		Short: "Prove that rotations would succeed, without changing anything",
		Long: `Check takes the first step of a rotation, up to storing a value: it reads the secret,
logs in, and rehearses the change if the target supports that. It also tries AWSPENDING,
and reports whether a rotation under way will finish.

The exit code is 0 if all is well, 1 if a rotation would fail or AWSCURRENT, the
credential of clients, is refused, and 3 if this machine cannot tell. Several secrets are
checked concurrently, superuser secrets first, with one line each.`,
		Example: `  rotatorctl check shop/db
  rotatorctl check shop/db --json | jq '.findings[] | select(.state != "ok")'
  rotatorctl check --name shop/ --parallel 20`,
		Args: m.args,
		RunE: func(c *cobra.Command, args []string) error { return m.run(c, args, m.check) },
	}
	v.flags(c)
	m.flags(c)
	c.Flags().StringVar(&m.from, "from", "", "secret to begin with, as printed by an interrupted check")
	return c
}

// check reports whether a rotation of a secret would succeed.
func (m *many) check(ctx context.Context, s *fleet.Secret, _ string, out *report) error {
	r, err := m.rotator()
	if err != nil {
		return err
	}
	defer out.wait("checking " + s.Name)()
	clients, rotates := true, true
	for f := range operator.Check(ctx, r, s.ARN) {
		// With one secret, every certificate is from its target, even if no field of the secret names the server.
		if seen := m.view.certificate(); m.one && f.Check == "tls" &&
			(f.State == operator.OK || f.State == operator.Skipped && seen.State == operator.OK) {
			f = seen
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
		return out.end(nil, "a rotation of "+s.Name+" would fail")
	case !clients:
		return out.end(nil, "clients of "+s.Name+" are refused; a rotation would succeed and fix that")
	case out.code() != exitFine:
		return out.end(nil, "cannot tell from this machine whether a rotation of "+s.Name+" would succeed")
	}
	return out.end(nil, "A rotation of "+s.Name+" would succeed.")
}
