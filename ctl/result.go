package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mitchellh/go-wordwrap"
	"github.com/spf13/cobra"
	"golang.org/x/term"

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

func newOutcome(secret string) outcome {
	return outcome{OK: true, Secret: secret, Findings: []operator.Finding{}}
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

// verdict is the error of a command that has printed its result.
type verdict struct {
	error
	code int
}

// report prints the findings of a command: as text, each row when it is found; as JSON, one object at the end.
type report struct {
	outcome
	*screen
	ctx    context.Context    // canceled by Ctrl-C
	folded []operator.Finding // equal rows, to be printed as one
	object any                // what finish printed as JSON
}

// newReport returns the report of a command on a secret.
func newReport(c *cobra.Command, secret string) *report {
	return &report{outcome: newOutcome(secret), ctx: c.Context(),
		screen: newScreen(c.OutOrStdout(), c.ErrOrStderr(), format(c) == "json")}
}

// find adds a finding and prints it. After an interruption it does nothing, because the interruption may be the cause.
func (r *report) find(f operator.Finding) {
	if r.ctx.Err() != nil {
		return
	}
	r.add(f)
	if len(r.folded) > 0 && (f.State != r.folded[0].State || f.Message != r.folded[0].Message || f.Cause != "") {
		r.unfold()
	}
	if f.Cause == "" && (f.State == operator.Unknown || f.State == operator.Skipped) {
		r.folded = append(r.folded, f)
		return
	}
	r.row(f)
}

// add adds a finding without printing it.
func (r *report) add(f operator.Finding) {
	r.Findings = append(r.Findings, f)
	r.OK = r.OK && f.State != operator.Failed && f.State != operator.Unknown
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

// end prints the object (if nil, the outcome) as JSON, or the verdict as text. The error holds the exit code.
func (r *report) end(object any, text string) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if object == nil {
		object = r.outcome
	}
	return r.finish(object, text, r.code())
}

// finish is end with a given exit code.
func (r *report) finish(object any, text string, code int) error {
	r.unfold()
	if r.object = object; r.json {
		if err := printJSON(r.out, object); err != nil {
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

// screen prints text, or nothing if the output is JSON.
type screen struct {
	out, err io.Writer
	json     bool
	color    bool
	width    int // 0 means no wrapping

	mu       sync.Mutex
	progress bool // err shows a progress line
}

func newScreen(out, err io.Writer, asJSON bool) *screen {
	s := &screen{out: out, err: err, json: asJSON}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		s.width, _, _ = term.GetSize(int(f.Fd())) // 0 if it is unknown
	}
	return s
}

const (
	checkWidth, stateWidth = 13, 9
	clearLine              = "\r\x1b[K"
)

var colors = map[operator.State]string{
	operator.OK: "\x1b[32m", operator.Failed: "\x1b[31m", operator.Unknown: "\x1b[33m", operator.Skipped: "\x1b[2m",
}

func (s *screen) row(f operator.Finding) {
	s.finding(f, fmt.Sprintf("%-*s", checkWidth, f.Check)+s.colored(f.State), checkWidth+stateWidth)
}

// finding prints a finding's cause, message and advice after a prefix. indent is the prefix's width.
func (s *screen) finding(f operator.Finding, prefix string, indent int) {
	text := f.Message
	if f.Cause != "" {
		text = string(f.Cause) + ": " + text
	}
	s.print(prefix, indent, text)
	if f.Advice != "" {
		s.print(strings.Repeat(" ", indent), indent, "advice: "+f.Advice)
	}
}

// colored returns a state, padded, and in color on a terminal.
func (s *screen) colored(state operator.State) string {
	text := fmt.Sprintf("%-*s", stateWidth, state)
	if s.color {
		text = colors[state] + text + "\x1b[0m"
	}
	return text
}

func (s *screen) note(label, text string) {
	s.print(fmt.Sprintf("%-*s", checkWidth, label), checkWidth, text)
}

func (s *screen) line(text string) { s.print("", 0, text) }

// print writes text after a prefix, and indents the lines that wrap.
func (s *screen) print(prefix string, indent int, text string) {
	if s.json {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if s.width > indent+20 {
		text = wordwrap.WrapString(text, uint(s.width-indent))
	}
	text = strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", indent))
	fmt.Fprintln(s.out, strings.TrimRight(prefix+text, " "))
}

func (s *screen) clear() {
	if s.progress {
		fmt.Fprint(s.err, clearLine)
		s.progress = false
	}
}

// wait shows on a terminal what the command is doing, and for how long, until stop is called.
func (s *screen) wait(what string) (stop func()) {
	if f, ok := s.err.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	begin, stopped := time.Now(), false
	s.mu.Lock()
	defer s.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !stopped {
			fmt.Fprintf(s.err, "%s%s ... %s", clearLine, what, time.Since(begin).Round(time.Second))
			s.progress = true
			timer.Reset(time.Second)
		}
	})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		stopped = true
		s.clear()
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
