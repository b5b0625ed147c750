package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// filterFlags adds flags that set a filter.
func filterFlags(c *cobra.Command, s *fleet.Filter) {
	f := c.Flags()
	f.StringSliceVar(&s.Names, "name", nil, "select secrets whose name has this prefix; may be repeated")
	f.StringToStringVar(&s.Tags, "tag", nil, "select secrets with the tag `KEY=VALUE`; all must match")
	f.Func("state", "select secrets in a `STATE`: "+strings.Join(fleet.States, ", "), func(text string) error {
		for state := range strings.SplitSeq(text, ",") {
			if !slices.Contains(fleet.States, state) {
				return fmt.Errorf("%q is not one of %s", state, strings.Join(fleet.States, ", "))
			}
			s.States = append(s.States, state)
		}
		return nil
	})
	f.StringSliceVar(&s.Functions, "rotated-by", nil, "select secrets that a function rotates, by its ARN or name")
	f.Func("rotated-before", "select secrets not rotated since a `TIME` such as 2026-11-29T10:00:00Z, or for a "+
		"duration such as 90d", func(text string) (err error) {
		s.RotatedBefore, err = moment(text, time.Now())
		return err
	})
}

// moment parses a time or a duration before now.
func moment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.Atoi(number); err == nil && days > 0 {
			return now.AddDate(0, 0, -days), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("it is not a time such as 2026-11-29T10:00:00Z or a duration such as 90d or 12h")
}

// many runs a task for one or more secrets.
type many struct {
	fleet.Filter
	view     *view
	rotator  func() (*rotation.Rotator, error)
	verb     string // in the summary: would be rotated, rotated or tested
	parallel uint
	from     string // the secret to begin with

	one    bool // the command line selects one secret by its name
	counts map[string]int
}

func newMany(v *view, verb string) *many {
	return &many{view: v, rotator: sync.OnceValues(v.newRotator), verb: verb, counts: make(map[string]int)}
}

func (m *many) flags(c *cobra.Command) {
	filterFlags(c, &m.Filter)
	c.Flags().UintVar(&m.parallel, "parallel", 10, "how many secrets to work on concurrently")
}

// args checks that the command line names or selects secrets.
func (m *many) args(c *cobra.Command, args []string) error {
	filtered := !m.Empty() || m.from != ""
	if m.one = len(args) == 1 && !filtered; len(args) == 0 && !filtered {
		return fmt.Errorf("%s takes a SECRET, or a filter such as --name", c.Name())
	}
	return nil
}

// task handles one secret. failed is the name of its superuser secret, if the task failed for that.
type task func(ctx context.Context, s *fleet.Secret, failed string, out *report) error

// run runs the task for the selected secrets. If there are several, it reports each result as soon as it is known.
func (m *many) run(c *cobra.Command, args []string, do task) error {
	if m.one {
		return m.view.open(func(ctx context.Context, s *fleet.Secret, out *report) error {
			s.Name = args[0] // with only the name, a secret in another account is not found
			return do(ctx, s, "", out)
		})(c, args)
	}
	ctx := c.Context()
	if err := m.view.connect(ctx); err != nil {
		return err
	}
	out := newReport(c, "")
	out.label = 30 // names of secrets
	begin := time.Now()
	stop := out.wait("looking for secrets")
	secrets, after, err := m.order(ctx, args, out)
	stop()
	if err != nil {
		return err
	}
	first := slices.IndexFunc(secrets, func(s fleet.Secret) bool { return s.Name == m.from || s.ARN == m.from })
	if m.from != "" && first < 0 {
		return engine.Errorf(invalidArguments, "omit --from to begin with the first",
			"--from %s is not one of the secrets", m.from)
	}
	defer out.wait(fmt.Sprintf("%d secrets", len(secrets)))()
	results := []result{}
	var mu sync.Mutex
	ended := make([]bool, len(secrets))
	fleet.Each(ctx, after, int(max(m.parallel, 1)), func(i int, ready bool) bool {
		if i < first {
			ended[i] = true
			return true
		}
		failed := ""
		if !ready {
			failed = secrets[after[i]].Name
		}
		f, result := m.single(ctx, &secrets[i], failed, do)
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil && f.State == operator.Unknown {
			return false // interrupted
		}
		ended[i] = true
		results = append(results, result)
		m.count(f, out)
		return f.State == operator.OK
	})
	left, resume := []string{}, ""
	for i, s := range secrets {
		if !ended[i] {
			left = append(left, s.ARN)
		}
	}
	if len(left) > 0 {
		resume = m.again(os.Args[1:], begin, secrets[slices.Index(ended, false)].Name)
	}
	return m.conclude(out, results, left, resume)
}

// single runs the task for one of several secrets, and returns its result and its JSON.
func (m *many) single(parent context.Context, s *fleet.Secret, failed string, do task) (operator.Finding, result) {
	ctx, cancel := context.WithTimeout(parent, m.view.timeout)
	defer cancel()
	r := reportTo(parent, io.Discard, io.Discard, true, s.ARN)
	begin := time.Now()
	err := do(ctx, s, failed, r)
	if _, ok := errors.AsType[verdict](err); err != nil && !ok {
		r.find(operator.Failure(err))
		err = r.end(nil, "")
	}
	f := operator.Finding{State: operator.OK, Message: time.Since(begin).Round(time.Millisecond).String()}
	if err != nil {
		f = operator.Finding{State: operator.Unknown, Message: "the outcome is not known"}
		for _, x := range slices.Backward(r.Findings) {
			if x.State == operator.Failed || f.State != operator.Failed && x.State == operator.Unknown && x.Cause != "" {
				f = x
			}
		}
	}
	f.Check = s.Name
	return f, r.result
}

// count counts and prints the result of one of several secrets.
func (m *many) count(f operator.Finding, out *report) {
	m.counts[map[operator.State]string{operator.OK: m.verb, operator.Failed: "failed", operator.Unknown: "not known"}[f.State]]++
	if f.State != operator.OK {
		out.Findings = append(out.Findings, f)
	}
	out.unfold()
	out.row(f)
}

// conclude prints the summary, and returns an error with the exit code. left are the ARNs of the secrets without a
// result after an interruption, and resume is the command that handles them, or "".
func (m *many) conclude(out *report, results []result, left []string, resume string) error {
	n := 0
	m.counts["not finished"] = len(left)
	for _, k := range m.counts {
		n += k
	}
	text := tally(plural(n, "secret"), m.counts, []string{m.verb, "failed", "not known", "not finished"})
	if n == 0 {
		text = "No secret that a function rotates was selected."
	}
	code := out.code()
	if resume != "" {
		code = exitInterrupted
		text += "; to continue: " + resume
	}
	return out.finish(map[string]any{"secrets": results, "left": left, "resume": resume}, text, code)
}

// again returns the command that handles the remaining secrets: the same arguments plus a flag, which overrides an
// earlier one. A check continues with the first secret that was not checked. A rotation skips the secrets that were
// rotated. It needs no flag for that if --rotated-before is set, or if the function only tested.
func (m *many) again(args []string, begin time.Time, first string) string {
	switch {
	case m.view.command.Name() == "check":
		args = append(slices.Clone(args), "--from", first)
	case m.verb == "rotated" && m.RotatedBefore.IsZero():
		args = append(slices.Clone(args), "--rotated-before", begin.UTC().Format(time.RFC3339))
	}
	command := "rotatorctl"
	for _, a := range args {
		command += " " + fleet.Quote(a)
	}
	return command
}

// order returns the selected secrets and, for each, the index of its superuser secret or -1.
func (m *many) order(ctx context.Context, args []string, out *report) ([]fleet.Secret, []int, error) {
	secrets, err := m.selected(ctx, args, out)
	if err != nil || len(secrets) == 0 {
		return nil, nil, err
	}
	r, err := m.rotator()
	if err != nil {
		return nil, nil, err
	}
	arns := make([]string, len(secrets))
	for i, s := range secrets {
		arns[i] = s.ARN
	}
	superusers, unread := fleet.Superusers(ctx, m.view.secrets, arns, r.Kinds())
	if len(unread) > 0 && ctx.Err() == nil {
		out.find(operator.Finding{Check: "order", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the values of %s, so these may come before their superuser secrets: %v",
				plural(len(unread), "secret"), unread[0]),
			Advice: "allow secretsmanager:BatchGetSecretValue and secretsmanager:GetSecretValue"})
	}
	return secrets, fleet.Order(secrets, superusers), nil
}

// selected returns the named secrets or, without names, all that a function rotates. The filter applies to both. A
// named secret that does not exist becomes a finding.
func (m *many) selected(ctx context.Context, args []string, out *report) ([]fleet.Secret, error) {
	if len(args) == 0 {
		l, err := fleet.List(ctx, m.view.secrets, m.Filter, time.Now())
		if err != nil {
			return nil, awsError(ctx, "cannot list the secrets", "", err)
		}
		return slices.DeleteFunc(l.Secrets, func(s fleet.Secret) bool { return !s.Rotates() }), nil
	}
	var secrets []fleet.Secret
	for _, id := range args {
		s, err := m.view.describe(ctx, id)
		switch again := func(x fleet.Secret) bool { return x.ARN == s.ARN }; {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			f := operator.Failure(err)
			f.Check = id
			m.count(f, out)
		case m.Selects(&s) && !slices.ContainsFunc(secrets, again):
			secrets = append(secrets, s)
		}
	}
	return secrets, nil
}
