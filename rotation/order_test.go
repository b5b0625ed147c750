package rotation

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reading is the order in which to read the files, from the event to an engine.
var reading = []string{
	"inspect.go", "rotator.go", "create.go", "set.go", "test.go", "finish.go", "begin.go", "ladder.go",
	"superuser.go", "edit.go", "exchange.go", "secrets.go", "report.go", "config.go", "event.go",
}

// TestReadsTopDown: no file calls a function or method of an earlier file.
func TestReadsTopDown(t *testing.T) {
	files := token.NewFileSet()
	parsed := make(map[string]*ast.File)
	home := make(map[string]string) // the file of a function or method, by name
	for _, name := range reading {
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed[name] = f
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if other := home[f.Name.Name]; other != "" && other != name {
					t.Errorf("two functions have the name %s, in %s and in %s", f.Name.Name, other, name)
				}
				home[f.Name.Name] = name
			}
		}
	}
	sources, _ := filepath.Glob("*.go")
	sources = slices.DeleteFunc(sources, func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || name == "doc.go"
	})
	if len(sources) != len(reading) {
		t.Errorf("the files are %v, which are not all named here", sources)
	}
	for at, name := range reading {
		ast.Inspect(parsed[name], func(n ast.Node) bool {
			var called *ast.Ident
			switch n := n.(type) {
			case *ast.SelectorExpr:
				called = n.Sel
				if x, ok := n.X.(*ast.Ident); !ok || !slices.Contains([]string{"r", "f", "run", "s", "i"}, x.Name) {
					return true
				}
			case *ast.CallExpr:
				called, _ = n.Fun.(*ast.Ident)
			}
			if called != nil && called.Obj == nil && home[called.Name] != "" &&
				slices.Index(reading, home[called.Name]) < at {
				t.Errorf("%s: %s is of %s", files.Position(called.Pos()), called.Name, home[called.Name])
			}
			return true
		})
	}
}
