package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/testserver"
)

// TestDemo runs the demo: the legend precedes the rotations, each rotation shows its steps and explains what its client
// saw, and the end lists what was proved and what to do next.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, built.Function(t)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rest := out.String()
	for _, want := range []string{
		"How to read it\n", "AWSPENDING   ", "client   ",
		"Single user", "createSecret  stores", "setSecret     changes nothing", "testSecret    rehearses",
		"finishSecret  changes the password",
		"AWSPREVIOUS=", "rotated in ", " logins accepted, ", "PostgreSQL's new password", "ok  the old password is refused",
		"Alternating users", "setSecret     creates the second user", "testSecret    logs in", " accepted, 0 refused",
		"ok  the previous user shop still works",
		"Proved here\n", "ok  single user: ", "ok  alternating users: ", "ok  none of the 4 passwords",
		"Next\n", "docs/simulator.md", "README.md",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("no %q, or not in its place:\n%s", want, out.String())
		}
		rest = after
	}
	// README.md shows some of the lines, with other IDs and numbers.
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, transcript, _ := strings.Cut(string(readme), "```text\n")
	transcript, _, found := strings.Cut(transcript, "```")
	if !found {
		t.Fatal("README.md has no transcript")
	}
	changing := regexp.MustCompile(`[0-9a-f]{8}|\d+`)
	shown := changing.ReplaceAllString(out.String(), "N")
	for line := range strings.Lines(transcript) {
		if !strings.Contains(shown, changing.ReplaceAllString(line, "N")) {
			t.Errorf("README.md shows %q, which the demo does not print", line)
		}
	}
}

// TestOnlyTheGapMayRefuse: the demo fails on a refusal with any version except the one that the rotation replaces, and
// on any other failure of a login.
func TestOnlyTheGapMayRefuse(t *testing.T) {
	refusal := &pgconn.PgError{Code: "28P01"}
	for name, tt := range map[string]struct {
		old, version string
		err          error
		fails        bool
	}{
		"in the gap":        {"old", "old", refusal, false},
		"accepted":          {"old", "new", nil, false},
		"the new password":  {"old", "new", refusal, true},
		"alternating users": {"", "old", refusal, true},
		"another error":     {"old", "old", io.ErrUnexpectedEOF, true},
	} {
		w := &witness{old: tt.old}
		if err := w.saw(tt.version, tt.err); (err != nil) != tt.fails || !tt.fails && w.accepted+w.refused != 1 {
			t.Errorf("%s: %v, %+v", name, err, w)
		}
	}
}

// TestTheVerdictReadsTheLog: the verdict fails if the log contains a password or does not show the rotations.
func TestTheVerdictReadsTheLog(t *testing.T) {
	for log, want := range map[string]string{
		"promoted to AWSCURRENT with hunter2": "a password is in the function's log",
		"":                                    "does not show the rotations",
	} {
		var out bytes.Buffer
		s := &stage{out: &out, pg: &testserver.PostgresServer{}, passwords: []string{"hunter2"}}
		if err := s.verdict(log); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOutputBeforeTheCompiler: `make demo` prints something before the compiler runs. The compiler here waits until the
// test has read it.
func TestOutputBeforeTheCompiler(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	goOn := filepath.Join(t.TempDir(), "go-on")
	compiler := filepath.Join(t.TempDir(), "go")
	script := "#!/bin/sh\nn=0\nuntil [ -e '" + goOn + "' ] || [ $n = 600 ]; do n=$((n+1)); sleep 0.1; done\nexit 3\n"
	if err := os.WriteFile(compiler, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, "make", "demo", "GO="+compiler)
	demo.Dir, demo.WaitDelay = root, 15*time.Second
	// Do not pass on the settings of a make that runs the tests.
	demo.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=")
	})
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "Preparing: ") {
		t.Errorf("the first line is %q (%v)", line, err)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := demo.Wait(); err == nil || ctx.Err() != nil {
		t.Errorf("make succeeded or hung although nothing could be compiled: %v", err)
	}
}
