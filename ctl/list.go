package ctl

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

type listing struct {
	fleet.Filter
	view             *view
	role, externalID string
	migrate          bool
}

func newList(v *view) *cobra.Command {
	l := listing{view: v}
	c := &cobra.Command{
		Use:   "list",
		Short: "List secrets and the state of their rotation",
		Long: `List shows the secrets of the account and region, the stuck, failing and late ones first.
It reads no value: the engine comes from the tag rotator:engine or AWS's template.

With --migrate it shows which secrets AWS's rotation templates rotate, which of them can
switch to this function as they are, what the others need, and the commands to switch to
the function $NEW and to go back.

With --role it lists the account of the role. The exit code is 1 if a secret is stuck,
failing or late.`,
		Example: `  rotatorctl list --state stuck,failing,late
  rotatorctl list --name shop/ --output csv > shop.csv
  rotatorctl list --role arn:aws:iam::111122223333:role/audit
  rotatorctl list --migrate`,
		Args: cobra.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return l.run(c) },
	}
	filterFlags(c, &l.Filter)
	f := c.Flags()
	f.StringVar(&l.role, "role", "", "ARN of a role, whose account is listed; default: the account of the credentials")
	f.StringVar(&l.externalID, "external-id", "", "external ID for the role")
	f.BoolVar(&l.migrate, "migrate", false, "show which secrets AWS's templates rotate, and how to switch them")
	f.DurationVar(&l.view.timeout, "timeout", 10*time.Minute, "time limit")
	return c
}

var roleForm = regexp.MustCompile(`^arn:[a-z-]+:iam::\d{12}:role/.`)

func (l *listing) run(c *cobra.Command) error {
	switch {
	case l.migrate && format(c) == "csv":
		return errors.New("--migrate prints text or json, not csv")
	case l.role != "" && !roleForm.MatchString(l.role):
		return fmt.Errorf("--role %q is not the ARN of a role", l.role)
	}
	ctx, cancel := context.WithTimeout(c.Context(), l.view.timeout)
	defer cancel()
	if err := l.view.connect(ctx); err != nil {
		return err
	}
	out := newReport(c, "")
	if format(c) == "csv" {
		out.out = io.Discard // standard output holds only the rows
	}
	stop := out.wait("listing secrets")
	cfg := l.assume()
	found, err := fleet.List(ctx, secretsmanager.NewFromConfig(cfg), l.Filter, time.Now())
	if err != nil {
		stop()
		return awsError(ctx, "cannot list the secrets", "", err)
	}
	a, _ := arn.Parse(l.role)
	unread, why := found.ReadFunctions(ctx, func(account string) *lambda.Client {
		if account == a.AccountID {
			return newLambda(cfg)
		}
		return newLambda(l.view.cfg)
	})
	stop()
	if unread > 0 {
		f := operator.Finding{Check: "functions", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the configuration of %d: %v", unread, why),
			Advice: "allow lambda:ListFunctions; if a function is in another account, use that account's credentials, " +
				"and --role for the account of the secrets"}
		if l.migrate {
			f.State, f.Cause = operator.Unknown, engine.TargetFailed
		}
		out.find(f)
	}
	if l.migrate {
		return printMigration(out, found.Migrate(l.role != ""))
	}
	return l.print(c, out, found)
}

// assume returns the SDK's configuration with the credentials of --role, if that is set.
func (l *listing) assume() aws.Config {
	cfg := l.view.cfg.Copy()
	if l.role != "" {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), l.role,
			func(o *stscreds.AssumeRoleOptions) {
				if o.RoleSessionName = "rotatorctl"; l.externalID != "" {
					o.ExternalID = &l.externalID
				}
			}))
	}
	return cfg
}

// newLambda returns a Lambda client. If the endpoint of Secrets Manager is not AWS's, for example the simulator's, the
// client uses it unless another is set for Lambda: credentials for such an endpoint are not valid at AWS.
func newLambda(cfg aws.Config) *lambda.Client {
	endpoint := os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")
	return lambda.NewFromConfig(cfg, func(o *lambda.Options) {
		if o.BaseEndpoint == nil && endpoint != "" && !strings.Contains(endpoint, ".amazonaws.") {
			o.BaseEndpoint = &endpoint
		}
	})
}

func (l *listing) print(c *cobra.Command, out *report, found fleet.Listing) error {
	counts := make(map[string]int)
	for _, s := range found.Secrets {
		counts[s.State]++
		if s.Bad() {
			out.Findings = append(out.Findings, failed(s.Name, stuck, s.State+": "+s.Reason,
				"look at `rotatorctl status "+fleet.Quote(s.Name)+"`"))
		}
	}
	text := tally(plural(len(found.Secrets), "secret"), counts, fleet.States)
	var err error
	switch format(c) {
	case "csv":
		err = csv.NewWriter(c.OutOrStdout()).WriteAll(rows(found.Secrets))
	case "text":
		t := tabwriter.NewWriter(out.out, 0, 4, 2, ' ', 0)
		for _, row := range rows(found.Secrets) {
			for i := range row {
				row[i] = cmp.Or(row[i], "-")
			}
			fmt.Fprintln(t, strings.Join(row, "\t"))
		}
		err = t.Flush()
	}
	if err != nil {
		return err
	}
	return out.end(map[string]any{"secrets": append([]fleet.Secret{}, found.Secrets...)}, text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// tally appends the counts that are not zero to a text.
func tally[K ~string](text string, counts map[K]int, order []K) string {
	separator := ": "
	for _, key := range order {
		if n := counts[key]; n > 0 {
			text += fmt.Sprintf("%s%d %s", separator, n, key)
			separator = ", "
		}
	}
	return text
}

// rows returns a header and a row for each secret.
func rows(secrets []fleet.Secret) [][]string {
	all := [][]string{{
		"STATE", "ACCOUNT", "SECRET", "ENGINE", "STRATEGY", "FUNCTION", "RUNTIME", "LAST_ROTATED", "NEXT_ROTATION", "REASON",
	}}
	stamp := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for _, s := range secrets {
		all = append(all, []string{s.State, s.Account, s.Name, s.Engine, string(s.Strategy),
			fleet.FunctionName(s.Function), s.Runtime, stamp(s.Last), stamp(s.Next), s.Reason})
	}
	return all
}

// printMigration prints how to switch secrets from AWS's templates.
func printMigration(out *report, m fleet.Migration) error {
	counts := make(map[fleet.Verdict]int)
	for _, x := range m.Moves {
		counts[x.Verdict]++
		facts := slices.DeleteFunc([]string{x.Template, x.Engine, string(x.Strategy)}, func(f string) bool { return f == "" })
		out.note(string(x.Verdict), x.Secret+" ("+strings.Join(facts, ", ")+")")
		for _, part := range []struct {
			label string
			lines []string
		}{{"needs: ", x.Needs}, {"switch: ", x.Switch}, {"back: ", x.Back}} {
			for _, line := range part.lines {
				out.note("", part.label+line)
			}
		}
	}
	for _, need := range slices.Sorted(maps.Keys(m.Needs)) {
		out.note("new function", "needs: "+need+" ("+plural(m.Needs[need], "secret")+")")
	}
	text := tally(plural(len(m.Moves), "secret")+" of AWS's templates", counts, fleet.Verdicts)
	return out.end(m, fmt.Sprintf("%s; %d others", text, m.Others))
}
