// Package built builds the function's binary for tests.
package built

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Function builds the function and returns its path.
func Function(t testing.TB) string {
	t.Helper()
	return Command(t, "example.com/rotator/cmd/rotator")
}

// Command builds a Lambda function as the Makefile does and returns its path.
func Command(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap")
	command := exec.Command("go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", path, pkg)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}
