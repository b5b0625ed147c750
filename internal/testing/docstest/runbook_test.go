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

// causes returns the values of the constants of type Cause in rotation/engine/error.go,
// by their names.
func causes(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "rotation", "engine", "error.go"), nil, 0)
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
		t.Fatal("rotation/engine/error.go has no constant of type Cause")
	}
	return found
}

// expects reports whether a test can fail for want of the cause: its source has the
// constant, as engine.OutOfTime or OutOfTime, or exactly its text in a place where it is
// compared, is given a name, is an entry of a table or is given to a function that does not only
// print; and it is never skipped. exists says whether there is such a test at all.
func expects(t *testing.T, source any, path, test, constant, text string) (exists, expected bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
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
		skips := false
		var above []ast.Node
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if n == nil {
				above = above[:len(above)-1]
				return true
			}
			switch n := n.(type) {
			case *ast.Ident:
				expected = expected || n.Name == constant && weighs(above)
				skips = skips || strings.HasPrefix(n.Name, "Skip")
			case *ast.BasicLit:
				expected = expected || n.Value == strconv.Quote(text) && weighs(above)
			}
			above = append(above, n)
			return true
		})
		expected = expected && !skips
	}
	return exists, expected
}

// weighs tells whether what stands below these nodes takes part in a test's verdict.
func weighs(above []ast.Node) bool {
	for _, n := range slices.Backward(above) {
		switch n := n.(type) {
		case *ast.SelectorExpr, *ast.ParenExpr:
			continue // engine.OutOfTime
		case *ast.BinaryExpr:
			return n.Op == token.EQL || n.Op == token.NEQ
		case *ast.AssignStmt: // want := engine.OutOfTime
			name, ok := n.Lhs[0].(*ast.Ident)
			return ok && name.Name != "_"
		case *ast.CompositeLit, *ast.KeyValueExpr, *ast.CaseClause:
			return true
		case *ast.CallExpr:
			name := ""
			if s, ok := n.Fun.(*ast.SelectorExpr); ok {
				name = s.Sel.Name
			}
			return !slices.Contains([]string{"Log", "Logf", "Run", "Error", "Errorf", "Fatal", "Fatalf"}, name)
		default:
			return false
		}
	}
	return false
}

// TestWhatATestExpects: a cause that is only spoken of does not count.
func TestWhatATestExpects(t *testing.T) {
	for body, want := range map[string]bool{
		`if engine.CauseOf(err) != engine.OutOfTime { t.Fatal(err) }`:           true,
		`if !errors.Is(err, OutOfTime) { t.Fatal(err) }`:                        true,
		`w.want(err, "OutOfTime", "")`:                                          true,
		`for _, c := range []struct{ want string }{{"OutOfTime"}} { check(c) }`: true,
		`t.Log("OutOfTime")`:                                                    false,
		`t.Errorf("%v is not %v", err, engine.OutOfTime)`:                       false,
		`_ = OutOfTime`: false,
		`t.Skip("no server"); if engine.CauseOf(err) != OutOfTime { t.Fatal(err) }`:        false,
		`if strings.Contains(text, "not OutOfTime at all") { t.Fatal(text) }`:              false,
		`t.Run("OutOfTime", func(t *testing.T) { if err == nil { t.Fatal("no error") } })`: false,
	} {
		exists, expected := expects(t, "package x\nfunc TestX(t *testing.T) {\n"+body+"\n}\n", "x_test.go", "TestX", "OutOfTime", "OutOfTime")
		if !exists || expected != want {
			t.Errorf("%s: %v, %v", body, exists, expected)
		}
	}
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
			t.Errorf("the section %s is of no cause in rotation/engine/error.go", cause)
			continue
		}
		tests := shownBy.FindAllStringSubmatch(text[m[1]:end], -1)
		if len(tests) == 0 {
			t.Errorf("the section %s names no test, as `TestName` in `path_test.go`", cause)
		}
		for _, named := range tests {
			exists, expected := expects(t, nil, filepath.Join(root(t), named[2]), named[1], constant, cause)
			if !exists {
				t.Errorf("the section %s names %s, which is not in %s", cause, named[1], named[2])
			} else if !expected {
				t.Errorf("the section %s names %s in %s, which does not expect the cause", cause, named[1], named[2])
			}
		}
	}
	for _, value := range known {
		if !slices.Contains(seen, value) {
			t.Errorf("the cause %s has no section", value)
		}
	}
}
