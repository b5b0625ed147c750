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

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// selection is a filter that flags set.
type selection struct {
	fleet.Filter
	tags   []string
	before string
}

func (s *selection) filters(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&s.Names, "name", nil, "select secrets whose name has this prefix; may be repeated")
	f.StringArrayVar(&s.tags, "tag", nil, "select secrets with the tag KEY or KEY=VALUE; all must match")
	f.StringSliceVar(&s.States, "state", nil, "select secrets in a state: "+strings.Join(fleet.States, ", "))
	f.StringSliceVar(&s.Engines, "engine", nil, "select secrets of an engine")
	f.StringSliceVar(&s.Strategies, "strategy", nil, "select secrets with the strategy single or alternating")
	f.StringSliceVar(&s.Functions, "rotated-by", nil, "select secrets that a function rotates, by its ARN or name")
	f.StringSliceVar(&s.Runtimes, "runtime", nil, "select secrets by a prefix of the function's runtime, such as python")
	f.StringVar(&s.before, "rotated-before", "",
		"select secrets not rotated since a time, such as 2026-11-29T10:00:00Z, or for a duration, such as 90d")
	completeFlag(c, "state", fleet.States)
	completeFlag(c, "strategy", strategies)
}

var strategies = []string{string(engine.SingleUser), string(engine.AlternatingUsers)}

// read completes the filter from the flags.
func (s *selection) read() (err error) {
	s.Tags = make(map[string]string)
	for _, t := range s.tags {
		key, value, _ := strings.Cut(t, "=")
		if key == "" {
			return fmt.Errorf("--tag %q is not KEY or KEY=VALUE", t)
		}
		s.Tags[key] = value
	}
	for _, state := range s.States {
		if !slices.Contains(fleet.States, state) {
			return fmt.Errorf("--state %q is not one of %s", state, strings.Join(fleet.States, ", "))
		}
	}
	for _, strategy := range s.Strategies {
		if !slices.Contains(strategies, strategy) {
			return fmt.Errorf("--strategy %q is not single or alternating", strategy)
		}
	}
	s.RotatedBefore, err = moment(s.before, time.Now())
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

// many runs a task for one or more secrets.
type many struct {
	selection
	view     *view
	rotator  func() (*rotation.Rotator, error)
	verb     string // checked, rotated or tested
	parallel int
	from     string // the secret to begin with
	plan     bool   // only print the plan

	one     bool // the command line selects one secret by its name
	missing int  // how many named secrets were not found
}

func newMany(v *view, verb string) *many {
	return &many{view: v, rotator: sync.OnceValues(v.newRotator), verb: verb}
}

func (m *many) flags(c *cobra.Command) {
	m.filters(c)
	c.Flags().IntVar(&m.parallel, "parallel", 10, "how many secrets to work on concurrently")
}

// args checks that the command line names or selects secrets.
func (m *many) args(c *cobra.Command, args []string) error {
	if err := m.read(); err != nil {
		return usage(c, err)
	}
	filtered := !m.Empty() || m.from != ""
	m.one = len(args) == 1 && !filtered
	switch {
	case m.parallel < 1 || m.parallel > 100:
		return usage(c, fmt.Errorf("--parallel %d is not between 1 and 100", m.parallel))
	case len(args) > 0 && m.ReadsFunctions():
		return usage(c, errors.New("--engine, --strategy and --runtime select from all secrets and take no SECRET"))
	case len(args) == 0 && !filtered:
		return usage(c, fmt.Errorf("%s takes a SECRET, or a filter such as --name", c.Name()))
	}
	return nil
}

// batch is the JSON of a command on several secrets.
type batch struct {
	outcome
	Secrets []json.RawMessage `json:"secrets"` // the command's JSON for each secret
	Left    []string          `json:"left"`    // the ARNs of the secrets that were not begun
	Resume  string            `json:"resume"`  // the command that handles the rest, or ""
}

// task handles one secret. failed holds the names of its superuser secrets whose task failed.
type task func(ctx context.Context, s *fleet.Secret, failed []string, out *report) error

// run runs the task for the selected secrets. If there are several, it reports each result as soon as it is known.
func (m *many) run(c *cobra.Command, args []string, do task) error {
	if m.one {
		return m.view.open(func(ctx context.Context, s *fleet.Secret, out *report) error {
			s.Name = args[0] // with only the name, a secret in another account is not found
			return do(ctx, s, nil, out)
		})(c, args)
	}
	if err := m.view.connect(c.Context()); err != nil {
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
	counts := make(map[operator.State]int)
	ended := make([]bool, len(secrets))
	width := 0
	for _, s := range secrets {
		width = max(width, min(len(s.Name), 40))
	}
	begun := fleet.Each(c.Context(), after, m.parallel, func(i int, failed []int) bool {
		var superusers []string
		for _, j := range failed {
			superusers = append(superusers, secrets[j].Name)
		}
		f, object := m.single(c.Context(), &secrets[i], superusers, do)
		mu.Lock()
		defer mu.Unlock()
		if c.Context().Err() != nil && f.State == operator.Unknown {
			return false // interrupted
		}
		ended[i] = true
		counts[f.State]++
		out.secretLine(f, width)
		if f.State != operator.OK {
			out.add(f)
		}
		if out.json {
			b.Secrets = append(b.Secrets, object)
		}
		return f.State == operator.OK
	})
	for i := range secrets {
		if !begun[i] {
			b.Left = append(b.Left, secrets[i].ARN)
		}
	}
	if first := slices.Index(ended, false); first >= 0 {
		b.Resume = m.again(os.Args[1:], begin, secrets[first].Name)
	}
	return m.conclude(out, &b, counts, len(secrets))
}

// single runs the task for one of several secrets, and returns its result and its JSON.
func (m *many) single(parent context.Context, s *fleet.Secret, failed []string, do task) (operator.Finding, []byte) {
	ctx, cancel := context.WithTimeout(parent, m.view.timeout)
	defer cancel()
	var object bytes.Buffer
	r := &report{outcome: outcome{OK: true, Secret: s.ARN, Findings: []operator.Finding{}}, ctx: parent,
		screen: &screen{out: &object, err: io.Discard, json: true}}
	begin := time.Now()
	err := do(ctx, s, failed, r)
	if _, ok := errors.AsType[verdict](err); err != nil && !ok {
		r.find(operator.Failure(err))
		err = r.end(nil, "")
	}
	f := operator.Finding{State: operator.OK, Message: span(time.Since(begin))}
	if err != nil {
		f = operator.Finding{State: operator.Unknown, Message: "the outcome is not known"}
		for _, x := range slices.Backward(r.Findings) {
			undecided := x.State == operator.Unknown && x.Cause != "" && f.State != operator.Failed
			if x.State == operator.Failed || undecided {
				f = x
			}
		}
	}
	f.Check = s.Name
	return f, object.Bytes()
}

func (s *screen) secretLine(f operator.Finding, width int) {
	s.finding(f, s.colored(f.State)+fmt.Sprintf("%-*s  ", width, f.Check), stateWidth+width+2)
}

// conclude prints the summary, and returns an error with the exit code.
func (m *many) conclude(out *report, b *batch, counts map[operator.State]int, n int) error {
	fine, failed, unknown := counts[operator.OK], counts[operator.Failed], counts[operator.Unknown]
	text, cut := fmt.Sprintf("%s: %d %s", plural(n+m.missing, "secret"), fine, m.verb), "still under way"
	if m.verb == "checked" {
		text, cut = fmt.Sprintf("%s: %d would be rotated", plural(n+m.missing, "secret"), fine), "interrupted"
	}
	for _, p := range []struct {
		n    int
		text string
	}{
		{m.missing, "not found"}, {failed, "failed"}, {unknown, "not known"}, {len(b.Left), "not begun"},
		{n - fine - failed - unknown - len(b.Left), cut},
	} {
		if p.n > 0 {
			text += fmt.Sprintf(", %d %s", p.n, p.text)
		}
	}
	if n+m.missing == 0 {
		text = "No secret that a function rotates was selected"
	}
	code := out.code()
	if b.Resume != "" {
		code, out.OK = exitInterrupted, false
		text += "; to continue: " + b.Resume
	}
	if code == exitFine {
		text += "."
	}
	b.outcome = out.outcome
	return out.finish(b, text, code)
}

// again returns the command that handles the remaining secrets: the same arguments plus a flag, which overrides an
// earlier one. A check continues with the first secret that was not checked. A rotation skips the secrets that were
// rotated. It needs no flag for that if --rotated-before is set, or if the function only tested.
func (m *many) again(args []string, begin time.Time, first string) string {
	switch {
	case m.verb == "checked":
		args = append(slices.Clone(args), "--from", first)
	case m.verb == "rotated" && m.before == "":
		args = append(slices.Clone(args), "--rotated-before", begin.UTC().Format(time.RFC3339))
	}
	command := "rotatorctl"
	for _, a := range args {
		command += " " + fleet.Quote(a)
	}
	return command
}

// order returns the selected secrets and, for each, the indices of those to handle first. A named secret that does not
// exist becomes a finding.
func (m *many) order(ctx context.Context, args []string, out *report) ([]fleet.Secret, [][]int, error) {
	r, err := m.rotator()
	if err != nil {
		return nil, nil, err
	}
	secrets, err := m.selected(ctx, args, r.Kinds(), out)
	if err != nil || len(secrets) == 0 {
		return nil, nil, err
	}
	arns := make([]string, len(secrets))
	for i, s := range secrets {
		arns[i] = s.ARN
	}
	superusers, unread := fleet.Superusers(ctx, m.view.secrets, arns, r.Kinds())
	if len(unread) > 0 && ctx.Err() == nil {
		first := slices.Sorted(maps.Keys(unread))[0]
		out.show(operator.Finding{Check: "order", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the values of %s, so these come after all superuser secrets: %v",
				plural(len(unread), "secret"), unread[first]),
			Advice: "allow secretsmanager:BatchGetSecretValue and secretsmanager:GetSecretValue"})
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
	rest := make([][]int, len(secrets)-at)
	for i := range rest {
		for _, j := range after[at+i] {
			if j >= at {
				rest[i] = append(rest[i], j-at)
			}
		}
	}
	return secrets[at:], rest, nil
}

// selected returns the named secrets or, without names, all that a function rotates. The filter applies to both.
func (m *many) selected(ctx context.Context, args []string, kinds []engine.Kind, out *report) ([]fleet.Secret, error) {
	if len(args) == 0 {
		o := fleet.Options{Accounts: map[string]*secretsmanager.Client{"": m.view.secrets}, Kinds: kinds,
			Filter: m.Filter, Now: time.Now()}
		if m.ReadsFunctions() {
			o.Functions = func(string) *lambda.Client { return m.view.lambda(m.view.cfg) }
		}
		l := fleet.List(ctx, o)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := l.Errors[""]; err != nil {
			return nil, awsError(ctx, "cannot list the secrets", "", err)
		}
		return slices.DeleteFunc(l.Secrets, func(s fleet.Secret) bool { return !s.Rotates() }), nil
	}
	var secrets []fleet.Secret
	seen := make(map[string]bool)
	for _, id := range args {
		s, err := m.view.describe(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			f := operator.Failure(err)
			f.Check = id
			out.add(f)
			out.secretLine(f, len(id))
			m.missing++
			continue
		}
		if m.Selects(&s) && !seen[s.ARN] {
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
