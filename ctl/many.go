package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

func filterFlags(c *cobra.Command, s *filter) {
	f := c.Flags()
	f.StringSliceVar(&s.Names, "name", nil, "select secrets whose name has this prefix; may be repeated")
	f.StringToStringVar(&s.Tags, "tag", nil, "select secrets with the tag `KEY=VALUE`; all must match")
	f.Func("state", "select secrets in a `STATE`: "+strings.Join(states, ", "), func(text string) error {
		for state := range strings.SplitSeq(text, ",") {
			if !slices.Contains(states, state) {
				return fmt.Errorf("%q is not one of %s", state, strings.Join(states, ", "))
			}
			s.States = append(s.States, state)
		}
		return nil
	})
	f.StringSliceVar(&s.Functions, "rotated-by", nil, "select secrets that a function rotates, by its ARN or name")
	f.TimeVar(&s.RotatedBefore, "rotated-before", time.Time{}, []string{time.RFC3339, time.DateOnly},
		"select secrets not rotated since a `TIME` such as 2026-11-29 or 2026-11-29T10:00:00Z")
}

// many runs a task for one or more secrets.
type many struct {
	filter
	view     *view
	rotator  func() (*rotation.Rotator, error)
	verb     string // in the summary: would be rotated, rotated or tested
	parallel uint

	one    bool // the command line selects one secret by its name
	counts map[string]int
	failed sync.Map // the names of secrets that failed, by ARN
}

func newMany(v *view, verb string) *many {
	return &many{view: v, rotator: sync.OnceValues(v.newRotator), verb: verb, counts: make(map[string]int)}
}

func (m *many) flags(c *cobra.Command) {
	filterFlags(c, &m.filter)
	c.Flags().UintVar(&m.parallel, "parallel", 10, "how many secrets to work on concurrently")
}

// args checks that the command line names or selects secrets.
func (m *many) args(c *cobra.Command, args []string) error {
	if m.one = len(args) == 1 && m.empty(); len(args) == 0 && m.empty() {
		return fmt.Errorf("%s takes a SECRET, or a filter such as --name", c.Name())
	}
	return nil
}

type task func(ctx context.Context, s *secret, out *report) error

// run runs the task for the selected secrets. If there are several, it reports each result as soon as it is known.
func (m *many) run(c *cobra.Command, args []string, do task) error {
	if m.one {
		return m.view.open(func(ctx context.Context, s *secret, out *report) error {
			s.Name = args[0] // with only the name, a secret in another account is not found
			return do(ctx, s, out)
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
	waves, err := m.order(ctx, args, out)
	stop()
	if err != nil {
		return err
	}
	defer out.wait("working on the secrets")()
	results, left := []result{}, []string{}
	var mu sync.Mutex
	for _, wave := range waves {
		each(len(wave), int(max(m.parallel, 1)), func(i int) {
			s, f, detail := &wave[i], operator.Finding{State: operator.Unknown}, result{}
			if ctx.Err() == nil {
				f, detail = m.single(ctx, s, do)
			}
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil && f.State == operator.Unknown {
				left = append(left, s.ARN)
				return
			}
			if f.State != operator.OK {
				m.failed.Store(s.ARN, s.Name)
			}
			results = append(results, detail)
			m.count(f, out)
		})
	}
	return m.conclude(out, results, left, begin)
}

// single runs the task for one of several secrets, and returns its result and its JSON.
func (m *many) single(parent context.Context, s *secret, do task) (operator.Finding, result) {
	ctx, cancel := context.WithTimeout(parent, m.view.timeout)
	defer cancel()
	r := reportTo(parent, io.Discard, io.Discard, true, s.ARN)
	begin := time.Now()
	err := do(ctx, s, r)
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
// result after an interruption.
func (m *many) conclude(out *report, results []result, left []string, begin time.Time) error {
	n, code := 0, out.code()
	m.counts["not finished"] = len(left)
	for _, k := range m.counts {
		n += k
	}
	text := tally(plural(n, "secret"), m.counts, []string{m.verb, "failed", "not known", "not finished"})
	if n == 0 {
		text = "No secret that a function rotates was selected."
	}
	if len(left) > 0 {
		code = exitInterrupted
		again := "; run it again"
		if m.verb == "rotated" && m.RotatedBefore.IsZero() {
			again = "; to continue, run it again with --rotated-before " + begin.UTC().Format(time.RFC3339)
		}
		text += again
	}
	return out.finish(map[string]any{"secrets": results, "left": left}, text, code)
}

// order returns the selected secrets, superuser secrets in earlier waves than the secrets whose values name them.
func (m *many) order(ctx context.Context, args []string, out *report) ([][]secret, error) {
	secrets, err := m.selected(ctx, args, out)
	if err != nil || len(secrets) == 0 {
		return nil, err
	}
	r, err := m.rotator()
	if err != nil {
		return nil, err
	}
	superusers, unread := readSuperusers(ctx, m.view.secrets, secrets, r.Kinds())
	if len(unread) > 0 && ctx.Err() == nil {
		out.find(operator.Finding{Check: "order", State: operator.Skipped,
			Message: fmt.Sprintf("cannot read the values of %s, so these may come before their superuser secrets: %v",
				plural(len(unread), "secret"), unread[0]),
			Advice: "allow secretsmanager:BatchGetSecretValue and secretsmanager:GetSecretValue"})
	}
	return waves(secrets, superusers), nil
}

// selected returns the named secrets or, without names, all that a function rotates. The filter applies to both. A
// named secret that does not exist becomes a finding.
func (m *many) selected(ctx context.Context, args []string, out *report) ([]secret, error) {
	if len(args) == 0 {
		secrets, err := listSecrets(ctx, m.view.secrets, m.filter, time.Now())
		if err != nil {
			return nil, awsError(ctx, "cannot list the secrets", "", err)
		}
		return slices.DeleteFunc(secrets, func(s secret) bool { return !s.rotates() }), nil
	}
	var secrets []secret
	for _, id := range args {
		s, err := m.view.describe(ctx, id)
		switch again := func(x secret) bool { return x.ARN == s.ARN }; {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			f := operator.Failure(err)
			f.Check = id
			m.count(f, out)
		case m.selects(&s) && !slices.ContainsFunc(secrets, again):
			secrets = append(secrets, s)
		}
	}
	return secrets, nil
}

// readSuperusers reads the values of secrets, twenty per call, and returns the name or ARN of the superuser secret that
// each value names in a field of one of the kinds, by the secret's ARN. It keeps nothing else of a value. unread has
// the reason for each value that could not be read.
func readSuperusers(ctx context.Context, api *secretsmanager.Client, secrets []secret, kinds []engine.Kind) (
	superusers map[string]string, unread []error) {
	superusers = make(map[string]string)
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(secrets, 20))
	each(len(chunks), 5, func(i int) {
		in := &secretsmanager.BatchGetSecretValueInput{}
		for _, s := range chunks[i] {
			in.SecretIdList = append(in.SecretIdList, s.ARN)
		}
		out, err := api.BatchGetSecretValue(ctx, in)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			unread = append(unread, slices.Repeat([]error{awserror.Brief(err)}, len(chunks[i]))...)
			return
		}
		for _, v := range out.SecretValues {
			superusers[aws.ToString(v.ARN)] = superuser(v.SecretString, kinds)
		}
		for _, e := range out.Errors {
			if code := aws.ToString(e.ErrorCode); code != "ResourceNotFoundException" {
				unread = append(unread, errors.New(code+": "+aws.ToString(e.Message)))
			}
		}
	})
	return superusers, unread
}

// superuser returns what the first field for a superuser secret that is set in a value contains.
func superuser(value *string, kinds []engine.Kind) string {
	v := engine.StringValue(aws.ToString(value))
	for _, k := range kinds {
		if name, _ := v.Text(k.Superusers()); name != "" {
			return name
		}
	}
	return ""
}

// waves sorts secrets into waves, each by name. The superuser secret that a value names is in an earlier wave than the
// secret, and becomes its Superuser, if it is one of the secrets.
func waves(secrets []secret, superusers map[string]string) (waves [][]secret) {
	arns := make(map[string]string, 3*len(secrets))
	for _, s := range secrets {
		arns[s.ARN], arns[s.Account+"/"+s.Name] = s.ARN, s.ARN
		if dash := strings.LastIndexByte(s.ARN, '-'); dash > 0 {
			arns[s.ARN[:dash]] = s.ARN // the partial ARN
		}
	}
	up := make(map[string]string)
	for i := range secrets {
		s, name := &secrets[i], superusers[secrets[i].ARN]
		if s.Superuser = cmp.Or(arns[name], arns[s.Account+"/"+name]); s.Superuser != s.ARN {
			up[s.ARN] = s.Superuser
		}
	}
	slices.SortFunc(secrets, secret.compare)
	for _, s := range secrets {
		depth := 0
		for arn := up[s.ARN]; arn != "" && depth < 9; arn = up[arn] { // nine is enough, unless they form a cycle
			depth++
		}
		for len(waves) <= depth {
			waves = append(waves, nil)
		}
		waves[depth] = append(waves[depth], s)
	}
	return waves
}

// each calls do for 0 to n-1, at most limit at a time.
func each(n, limit int, do func(i int)) {
	free := make(chan struct{}, limit)
	var all sync.WaitGroup
	for i := range n {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			do(i)
		})
	}
	all.Wait()
}
