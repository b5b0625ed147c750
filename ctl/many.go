package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/ctl/fleet"
)

// selection is the flags that select secrets, and the filter that they form.
type selection struct {
	names, states, engines, strategies, functions, runtimes, tags []string
	before                                                        string
	filter                                                        fleet.Filter
}

// filters adds the flags to a command.
func (s *selection) filters(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&s.names, "name", nil, "select secrets whose name has this prefix; may be repeated")
	f.StringArrayVar(&s.tags, "tag", nil, "select secrets with the tag KEY or KEY=VALUE; all must match")
	f.StringSliceVar(&s.states, "state", nil, "select secrets in a state: "+join(fleet.States))
	f.StringSliceVar(&s.engines, "engine", nil, "select secrets of an engine")
	f.StringSliceVar(&s.strategies, "strategy", nil, "select secrets with the strategy single or alternating")
	f.StringSliceVar(&s.functions, "rotated-by", nil, "select secrets that a function rotates, by its ARN or name")
	f.StringSliceVar(&s.runtimes, "runtime", nil, "select secrets by a prefix of the function's runtime, such as python")
	f.StringVar(&s.before, "rotated-before", "",
		"select secrets not rotated since a time, such as 2026-11-29T10:00:00Z, or for a duration, such as 90d")
	for flag, words := range map[string][]string{
		"state": strings.Split(join(fleet.States), ", "), "strategy": {"single", "alternating"},
	} {
		complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
		_ = c.RegisterFlagCompletionFunc(flag, complete) // the flag exists
	}
}

func join[T ~string](list []T) string {
	var text []string
	for _, x := range list {
		text = append(text, string(x))
	}
	return strings.Join(text, ", ")
}

// read builds the filter from the flags.
func (s *selection) read() error {
	s.filter = fleet.Filter{
		Names: s.names, Engines: s.engines, Functions: s.functions, Runtimes: s.runtimes, Tags: make(map[string]string),
	}
	for _, t := range s.tags {
		key, value, _ := strings.Cut(t, "=")
		if key == "" {
			return fmt.Errorf("--tag %q is not KEY or KEY=VALUE", t)
		}
		s.filter.Tags[key] = value
	}
	for _, state := range s.states {
		if !slices.Contains(fleet.States, fleet.State(state)) {
			return fmt.Errorf("--state %q is not one of %s", state, join(fleet.States))
		}
		s.filter.States = append(s.filter.States, fleet.State(state))
	}
	for _, strategy := range s.strategies {
		if strategy != string(engine.SingleUser) && strategy != string(engine.AlternatingUsers) {
			return fmt.Errorf("--strategy %q is not single or alternating", strategy)
		}
		s.filter.Strategies = append(s.filter.Strategies, engine.Strategy(strategy))
	}
	var err error
	s.filter.RotatedBefore, err = moment(s.before, time.Now())
	return err
}

// moment parses a time or a duration before now.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.Atoi(number); err == nil && days > 0 {
			return now.AddDate(0, 0, -days), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	const forms = "a time such as 2026-11-29T10:00:00Z or a duration such as 90d or 12h"
	return time.Time{}, fmt.Errorf("--rotated-before %q is not %s", text, forms)
}

// many runs a task for several secrets.
type many struct {
	selection
	view     *view
	verb     string // checked, rotated or tested
	missing  int    // how many named secrets were not found
	parallel int
	from     string // the secret to begin with
	plan     bool   // only print the plan

	rotator *rotation.Rotator // set by run
}

func (m *many) flags(c *cobra.Command) {
	m.filters(c)
	c.Flags().IntVar(&m.parallel, "parallel", 10, "how many secrets to work on concurrently")
}

// args checks that the command line names secrets.
func (m *many) args(c *cobra.Command, args []string) error {
	if err := m.read(); err != nil {
		return usage(c, err)
	}
	switch {
	case m.parallel < 1 || m.parallel > 100:
		return usage(c, fmt.Errorf("--parallel %d is not between 1 and 100", m.parallel))
	case len(args) > 0 && len(m.engines)+len(m.strategies)+len(m.runtimes) > 0: // these need the function
		return usage(c, errors.New("--engine, --strategy and --runtime select from all secrets and take no SECRET"))
	case len(args) == 0 && m.filter.Empty() && m.from == "":
		return usage(c, fmt.Errorf("%s takes a SECRET, or a filter such as --name", c.Name()))
	}
	return nil
}

// several reports whether the command line selects secrets other than by one name.
func (m *many) several(args []string) bool {
	return len(args) != 1 || !m.filter.Empty() || m.from != ""
}

// batch is the JSON of a command on several secrets.
type batch struct {
	outcome
	Secrets []json.RawMessage `json:"secrets"` // the command's JSON for each
	Left    []string          `json:"left"`    // the ARNs of secrets that were not begun
	Resume  string            `json:"resume"`  // the command that does the rest, or ""
}

// task handles one secret. failed has the names of its superuser secrets for which the task failed.
type task func(ctx context.Context, s *fleet.Secret, failed []string, out *report) error

// run runs the task for each selected secret, and reports each result when it is known.
func (m *many) run(c *cobra.Command, args []string, do task) (err error) {
	if err := m.view.connect(c.Context()); err != nil {
		return err
	}
	if m.rotator, err = m.view.newRotator(); err != nil {
		return err
	}
	out := newReport(c, "")
	begin := time.Now()
	stop := out.wait("looking for secrets")
	secrets, after, err := m.order(c.Context(), args, out)
	stop()
	switch {
	case err != nil:
		return err
	case m.plan:
		return m.printPlan(secrets, after, out)
	}
	defer out.wait(fmt.Sprintf("%d secrets", len(secrets)))()
	b := batch{Secrets: []json.RawMessage{}, Left: []string{}}
	var mu sync.Mutex
	counts := make(map[int]int) // by exit code
	ended := make([]bool, len(secrets))
	width := 0
	for _, s := range secrets {
		width = max(width, min(len(s.Name), 40))
	}
	begun := fleet.Each(c.Context(), after, m.parallel, func(i int, failed []int) bool {
		s := &secrets[i]
		var superusers []string
		for _, j := range failed {
			superusers = append(superusers, secrets[j].Name)
		}
		one := m.one(c.Context(), s, superusers, do)
		mu.Lock()
		defer mu.Unlock()
		if c.Context().Err() != nil && one.code == exitUnknown {
			return false // interrupted
		}
		ended[i] = true
		counts[one.code]++
		out.result(s, one, width)
		if out.json {
			b.Secrets = append(b.Secrets, one.object)
		}
		return one.code == exitFine
	})
	for i := range secrets {
		if !begun[i] {
			b.Left = append(b.Left, secrets[i].ARN)
		}
	}
	if first := slices.Index(ended, false); first >= 0 {
		b.Resume = m.again(os.Args[1:], begin, secrets[first].Name)
	}
	return m.conclude(c, out, &b, counts, len(secrets))
}

// single is the result of the task for one secret.
type single struct {
	code    int
	outcome outcome
	object  json.RawMessage
	took    time.Duration
}

// one runs the task with a report that prints nothing.
func (m *many) one(parent context.Context, s *fleet.Secret, failed []string, do task) single {
	ctx, cancel := context.WithTimeout(parent, m.view.timeout)
	defer cancel()
	var text bytes.Buffer
	r := &report{outcome: outcome{OK: true, Secret: s.ARN, Findings: []operator.Finding{}}, ctx: parent,
		screen: &screen{out: &text, err: io.Discard, json: true}}
	begin := time.Now()
	err := do(ctx, s, failed, r)
	if _, ok := errors.AsType[verdict](err); err != nil && !ok {
		r.find(operator.Failure(err))
		err = r.end(nil, "")
	}
	one := single{code: r.code(), outcome: r.outcome, object: text.Bytes(), took: time.Since(begin)}
	if err != nil && one.code == exitFine {
		one.code = exitUnknown // interrupted
	}
	return one
}

// result prints the result for one secret, and adds it to the findings if it is not fine.
func (r *report) result(s *fleet.Secret, one single, width int) {
	f := operator.Finding{Check: s.Name, State: operator.OK, Message: span(one.took)}
	if one.code != exitFine {
		for _, x := range slices.Backward(one.outcome.Findings) {
			undecided := x.State == operator.Unknown && x.Cause != "" && f.State != operator.Failed
			if x.State == operator.Failed || undecided {
				f = x
			}
		}
		f.Check = s.Name
		if f.State == operator.OK {
			f.State, f.Message = operator.Unknown, "the outcome is not known"
		}
		r.Findings = append(r.Findings, f)
		r.OK = false
	}
	r.secretLine(f, width)
}

// secretLine prints the result for one secret.
func (s *screen) secretLine(f operator.Finding, width int) {
	s.finding(f, s.colored(f.State)+fmt.Sprintf("%-*s  ", width, f.Check), stateWidth+width+2)
}

// conclude prints the summary, and returns an error with the exit code.
func (m *many) conclude(c *cobra.Command, out *report, b *batch, counts map[int]int, n int) error {
	parts, cut := []string{fmt.Sprintf("%d %s", counts[exitFine], m.verb)}, "still under way"
	if m.verb == "checked" {
		parts[0], cut = fmt.Sprintf("%d would be rotated", counts[exitFine]), "interrupted"
	}
	for _, p := range []struct {
		n    int
		text string
	}{
		{m.missing, "not found"},
		{counts[exitFound], "failed"}, {counts[exitUnknown], "not known"},
		{len(b.Left), "not begun"},
		{n - counts[exitFine] - counts[exitFound] - counts[exitUnknown] - len(b.Left), cut},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.text))
		}
	}
	text := plural(n+m.missing, "secret") + ": " + strings.Join(parts, ", ")
	if n+m.missing == 0 {
		text = "No secret that a function rotates was selected"
	}
	code := out.code()
	if b.Resume != "" {
		code = exitInterrupted
		text += "; to continue: " + b.Resume
		out.OK = false
	}
	if b.outcome = out.outcome; out.json {
		if err := printJSON(out.out, b); err != nil {
			return err
		}
	}
	if code != exitFine {
		return verdict{errors.New(text), code}
	}
	out.line(text + ".")
	return nil
}

// again returns the command that does the rest, built from the arguments of this one. A check continues
// with the first secret that was not checked. A rotation leaves out the secrets that were rotated; if
// --rotated-before already does that, or the function only tested, the command stays the same.
func (m *many) again(args []string, begin time.Time, first string) string {
	flag, value := "--from", first
	switch {
	case m.verb == "rotated" && m.before == "":
		flag, value = "--rotated-before", begin.UTC().Format(time.RFC3339)
	case m.verb != "checked":
		flag, value = "", ""
	}
	words := []string{"rotatorctl"}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case flag != "" && a == flag:
			i++ // and its value
		case flag == "" || !strings.HasPrefix(a, flag+"="):
			words = append(words, fleet.Quote(a))
		}
	}
	if flag != "" {
		words = append(words, flag, fleet.Quote(value))
	}
	return strings.Join(words, " ")
}

// order returns the selected secrets, and for each the indices of those that come before it. A named
// secret that does not exist becomes a finding.
func (m *many) order(ctx context.Context, args []string, out *report) ([]fleet.Secret, [][]int, error) {
	secrets, err := m.selected(ctx, args, out)
	if err != nil || len(secrets) == 0 {
		return nil, nil, err
	}
	arns := make([]string, len(secrets))
	for i, s := range secrets {
		arns[i] = s.ARN
	}
	superusers, unread := fleet.Superusers(ctx, m.view.secrets, arns, m.rotator.Kinds())
	if len(unread) > 0 && ctx.Err() == nil {
		first := slices.Sorted(maps.Keys(unread))[0]
		out.Findings = append(out.Findings, operator.Finding{Check: "order", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the values of %s, so these come after all superuser secrets: %v",
				plural(len(unread), "secret"), unread[first]),
			Advice: "allow secretsmanager:BatchGetSecretValue and secretsmanager:GetSecretValue"})
		out.row(out.Findings[len(out.Findings)-1])
	}
	after := fleet.Order(secrets, superusers, unread)
	if m.from == "" {
		return secrets, after, nil
	}
	at := slices.IndexFunc(secrets, func(s fleet.Secret) bool { return s.Name == m.from || s.ARN == m.from })
	if at < 0 {
		const advice = "omit --from to begin with the first"
		return nil, nil, engine.Errorf(invalidArguments, advice, "--from %s is not one of the secrets", m.from)
	}
	for i := range after[at:] {
		after[at+i] = slices.DeleteFunc(slices.Clone(after[at+i]), func(j int) bool { return j < at })
		for k := range after[at+i] {
			after[at+i][k] -= at
		}
	}
	return secrets[at:], after[at:], nil
}

// selected returns the named secrets, or without names all that the filter selects.
func (m *many) selected(ctx context.Context, args []string, out *report) ([]fleet.Secret, error) {
	if len(args) == 0 {
		account := fleet.Account{Secrets: m.view.secrets}
		o := fleet.Options{Accounts: []fleet.Account{account}, Kinds: m.rotator.Kinds(), Filter: m.filter}
		o.Filter.Rotates = true
		if f := m.filter; len(f.Engines)+len(f.Strategies)+len(f.Runtimes) > 0 {
			o.Functions = func(string) fleet.Functions { return m.view.lambda(m.view.cfg) }
		}
		l := fleet.List(ctx, o)
		if len(l.Errors) > 0 { // of the one account
			return nil, awsError(ctx, "cannot list the secrets", "", l.Errors[0])
		}
		return l.Secrets, nil
	}
	var secrets []fleet.Secret
	seen := make(map[string]bool)
	for _, id := range args {
		s, err := fleet.Find(ctx, m.view.secrets, id)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			f := operator.Failure(awsError(ctx, "cannot describe the secret "+id, id, err))
			f.Check = id
			out.Findings, out.OK = append(out.Findings, f), false
			out.secretLine(f, len(id))
			m.missing++
		case !seen[s.ARN] && m.filter.Passes(&s):
			secrets, seen[s.ARN] = append(secrets, s), true
		}
	}
	return secrets, nil
}

// planned is a secret in a plan.
type planned struct {
	Secret string   `json:"secret"`
	Name   string   `json:"name"`
	After  []string `json:"after"` // the names of the superuser secrets that come first
}

// printPlan prints the secrets that would be rotated, in order.
func (m *many) printPlan(secrets []fleet.Secret, after [][]int, out *report) error {
	plan := []planned{}
	for i, s := range secrets {
		p := planned{Secret: s.ARN, Name: s.Name, After: []string{}}
		text := s.Name
		for _, j := range after[i] {
			p.After = append(p.After, secrets[j].Name)
		}
		if len(p.After) > 0 {
			text += ", after " + strings.Join(p.After, ", ")
		}
		plan = append(plan, p)
		out.line(text)
	}
	return out.end(struct {
		outcome
		Plan []planned `json:"plan"`
	}{out.outcome, plan}, plural(len(secrets), "secret")+" would be rotated with --yes.")
}
