package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/built"
)

// TestStartDoesNoWork: every cold start would pay for anything that a package prepares for one engine.
func TestStartDoesNoWork(t *testing.T) {
	command := exec.Command(built.Function(t))
	command.Env = []string{"GODEBUG=inittrace=1", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1"}
	out, _ := command.CombinedOutput() // it fails: no Lambda listens
	seen := 0
	for line := range strings.Lines(string(out)) {
		// init rotation/iam @2.4 ms, 0.59 ms clock, 319288 bytes, 1508 allocs
		f := strings.Fields(line)
		if len(f) < 11 || f[0] != "init" {
			continue
		}
		seen++
		bytes, err := strconv.Atoi(f[7])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if strings.HasPrefix(f[1], "example.com/rotator/") && bytes > 6<<10 {
			t.Errorf("%s", line)
		}
	}
	if seen < 50 {
		t.Fatalf("only %d packages in\n%s", seen, out)
	}
}
