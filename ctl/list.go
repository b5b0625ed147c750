package ctl

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

type listing struct {
	selection
	view       *view
	accounts   []string
	role       string
	externalID string
	migrate    bool
	values     bool
	to         string
}

func newList(v *view) *cobra.Command {
	l := listing{view: v}
	c := &cobra.Command{
		Use:   "list",
		Short: "List secrets and the state of their rotation",
		Long: `List shows the secrets of the account and region: engine, strategy, rotation function
and its runtime, last and next rotation. Secrets that are stuck, failing or late come
first. It reads no value: the engine comes from the tag rotator:engine, from AWS's
template or, with a question mark, from a word in the secret's name.

With --migrate it shows which secrets AWS's rotation templates rotate, which of them can
switch to this function as they are, what the others need, and the commands to switch and
to go back. With --to it leaves out needs that the new function already meets. With
--read-values it also reads the values, to learn more than the template shows.

With --account it lists other accounts, using a role with the same name in each: --role,
or else ROTATION_ROLE_ARN. The exit code is 1 if a secret is stuck, failing or late, and
3 if an account could not be listed.`,
		Example: `  rotatorctl list --state stuck,failing,late
  rotatorctl list --name shop/ --output csv > shop.csv
  rotatorctl list --account 111122223333 --account 444455556666 --role 'arn:aws:iam::{account}:role/audit'
  rotatorctl list --migrate --to arn:aws:lambda:eu-west-1:123456789012:function:rotator`,
		Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return l.run(c) },
	}
	outputFlag(c, "table", "json", "csv")
	l.filters(c)
	f := c.Flags()
	f.StringSliceVar(&l.accounts, "account", nil,
		"account to list; may be repeated; default: the account of the credentials")
	f.StringVar(&l.role, "role", "",
		"ARN of the role in each --account; may contain {account} and {partition}; default: ROTATION_ROLE_ARN")
	f.StringVar(&l.externalID, "external-id", "", "external ID for the role; default: ROTATION_ROLE_EXTERNAL_ID")
	f.BoolVar(&l.migrate, "migrate", false, "show which secrets AWS's templates rotate, and how to switch them")
	f.StringVar(&l.to, "to", "", "ARN of the function to switch to, with --migrate")
	f.BoolVar(&l.values, "read-values", false, "with --migrate, also read the secrets' values")
	f.DurationVar(&l.view.timeout, "timeout", 10*time.Minute, "time limit")
	f.BoolVarP(&l.view.verbose, "verbose", "v", false, "print the log of the function's code to standard error")
	return c
}

func (l *listing) run(c *cobra.Command) error {
	if err := l.check(); err != nil {
		return usage(c, err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), l.view.timeout)
	defer cancel()
	if err := l.view.connect(ctx); err != nil {
		return err
	}
	r, err := l.view.newRotator()
	if err != nil {
		return err
	}
	out := newReport(c, "")
	if l.format() == "csv" {
		out.out = io.Discard // standard output holds only the rows
	}
	stop := out.wait("listing secrets")
	accounts := l.configurations()
	functions := func(account string) *lambda.Client {
		if cfg, ok := accounts[account]; ok {
			return l.view.lambda(cfg)
		}
		return l.view.lambda(l.view.cfg)
	}
	o := fleet.Options{Accounts: make(map[string]*secretsmanager.Client), Kinds: r.Kinds(), Filter: l.Filter,
		Functions: functions, Now: time.Now()}
	for id, cfg := range accounts {
		o.Accounts[id] = secretsmanager.NewFromConfig(cfg)
	}
	found := fleet.List(ctx, o)
	if ctx.Err() != nil {
		stop()
		return awsError(ctx, "cannot list the secrets", "", ctx.Err())
	}
	for _, id := range slices.Sorted(maps.Keys(found.Errors)) {
		what := "cannot list the secrets"
		if id != "" {
			what += " of account " + id
		}
		f := operator.Failure(awsError(ctx, what, "", found.Errors[id]))
		f.Check = "list"
		out.show(f)
	}
	if !l.migrate {
		stop()
		return l.print(out, found)
	}
	values := l.read(ctx, found, r)
	to := fleet.Target{Kinds: r.Kinds(), ByARN: len(l.accounts) > 0}
	if l.to != "" {
		a, _ := arn.Parse(l.to) // check has validated it
		to.Function = fleet.ReadFunction(ctx, functions(a.AccountID), l.to)
	}
	stop()
	return l.printMigration(out, found, to, values)
}

// check validates the flags and fills in defaults from the environment.
func (l *listing) check() error {
	if err := l.selection.read(); err != nil {
		return err
	}
	settings, err := function.Settings(function.Getenv)
	if err != nil {
		return err
	}
	l.role = cmp.Or(l.role, settings("ROTATION_ROLE_ARN"))
	l.externalID = cmp.Or(l.externalID, settings("ROTATION_ROLE_EXTERNAL_ID"))
	for _, id := range l.accounts {
		if !accountForm.MatchString(id) {
			return fmt.Errorf("--account %q is not twelve digits", id)
		}
	}
	if l.to != "" && fleet.FunctionName(l.to) == "" {
		return fmt.Errorf("--to %q is not the ARN of a Lambda function", l.to)
	}
	switch {
	case len(l.accounts) > 0 && l.role == "":
		return fmt.Errorf("--account needs --role or ROTATION_ROLE_ARN")
	case !l.migrate && (l.to != "" || l.values):
		return fmt.Errorf("--to and --read-values need --migrate")
	case len(l.accounts) > 0 && l.values:
		// The rotator reads the values with the same role.
		l.view.settings = map[string]string{"ROTATION_ROLE_ARN": l.role, "ROTATION_ROLE_EXTERNAL_ID": l.externalID}
	}
	return nil
}

// configurations returns the SDK configuration of each --account. Without --account, it returns that of the credentials
// under the key "".
func (l *listing) configurations() map[string]aws.Config {
	if len(l.accounts) == 0 {
		return map[string]aws.Config{"": l.view.cfg}
	}
	all := make(map[string]aws.Config)
	for _, id := range l.accounts {
		cfg := l.view.cfg.Copy()
		role := strings.NewReplacer("{account}", id, "{partition}", function.Partition(cfg.Region)).Replace(l.role)
		assume := func(o *stscreds.AssumeRoleOptions) {
			if o.RoleSessionName = "rotatorctl"; l.externalID != "" {
				o.ExternalID = &l.externalID
			}
		}
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role, assume))
		all[id] = cfg
	}
	return all
}

// lambda returns a Lambda client. If the endpoint of Secrets Manager is not AWS's, for example the simulator's, the
// client uses it unless AWS_ENDPOINT_URL_LAMBDA is set: credentials for such an endpoint are not valid at AWS.
func (v *view) lambda(cfg aws.Config) *lambda.Client {
	endpoint := os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")
	return lambda.NewFromConfig(cfg, func(o *lambda.Options) {
		if endpoint != "" && !strings.Contains(endpoint, ".amazonaws.") && os.Getenv("AWS_ENDPOINT_URL_LAMBDA") == "" {
			o.BaseEndpoint = &endpoint
		}
	})
}

func (l *listing) format() string {
	if wantsJSON(l.view.command) {
		return "json"
	}
	return l.view.command.Flag("output").Value.String()
}

// unread reports the functions whose configuration could not be read.
func unread(out *report, found fleet.Listing, state operator.State) {
	var first error
	n := 0
	for _, id := range slices.Sorted(maps.Keys(found.Functions)) {
		if err := found.Functions[id].Err; err != nil {
			first = cmp.Or(first, err)
			n++
		}
	}
	if n == 0 {
		return
	}
	f := operator.Finding{Check: "functions", State: state,
		Message: fmt.Sprintf("cannot read the configuration of %d: %v", n, first),
		Advice:  "allow lambda:GetFunctionConfiguration and lambda:ListFunctions, in each function's account"}
	if state != operator.Skipped {
		f.Cause = engine.TargetFailed
	}
	out.show(f)
}

func (l *listing) print(out *report, found fleet.Listing) error {
	unread(out, found, operator.Skipped)
	counts := make(map[string]int)
	for _, s := range found.Secrets {
		counts[s.State]++
		if s.Bad() {
			out.add(failed(s.Name, stuck, s.State+": "+s.Reason,
				"look at `rotatorctl status "+fleet.Quote(s.Name)+"`"))
		}
	}
	text := plural(len(found.Secrets), "secret")
	for _, state := range fleet.States {
		if n := counts[state]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, state)
		}
	}
	text = strings.Replace(text, ",", ":", 1)
	if len(found.Errors) > 0 {
		text = "the list is incomplete: " + text
	}
	var err error
	switch l.format() {
	case "csv":
		err = writeSecrets(l.view.command.OutOrStdout(), found.Secrets)
	case "table":
		err = l.table(out.out, found.Secrets)
	}
	if err != nil {
		return err
	}
	return out.end(struct {
		outcome
		Secrets []fleet.Secret `json:"secrets"`
	}{out.outcome, append([]fleet.Secret{}, found.Secrets...)}, text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (l *listing) table(w io.Writer, secrets []fleet.Secret) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := func(account string, row ...string) {
		if len(l.accounts) > 1 {
			row = slices.Insert(row, 1, account)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if len(secrets) > 0 {
		line("ACCOUNT", "STATE", "SECRET", "ENGINE", "STRATEGY", "FUNCTION", "RUNTIME", "LAST ROTATED", "NEXT", "REASON")
	}
	for _, s := range secrets {
		name := s.Engine
		if s.EngineFrom == "name" {
			name += "?"
		}
		row := []string{
			s.State, s.Name, name, string(s.Strategy), fleet.FunctionName(s.Function), s.Runtime,
			known(s.Last, humanize.Time), known(s.Next, humanize.Time), s.Reason,
		}
		for i := range row {
			row[i] = cmp.Or(row[i], "-")
		}
		line(s.Account, row...)
	}
	return t.Flush()
}

// known formats a time, unless it is nil.
func known(t *time.Time, format func(time.Time) string) string {
	if t == nil {
		return ""
	}
	return format(*t)
}

func writeSecrets(w io.Writer, secrets []fleet.Secret) error {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	rows := [][]string{{
		"state", "name", "arn", "account", "engine", "engine_from", "strategy", "function", "runtime",
		"last_rotated", "next_rotation", "reason",
	}}
	for _, s := range secrets {
		rows = append(rows, []string{
			s.State, s.Name, s.ARN, s.Account, s.Engine, s.EngineFrom, string(s.Strategy), s.Function,
			s.Runtime, known(s.Last, stamp), known(s.Next, stamp), s.Reason,
		})
	}
	return csv.NewWriter(w).WriteAll(rows)
}

// read reads the values of secrets that a function rotates, if --read-values is set.
func (l *listing) read(ctx context.Context, found fleet.Listing, r *rotation.Rotator) map[string]fleet.Value {
	if !l.values {
		return nil
	}
	values := make(map[string]fleet.Value)
	var mu sync.Mutex
	fleet.Each(ctx, make([][]int, len(found.Secrets)), 10, func(i int, _ []int) bool {
		if s := &found.Secrets[i]; s.Rotates() {
			i, err := r.Inspect(ctx, s.ARN)
			v := fleet.Value{Err: err}
			if err == nil {
				v = fleet.Value{Engine: i.Kind.Names[0], Strategy: i.Request.Strategy}
			}
			mu.Lock()
			defer mu.Unlock()
			values[s.ARN] = v
		}
		return true
	})
	return values
}

// printMigration prints how to switch secrets from AWS's templates.
func (l *listing) printMigration(
	out *report, found fleet.Listing, to fleet.Target, values map[string]fleet.Value,
) error {
	unread(out, found, operator.Unknown)
	if to.Function != nil && to.Function.Err != nil {
		out.show(operator.Finding{Check: "--to", State: operator.Unknown, Cause: engine.TargetFailed,
			Message: fmt.Sprintf("cannot read the configuration of %s: %v", l.to, to.Function.Err),
			Advice:  "check the ARN, and allow lambda:GetFunctionConfiguration"})
	}
	m := fleet.Migrate(found, to, values)
	counts := make(map[fleet.Verdict]int)
	for _, x := range m.Moves {
		counts[x.Verdict]++
		facts := x.Template
		for _, f := range []string{x.Engine, string(x.Strategy)} {
			if f != "" {
				facts += ", " + f
			}
		}
		out.print(fmt.Sprintf("%-9s", x.Verdict), 9, x.Secret+" ("+facts+")")
		needs := "needs"
		if x.Verdict == fleet.Keep {
			needs = "keep"
		}
		for _, part := range []struct {
			label string
			lines []string
		}{{needs, x.Needs}, {"switch", x.Switch}, {"back", x.Back}} {
			for i, line := range part.lines {
				if i > 0 && part.label != needs {
					part.label = "" // a second command
				}
				out.print(fmt.Sprintf("%-9s%-8s", "", part.label), 17, line)
			}
		}
	}
	if len(m.Functions) > 0 {
		out.line("The new function needs:")
	}
	for _, n := range m.Functions {
		of := plural(n.Secrets, "secret") + " of " + fleet.FunctionName(n.Function)
		out.print("  ", 2, n.Need+" ("+of+")")
	}
	text := plural(len(m.Moves), "secret") + " of AWS's templates"
	for i, words := range []string{"can switch", "need something first", "keep their template", "not known"} {
		if n := counts[fleet.Verdicts[i]]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, words)
		}
	}
	text = strings.Replace(text, ",", ":", 1) + fmt.Sprintf("; %d others", m.Others)
	if l.format() == "csv" {
		if err := writeMoves(l.view.command.OutOrStdout(), m.Moves); err != nil {
			return err
		}
	}
	m.Moves = append([]fleet.Move{}, m.Moves...)
	return out.end(struct {
		outcome
		fleet.Migration
	}{out.outcome, m}, text)
}

func writeMoves(w io.Writer, moves []fleet.Move) error {
	rows := [][]string{{"verdict", "secret", "arn", "template", "engine", "strategy", "needs", "switch", "back"}}
	for _, m := range moves {
		rows = append(rows, []string{string(m.Verdict), m.Secret, m.ARN, m.Template, m.Engine, string(m.Strategy),
			strings.Join(m.Needs, "; "), strings.Join(m.Switch, " && "), strings.Join(m.Back, " && ")})
	}
	return csv.NewWriter(w).WriteAll(rows)
}
