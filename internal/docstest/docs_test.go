// Package docstest runs what the documentation tells people to type.
package docstest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A block of commands is either run here or says in its first line why not.
var (
	block    = regexp.MustCompile("(?ms)^```(sh[^\n]*)\n(.*?)^```$")
	excuses  = []string{"# needs AWS", "# needs Docker", "# needs GitHub", "# needs root", "# run by .ci/run"}
	linked   = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	document = []string{"README.md", "docs/*.md", "docs/engines/*.md"}
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range document {
		names, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no documents (%v)", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

func TestCommandsOfTheDocuments(t *testing.T) {
	ran := 0
	for name, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			info, script := m[1], m[2]
			first, _, _ := strings.Cut(script, "\n")
			if info == "sh run" {
				ran++
				t.Run(filepath.Base(name), func(t *testing.T) { runScript(t, script) })
				continue
			}
			excused := false
			for _, e := range excuses {
				excused = excused || strings.HasPrefix(first, e)
			}
			if !excused {
				t.Errorf("%s: commands that are neither run nor say why:\n%s", name, script)
			}
		}
	}
	if ran == 0 {
		t.Error("no command of the documents was run")
	}
}

// runScript runs commands in a copy of the project, so that they leave nothing in
// this one.
func runScript(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root(t)
	names, err := list.Output()
	if err != nil {
		t.Fatalf("the project is no git checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root(t), name))
		if err != nil || info.IsDir() {
			continue // deleted, but not committed yet
		}
		data, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	// Job control lets a document say kill %1.
	run := exec.CommandContext(ctx, "bash", "-m", "-euo", "pipefail", "-c", script)
	run.Dir, run.Stdout, run.Stderr = dir, &out, &out
	run.WaitDelay = 5 * time.Second
	if err := run.Run(); err != nil {
		t.Errorf("%v\n%s\n%s", err, script, out.String())
	}
}

// TestLinksOfTheDocuments: a link inside the project leads to a file.
func TestLinksOfTheDocuments(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", filepath.Base(name), m[1])
			}
		}
	}
}

// TestTestsThatTheDocumentsName: a claim that names a test names one that exists.
func TestTestsThatTheDocumentsName(t *testing.T) {
	exist := make(map[string]bool)
	err := filepath.WalkDir(root(t), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
			exist[string(m[1])] = true
		}
		if strings.HasSuffix(path, "enginetest/harness.go") {
			for _, m := range regexp.MustCompile(`\{"(\w+)", \w+\},`).FindAllSubmatch(text, -1) {
				exist["enginetest/"+string(m[1])] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|enginetest/)\\w+)`").FindAllStringSubmatch(text, -1) {
			named++
			if !exist[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", filepath.Base(name), m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named", named)
	}
}
