package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/operator"
)

// newRecover returns `rotatorctl recover`.
func newRecover() *cobra.Command {
	var v view
	var yes, bySuperuser bool
	c := &cobra.Command{
		Use:   "recover SECRET",
		Short: "Find the version of the secret that opens the target, and make it current",
		Long: `Recover logs in with the versions of the secret, in the order current, pending,
previous, older ones and the superuser's, until the target accepts one. It then
says what it would do, and does it only with --yes:

  current works       an AWSPENDING that was left behind and is refused is taken
                      away; one that works, too, becomes AWSCURRENT
  another one works   AWSCURRENT moves to it
  the superuser works with --by-superuser, the user that AWSCURRENT names is given
                      the credential of AWSCURRENT again; look at the user first,
                      since whoever may write the secret chose it

It may be repeated, and a label only ever moves to a version that was accepted.`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
			defer cancel()
			if bySuperuser {
				v.override = func(name, value string) string {
					if name == "RECOVER_BY_SUPERUSER" {
						return "true"
					}
					return value
				}
			}
			r, arn, err := v.rotator(ctx, args[0])
			if err != nil {
				return err
			}
			act := operator.Diagnose
			if yes {
				act = operator.Recover
			}
			d, err := act(ctx, r, arn)
			if err != nil {
				return err
			}
			if wantsJSON(c) {
				if err := printJSON(c.OutOrStdout(), d); err != nil {
					return err
				}
			} else {
				tell(c, d, yes)
			}
			switch {
			case d.Trouble != "":
				return found{errors.New("nothing can be done from here")}
			case d.Action != "" && !yes:
				return found{errors.New("nothing was changed (repeat with --yes)")}
			}
			return nil
		},
	}
	v.flags(c)
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().BoolVar(&bySuperuser, "by-superuser", false, "let the superuser secret reset the user, where no version of the secret opens the target")
	return c
}

// tell prints a diagnosis for a person.
func tell(c *cobra.Command, d operator.Diagnosis, done bool) {
	w := c.OutOrStdout()
	switch {
	case d.Trouble != "":
		fmt.Fprintln(w, d.Trouble)
	case d.CurrentRefused && d.Version != "":
		fmt.Fprintf(w, "AWSCURRENT refused, %s opens the target (version %s).\n", d.Opens, d.Version)
	case d.Version != "":
		fmt.Fprintf(w, "%s (version %s) opens the target.\n", d.Opens, d.Version)
	default:
		fmt.Fprintf(w, "Only the %s opens the target.\n", d.Opens)
	}
	switch {
	case d.Trouble != "":
	case d.Action == "":
		fmt.Fprintln(w, "Nothing to do.")
	case done:
		fmt.Fprintln(w, "Done: "+d.Action+".")
	default:
		fmt.Fprintln(w, "Would "+d.Action+".")
	}
}
