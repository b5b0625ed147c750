package function

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var levelsOfLines = []string{"DEBUG", "INFO", "WARN", "ERROR"}

var verb = regexp.MustCompile(`%[+#]?[a-z]`)

// shown returns an argument of a log call as the page shows it, with … for each variable part.
func shown(e ast.Expr, constants map[string]string) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return verb.ReplaceAllString(text, "…")
		}
	case *ast.BinaryExpr:
		return shown(e.X, constants) + shown(e.Y, constants)
	case *ast.Ident:
		if text, ok := constants[e.Name]; ok {
			return text
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return shown(e.Args[0], constants)
		}
	}
	return "…"
}

// logged returns every line that the files of a folder can log, as level and text. For an engine's reports through its
// request, the method's name is the level.
func logged(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	constants := make(map[string]string)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == len(v.Values) {
				for i, name := range v.Names {
					if _, ok := v.Values[i].(*ast.BasicLit); ok {
						constants[name.Name] = shown(v.Values[i], nil)
					}
				}
			}
			return true
		})
	}
	var out []string
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch name := method.Sel.Name; name {
			case "Debug", "Info", "Warn", "Error":
				// The page has each line in backquotes.
				line := strings.ReplaceAll(shown(call.Args[0], constants), "`", "'")
				if name == "Error" && line == "…" { // such as resp.Error
					return true
				}
				out = append(out, strings.ToUpper(name)+" "+line)
			case "Changed":
				out = append(out, "INFO changed at the target: …")
			}
			return true
		})
	}
	return out
}

// TestPageHasEveryLogLine: docs/metrics.md lists exactly what the machine, the function and the engines can log, by
// level, with one message per line.
func TestPageHasEveryLogLine(t *testing.T) {
	want := make(map[string]bool)
	folders := []string{"."}
	for _, pattern := range []string{"../../rotation", "../../rotation/*", "../../rotation/internal/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, found...)
	}
	for _, folder := range folders {
		switch filepath.Base(folder) {
		case "enginetest", "operator": // not part of the function
			continue
		}
		for _, line := range logged(t, folder) {
			want[line] = true
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	level, item := "", regexp.MustCompile("^- `([^`]+)`")
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			level = strings.TrimPrefix(line, "### ")
		} else if m := item.FindStringSubmatch(line); m != nil && slices.Contains(levelsOfLines, level) {
			got[level+" "+m[1]] = true
		}
	}
	for _, line := range slices.Sorted(maps.Keys(want)) {
		if !got[line] {
			t.Errorf("docs/metrics.md lacks %s", line)
		}
	}
	for line := range got {
		if !want[line] {
			t.Errorf("docs/metrics.md has %s, which nothing logs", line)
		}
	}
	if len(want) < 30 {
		t.Errorf("only %d lines found", len(want))
	}
}
