package docstest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// causes returns the values of the constants of type Cause in rotation/error.go,
// by their names.
func causes(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "rotation", "error.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if kind, ok := v.Type.(*ast.Ident); !ok || kind.Name != "Cause" {
				continue
			}
			for i, name := range v.Names {
				text, err := strconv.Unquote(v.Values[i].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				found[name.Name] = text
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("rotation/error.go has no constant of type Cause")
	}
	return found
}

// mentions reports whether the test's source names the cause: the constant, as
// rotation.OutOfTime or OutOfTime, or its text, as "OutOfTime"; and
// whether the file has such a test at all.
func mentions(t *testing.T, path, test, constant, text string) (exists, named bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, 0)
	if err != nil {
		t.Error(err)
		return false, false
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.Name.Name != test {
			continue
		}
		exists = true
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				named = named || n.Name == constant
			case *ast.BasicLit:
				named = named || n.Kind == token.STRING && strings.Contains(n.Value, text)
			}
			return true
		})
	}
	return exists, named
}

var (
	section = regexp.MustCompile("(?m)^### `?(\\w+)`?$")
	heading = regexp.MustCompile(`(?m)^##? `)
	shownBy = regexp.MustCompile("`(Test\\w+)` in\\s+\\[?`([^`]+_test\\.go)`")
)

// TestRunbookHasEveryCause: whoever is woken by a cause finds its section, and
// the section a test that shows the cause. Sections are the headings of the third
// level below "## The causes".
func TestRunbookHasEveryCause(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root(t), "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## The causes\n")
	if !ok {
		t.Fatal("docs/runbook.md has no part \"The causes\"")
	}
	if end := heading.FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	known := causes(t)
	var seen []string
	at := section.FindAllStringSubmatchIndex(text, -1)
	for i, m := range at {
		cause, end := text[m[2]:m[3]], len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		if slices.Contains(seen, cause) {
			t.Errorf("the section %s stands twice", cause)
		}
		seen = append(seen, cause)
		constant := ""
		for name, value := range known {
			if value == cause {
				constant = name
			}
		}
		if constant == "" {
			t.Errorf("the section %s is of no cause in rotation/error.go", cause)
			continue
		}
		tests := shownBy.FindAllStringSubmatch(text[m[1]:end], -1)
		if len(tests) == 0 {
			t.Errorf("the section %s names no test, as `TestName` in `path_test.go`", cause)
		}
		for _, named := range tests {
			exists, mentioned := mentions(t, named[2], named[1], constant, cause)
			if !exists {
				t.Errorf("the section %s names %s, which is not in %s", cause, named[1], named[2])
			} else if !mentioned {
				t.Errorf("the section %s names %s in %s, which does not mention the cause", cause, named[1], named[2])
			}
		}
	}
	for _, value := range known {
		if !slices.Contains(seen, value) {
			t.Errorf("the cause %s has no section", value)
		}
	}
}
