package ctl

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/spf13/cobra"

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
	return c
}

// check reports whether a rotation of a secret would succeed.
func (m *many) check(ctx context.Context, s *secret, out *report) error {
	r, err := m.rotator()
	if err != nil {
		return err
	}
	defer out.wait("checking " + s.Name)()
	clients, rotates := true, true
	for f := range operator.Check(ctx, r, s.ARN) {
		// With one secret, every certificate is from its target, even if no field of the secret names the server.
		if m.one && f.Check == "tls" && (f.State == operator.OK || f.State == operator.Skipped) {
			if peer := m.view.peer.Load(); peer != nil {
				f = fine("tls", fmt.Sprintf("%s, certificate for %s, expires %s",
					tls.VersionName(peer.Version), peer.ServerName, when(&peer.PeerCertificates[0].NotAfter)))
			} else if f.State == operator.OK { // plain text, or an AWS API
				f.State, f.Message = operator.Skipped, "no certificate was seen"
			}
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
