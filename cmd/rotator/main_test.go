package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// build returns the path of the function's binary, built as the Makefile builds it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	command := exec.Command("go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", path, ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestStartDoesNoWork: what a package of ours prepares for one engine, every cold start pays for.
func TestStartDoesNoWork(t *testing.T) {
	command := exec.Command(build(t))
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
