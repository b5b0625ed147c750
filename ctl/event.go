package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
)

// steps are the steps of a rotation, in order.
var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

func newEvent(v *view) *cobra.Command {
	c := &cobra.Command{
		Use:   "event STEP SECRET",
		Short: "Print the event of one step, for `sam local invoke --event`",
		Long: `Event prints what Secrets Manager would send for a step of the rotation under way. Its
RotationToken is made up: if the function is in another account or assumes a role
(ROTATION_ROLE_ARN), Secrets Manager refuses a value with it. Use "rotatorctl rotate"
there.`,
		Example: "  rotatorctl event setSecret shop/db > event.json && sam local invoke --event event.json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 2 && !slices.Contains(steps, args[0]) {
				return fmt.Errorf("%q is not one of the steps %s", args[0], strings.Join(steps, ", "))
			}
			return cobra.ExactArgs(2)(c, args)
		},
		RunE: v.open(func(_ context.Context, s *secret, out *report) error {
			if s.Pending == "" {
				return engine.Errorf(engine.VersionNotStaged,
					"begin one with `rotatorctl rotate "+quote(v.command.Flags().Arg(1))+
						"`, at the simulator: on AWS, the function itself finishes it",
					"no rotation of %s is under way", s.Name)
			}
			e := map[string]string{"Step": v.command.Flags().Arg(0), "SecretId": s.ARN, "ClientRequestToken": s.Pending,
				"RotationToken": uuid.NewString()}
			if out.json {
				return out.end(e, "")
			}
			return printJSON(out.out, e)
		}),
	}
	c.Flags().DurationVar(&v.timeout, "timeout", 30*time.Second, "how long to wait for Secrets Manager")
	c.ValidArgsFunction = v.complete
	return c
}
