package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mitchellh/go-wordwrap"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// The exit codes, as docs/rotatorctl.md describes them.
const (
	exitFine        = 0
	exitFound       = 1
	exitUsage       = 2
	exitUnknown     = 3
	exitInterrupted = 130
)

// outcome is the part of the JSON that all commands share.
type outcome struct {
	OK       bool               `json:"ok"`
	Secret   string             `json:"secret"`
	Findings []operator.Finding `json:"findings"`
}

// code returns the exit code of the findings.
func (o outcome) code() int {
	code := exitFine
	for _, f := range o.Findings {
		switch f.State {
		case operator.Failed:
			return exitFound
		case operator.Unknown:
			code = exitUnknown
		}
	}
	return code
}

// result is what a command prints as JSON: the members of its outcome, and those of extra, unless it is nil.
type result struct {
	outcome
	extra any
}

func (r result) MarshalJSON() ([]byte, error) {
	all, err := json.Marshal(r.outcome)
	if err != nil || r.extra == nil {
		return all, err
	}
	extra, err := json.Marshal(r.extra)
	if err != nil {
		return nil, err
	}
	return append(append(all[:len(all)-1], ','), extra[1:]...), nil
}

// verdict is the error of a command that has printed its result.
type verdict struct {
	error
	code int
}

// report prints the findings of a command: as text, each row when it is found; as JSON, one object at the end.
type report struct {
	outcome
	ctx      context.Context // canceled by Ctrl-C
	out, err io.Writer
	json     bool // out gets nothing but JSON
	color    bool
	width    int                // of the terminal, or 0, which means no wrapping
	label    int                // the width of the first column
	folded   []operator.Finding // equal rows, to be printed as one
	result   result             // what finish printed as JSON

	mu       sync.Mutex
	progress bool // err shows a progress line
}

// newReport returns the report of a command on a secret.
func newReport(c *cobra.Command, secret string) *report {
	return reportTo(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), format(c) == "json", secret)
}

func reportTo(ctx context.Context, out, err io.Writer, asJSON bool, secret string) *report {
	r := &report{outcome: outcome{Secret: secret, Findings: []operator.Finding{}}, ctx: ctx,
		out: out, err: err, json: asJSON, label: 13}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		r.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		r.width, _, _ = term.GetSize(int(f.Fd())) // 0 if it is unknown
	}
	return r
}

// find adds a finding and prints it. After an interruption it does nothing, because the interruption may be the cause.
func (r *report) find(f operator.Finding) {
	if r.ctx.Err() != nil {
		return
	}
	r.Findings = append(r.Findings, f)
	if len(r.folded) > 0 && (f.State != r.folded[0].State || f.Message != r.folded[0].Message || f.Cause != "") {
		r.unfold()
	}
	if f.Cause == "" && (f.State == operator.Unknown || f.State == operator.Skipped) {
		r.folded = append(r.folded, f)
		return
	}
	r.row(f)
}

// unfold prints the rows that were held back, as one.
func (r *report) unfold() {
	if len(r.folded) == 0 {
		return
	}
	f := r.folded[0]
	if last := r.folded[len(r.folded)-1]; len(r.folded) > 1 {
		f.Message = strings.TrimSuffix(fmt.Sprintf("%s to %s: %s", f.Check, last.Check, f.Message), ": ")
		f.Check = fmt.Sprintf("%d more", len(r.folded))
	}
	r.folded = nil
	r.row(f)
}

// end prints the outcome with extra members as JSON, or the verdict as text. The error holds the exit code.
func (r *report) end(extra any, text string) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	return r.finish(extra, text, r.code())
}

// finish is end with a given exit code.
func (r *report) finish(extra any, text string, code int) error {
	r.unfold()
	r.OK = code == exitFine
	if r.result = (result{r.outcome, extra}); r.json {
		if err := printJSON(r.out, r.result); err != nil {
			return err
		}
	}
	if code != exitFine {
		return verdict{errors.New(text), code}
	}
	if text != "" {
		r.line(text)
	}
	return nil
}

const clearLine = "\r\x1b[K"

var colors = map[operator.State]string{
	operator.OK: "\x1b[32m", operator.Failed: "\x1b[31m", operator.Unknown: "\x1b[33m", operator.Skipped: "\x1b[2m",
}

// row prints a finding, with its state in color on a terminal.
func (r *report) row(f operator.Finding) {
	const stateWidth = 9
	text, state := f.Message, fmt.Sprintf("%-*s", stateWidth, f.State)
	if f.Cause != "" {
		text = string(f.Cause) + ": " + text
	}
	if r.color {
		state = colors[f.State] + state + "\x1b[0m"
	}
	indent := r.label + stateWidth
	r.print(fmt.Sprintf("%-*s", r.label, f.Check)+state, indent, text)
	if f.Advice != "" {
		r.print(strings.Repeat(" ", indent), indent, "advice: "+f.Advice)
	}
}

func (r *report) note(label, text string) {
	r.print(fmt.Sprintf("%-*s", r.label, label), r.label, text)
}

func (r *report) line(text string) { r.print("", 0, text) }

// print writes text after a prefix, and indents the lines that wrap.
func (r *report) print(prefix string, indent int, text string) {
	if r.json {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	if r.width > indent+20 {
		text = wordwrap.WrapString(text, uint(r.width-indent))
	}
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", indent))
	fmt.Fprintln(r.out, strings.TrimRight(prefix+text, " "))
}

func (r *report) clear() {
	if r.progress {
		fmt.Fprint(r.err, clearLine)
		r.progress = false
	}
}

// wait shows on a terminal what the command is doing, and for how long, until stop is called.
func (r *report) wait(what string) (stop func()) {
	if f, ok := r.err.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	begin, stopped := time.Now(), false
	r.mu.Lock()
	defer r.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !stopped {
			fmt.Fprintf(r.err, "%s%s ... %s", clearLine, what, time.Since(begin).Round(time.Second))
			r.progress = true
			timer.Reset(time.Second)
		}
	})
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		stopped = true
		r.clear()
	}
}

func printJSON(w io.Writer, x any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}

// when formats a time, with its zone and relative to now.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + humanize.Time(*t) + ")"
}

// format returns text, json or csv.
func format(c *cobra.Command) string {
	if asJSON, _ := c.Flags().GetBool("json"); asJSON {
		return "json"
	}
	text, _ := c.Flags().GetString("output")
	return text
}

// Causes that only rotatorctl reports.
const (
	invalidArguments engine.Cause = "InvalidArguments" // the command line is wrong
	notConfigured    engine.Cause = "NotConfigured"    // this machine has no AWS region or credentials
	interrupted      engine.Cause = "Interrupted"      // stopped by Ctrl-C or SIGTERM
	stuck            engine.Cause = "Stuck"            // a rotation does not end, or does not begin in time
)

// conclude reports the error of a command and returns the exit code. With --json, standard output holds one JSON
// object: the command's result or the error.
func conclude(c *cobra.Command, err error) int {
	if err == nil {
		return exitFine
	}
	stderr := reportTo(c.Context(), c.ErrOrStderr(), c.ErrOrStderr(), false, "")
	if v, ok := errors.AsType[verdict](err); ok {
		stderr.line("rotatorctl: " + v.Error())
		return v.code
	}
	e, ok := errors.AsType[*engine.Error](err)
	switch {
	case c.Context() != nil && c.Context().Err() != nil && (ok || errors.Is(err, context.Canceled)):
		e = engine.Errorf(interrupted,
			"run it again, except for a rotation that has begun: it continues, as `rotatorctl status` shows",
			"stopped by a signal")
	case !ok:
		// Cobra's errors can have several lines.
		text := strings.Join(strings.Fields(err.Error()), " ")
		e = engine.Errorf(invalidArguments, "see "+c.CommandPath()+" --help", "%s; usage: %s", text, c.UseLine())
	}
	stderr.line("rotatorctl: " + e.Error())
	f, code := operator.Failure(e), 0
	switch e.Cause {
	case invalidArguments:
		f.Check, code = "arguments", exitUsage
	case notConfigured:
		f.Check, f.State = "command", operator.Unknown
	case interrupted:
		f.Check, f.State, code = "command", operator.Unknown, exitInterrupted
	}
	out := outcome{Findings: []operator.Finding{f}}
	if args := c.Flags().Args(); strings.Contains(c.Use, " SECRET") && len(args) == strings.Count(c.Use, " ") {
		out.Secret = args[len(args)-1]
	}
	if format(c) == "json" || formatFlag.MatchString(strings.Join(os.Args, " ")) {
		if err := printJSON(c.OutOrStdout(), out); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "rotatorctl: %v\n", err)
		}
	}
	return cmp.Or(code, out.code())
}

// formatFlag matches a flag that selects JSON, also in a command line that is invalid before it.
var formatFlag = regexp.MustCompile(`(^| )(--json|--output[ =]json|-o[ =]?json)( |$)`)
