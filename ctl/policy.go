package ctl

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

type principalPolicy struct {
	// Principal is the function's role, or the ARN of a role that it assumes or of an IAM user.
	Principal string   `json:"principal"`
	Policy    document `json:"policy"`
}

type document struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid, Effect      string
	Action, Resource []string
	Condition        map[string]map[string]string `json:",omitempty"`
}

const functionsRole = "the function's role"

func newPolicy(v *view) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy SECRET",
		Short: "Print the least IAM policy and the least rights at the target for a rotation",
		Long: `Policy prints what the rotation of a secret needs: a policy for the function's role, with
ROTATION_ROLE_ARN also for the role that the function assumes, and the statements for the
user who changes the password. Set the function's variables.

If the target does not answer about the user, the statements are missing and the exit code
is 3. A statement whose Sid begins with Optional can be left out.`,
		Example: "  rotatorctl policy shop/db\n  rotatorctl policy shop/db --json | jq '.policies[0].policy'",
		Args:    cobra.ExactArgs(1),
		PreRun: func(*cobra.Command, []string) {
			// The role may not exist yet: it is created from this output.
			v.settings = map[string]string{"ROTATION_ROLE_ARN": "", "ROTATION_ROLE_EXTERNAL_ID": ""}
		},
		RunE: v.with(func(ctx context.Context, r *rotation.Rotator, secret string, out *report) error {
			settings, err := function.Settings(function.Getenv)
			if err != nil {
				return err
			}
			stop := out.wait("asking what " + secret + " needs")
			n, err := operator.Needs(ctx, r, out.Secret)
			stop()
			if err != nil {
				return err
			}
			policies := policiesOf(n, settings("ROTATION_ROLE_ARN"))
			if !out.json {
				printPolicies(out.out, policies, n)
			}
			verdict := ""
			if n.Unread != nil {
				verdict = "the grants are missing: " + n.Unread.Error()
				f := operator.Failure(n.Unread)
				f.Check, f.State = "grants", operator.Unknown
				out.Findings = append(out.Findings, f) // the text output shows it as a note
			}
			return out.end(map[string]any{"engine": n.Engine, "strategy": n.Strategy, "policies": policies,
				"login": n.Login, "grants": append([]string{}, n.Grants...), "note": n.Note}, verdict)
		}),
	}
	v.flags(c)
	return c
}

// policiesOf groups the needs by principal. role is ROTATION_ROLE_ARN.
func policiesOf(n engine.Needs, role string) (policies []principalPolicy) {
	add := func(principal string, s statement) {
		s.Effect = "Allow"
		i := slices.IndexFunc(policies, func(p principalPolicy) bool { return p.Principal == principal })
		if i < 0 {
			i = len(policies)
			policies = append(policies, principalPolicy{principal, document{Version: "2012-10-17"}})
		}
		d := &policies[i].Policy
		if !slices.ContainsFunc(d.Statement, func(have statement) bool { return have.Sid == s.Sid }) {
			d.Statement = append(d.Statement, s)
		}
	}
	secret, _ := arn.Parse(n.Secret) // ARNs from Secrets Manager are valid
	for _, p := range n.Permissions {
		principal := p.Principal
		switch {
		case principal != "":
		case role == "":
			principal = functionsRole
		default:
			principal = strings.NewReplacer("{account}", p.Account, "{partition}", secret.Partition).Replace(role)
			add(functionsRole, statement{
				Sid: "Assume" + p.Account, Action: []string{"sts:AssumeRole"}, Resource: []string{principal},
			})
		}
		add(principal, statement{Sid: p.Sid, Action: p.Actions, Resource: p.Resources, Condition: p.Conditions})
	}
	return policies
}

func printPolicies(w io.Writer, policies []principalPolicy, n engine.Needs) {
	for _, one := range policies {
		fmt.Fprintf(w, "# IAM policy of %s\n", one.Principal)
		_ = printJSON(w, one.Policy) // of strings only
		fmt.Fprintln(w)
	}
	what := "At the target"
	if n.Login != "" {
		what = "What the login " + n.Login + " needs at the target"
	}
	fmt.Fprintf(w, "# %s (%s, %s)\n", what, n.Engine, n.Strategy)
	for _, g := range n.Grants {
		fmt.Fprintln(w, g)
	}
	if n.Note != "" {
		fmt.Fprintf(w, "# %s\n", n.Note)
	}
}
