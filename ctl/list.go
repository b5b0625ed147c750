package ctl

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

func newList(v *view) *cobra.Command {
	var by filter
	var migrate bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List secrets and the state of their rotation",
		Long: `List shows the secrets of the account and region, the stuck, failing and late ones first.
It reads no value: the engine comes from the tag rotator:engine or AWS's template. For
another account, use a profile that assumes a role there.

With --migrate it shows which secrets AWS's rotation templates rotate, which of them can
switch to this function as they are, what the others need, and the commands to switch to
the function $NEW and to go back.

The exit code is 1 if a secret is stuck, failing or late.`,
		Example: `  rotatorctl list --state stuck,failing,late
  rotatorctl list --name shop/ --output csv > shop.csv
  rotatorctl list --migrate --profile audit`,
		Args: cobra.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return list(c, v, by, migrate) },
	}
	filterFlags(c, &by)
	c.Flags().BoolVar(&migrate, "migrate", false, "show which secrets AWS's templates rotate, and how to switch them")
	c.Flags().DurationVar(&v.timeout, "timeout", 10*time.Minute, "time limit")
	return c
}

func list(c *cobra.Command, v *view, by filter, migrate bool) error {
	if migrate && format(c) == "csv" {
		return errors.New("--migrate prints text or json, not csv")
	}
	ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
	defer cancel()
	if err := v.connect(ctx); err != nil {
		return err
	}
	out := newReport(c, "")
	if format(c) == "csv" {
		out.out = io.Discard // standard output holds only the rows
	}
	stop := out.wait("listing secrets")
	secrets, err := listSecrets(ctx, v.secrets, by, time.Now())
	if err != nil {
		stop()
		return awsError(ctx, "cannot list the secrets", "", err)
	}
	unread, err := readFunctions(ctx, newLambda(v.cfg), secrets)
	stop()
	if unread > 0 {
		f := operator.Finding{Check: "functions", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the functions of %s: %v", plural(unread, "secret"),
				cmp.Or(err, errors.New("the account does not have them"))),
			Advice: "allow lambda:ListFunctions; for functions in another account, use a profile of that account"}
		if migrate {
			f.State, f.Cause = operator.Unknown, engine.TargetFailed
		}
		out.find(f)
	}
	if migrate {
		return printMigration(out, secrets)
	}
	return printList(c, out, secrets)
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

func printList(c *cobra.Command, out *report, secrets []secret) error {
	counts := make(map[string]int)
	for _, s := range secrets {
		counts[s.State]++
		if s.bad() {
			out.Findings = append(out.Findings, failed(s.Name, stuck, s.State+": "+s.Reason,
				"look at `rotatorctl status "+quote(s.Name)+"`"))
		}
	}
	text := tally(plural(len(secrets), "secret"), counts, states)
	var err error
	switch format(c) {
	case "csv":
		err = csv.NewWriter(c.OutOrStdout()).WriteAll(rows(secrets))
	case "text":
		t := tabwriter.NewWriter(out.out, 0, 4, 2, ' ', 0)
		for _, row := range rows(secrets) {
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
	return out.end(map[string]any{"secrets": append([]secret{}, secrets...)}, text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// tally appends the counts that are not zero to a text.
func tally(text string, counts map[string]int, order []string) string {
	separator := ": "
	for _, key := range order {
		if n := counts[key]; n > 0 {
			text += fmt.Sprintf("%s%d %s", separator, n, key)
			separator = ", "
		}
	}
	return text
}

func rows(secrets []secret) [][]string {
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
			functionName(s.Function), s.Runtime, stamp(s.Last), stamp(s.Next), s.Reason})
	}
	return all
}

// functionName returns the name in a function's ARN, without an alias or version, or "" for any other text.
func functionName(text string) string {
	a, err := arn.Parse(text)
	name, ok := strings.CutPrefix(a.Resource, "function:")
	if err != nil || a.Service != "lambda" || !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// unqualified returns a function's ARN without an alias or version.
func unqualified(id string) string {
	head, _, _ := strings.Cut(id, ":function:")
	return head + ":function:" + functionName(id)
}

// readFunctions reads the functions of an account, with one call per fifty, and adds what they show to the secrets. It
// returns the number of secrets whose function was not found, and why if a call failed.
func readFunctions(ctx context.Context, api *lambda.Client, secrets []secret) (unread int, err error) {
	functions := make(map[string]types.FunctionConfiguration)
	for pages := lambda.NewListFunctionsPaginator(api, nil); pages.HasMorePages() && err == nil; {
		var page *lambda.ListFunctionsOutput
		if page, err = pages.NextPage(ctx); err == nil {
			for _, f := range page.Functions {
				functions[aws.ToString(f.FunctionArn)] = f
			}
		}
	}
	for i := range secrets {
		s := &secrets[i]
		if s.Function == "" {
			continue
		}
		f, read := functions[unqualified(s.Function)]
		if s.template = templateOf(f); !read {
			s.template = unreadTemplate
			unread++
		}
		s.inherits = inherits(f, s.template)
		s.Runtime = cmp.Or(string(f.Runtime), strings.ToLower(string(f.PackageType))) // an image has no runtime
		s.Engine, s.Strategy = cmp.Or(s.Engine, s.template.Engine), cmp.Or(s.Strategy, s.template.Strategy)
	}
	return unread, awserror.Brief(err)
}
