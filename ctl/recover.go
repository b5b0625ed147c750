package ctl

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

func newRecover(v *view) *cobra.Command {
	var yes, bySuperuser bool
	c := &cobra.Command{
		Use:   "recover SECRET",
		Short: "Find the version of the secret that opens the target, and make it current",
		Long: `Recover tries the versions of the secret, the current one first, then the superuser, until
the target accepts one. It prints what it would do, and does it only with --yes:

  current works        an abandoned AWSPENDING loses its label if it is refused, and
                       becomes AWSCURRENT if it also works
  another one works    AWSCURRENT moves to it
  the superuser works  with --by-superuser, the user in AWSCURRENT gets its credential
                       again; check the user first: a writer of the secret can name any

It is safe to repeat, and a label moves only to a version that the target accepted.`,
		Example: "  rotatorctl recover shop/db\n  rotatorctl recover shop/db --yes",
		Args:    cobra.ExactArgs(1),
		PreRun: func(*cobra.Command, []string) {
			if bySuperuser {
				v.settings = map[string]string{"RECOVER_BY_SUPERUSER": "true"}
			}
		},
		RunE: v.with(func(ctx context.Context, r *rotation.Rotator, secret string, out *report) error {
			act := operator.Diagnose
			if yes {
				act = operator.Recover
			}
			defer out.wait("trying the credentials of " + secret)()
			d, err := act(ctx, r, out.Secret)
			if err != nil && d.Trouble == nil {
				return err
			}
			return recovered(out, d)
		}),
	}
	v.flags(c)
	c.Flags().BoolVar(&yes, "yes", false, "apply the changes")
	c.Flags().BoolVar(&bySuperuser, "by-superuser", false,
		"let the superuser reset the user if no version of the secret opens the target")
	return c
}

// recovered reports a diagnosis, or what Recover did.
func recovered(out *report, d operator.Diagnosis) error {
	opens := d.Opens + " opens the target"
	if d.Version != "" {
		opens = d.Opens + " (version " + d.Version + ") opens the target"
	}
	clients := fine("clients", opens)
	if d.CurrentRefused {
		if clients.Message = "the target refuses AWSCURRENT"; d.Opens != "" {
			clients.Message += "; " + opens
		}
		if !d.Done {
			clients.State, clients.Cause = operator.Failed, engine.LoginRefused
		}
	}
	out.find(clients)
	recovery, verdict := fine("recovery", d.Action), "Done."
	switch {
	case d.Trouble != nil:
		recovery, verdict = operator.Failure(d.Trouble), "nothing can be done from here"
		recovery.Check = "recovery"
	case d.Action == "":
		recovery.Message, verdict = "nothing to do", "Nothing to do."
	case !d.Done:
		recovery = failed("recovery", stuck, "would "+d.Action, "repeat with --yes")
		verdict = "nothing was changed (repeat with --yes)"
	}
	out.find(recovery)
	return out.end(d, verdict)
}

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
