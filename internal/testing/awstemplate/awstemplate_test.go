package awstemplate

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryTemplateIsRotated: the tests of some engine rotate the secret of each template. MySQL's are rotated by
// `make test-mysql`, all others by `make test`.
func TestEveryTemplateIsRotated(t *testing.T) {
	files, err := filepath.Glob("../../../rotation/*/awstemplate*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	rotated := map[string]bool{}
	for _, name := range files {
		only := build.Default
		if strings.HasSuffix(name, "_mysql_test.go") {
			only.BuildTags = []string{"mysql"}
		}
		if run, err := only.MatchFile(filepath.Split(name)); err != nil || !run {
			t.Errorf("%s is not in every run of the tests: %v", name, err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, _ := n.(*ast.CallExpr)
			if call == nil || len(call.Args) == 0 {
				return true
			}
			method, _ := call.Fun.(*ast.SelectorExpr)
			template, _ := call.Args[0].(*ast.BasicLit)
			if method != nil && method.Sel.Name == "Rotate" && template != nil {
				rotated[template.Value] = true
				if strings.Contains(template.Value, "MySQL") != strings.HasSuffix(name, "_mysql_test.go") {
					t.Errorf("%s rotates a secret of %s", name, template.Value)
				}
			}
			return true
		})
	}
	for name := range Forms {
		if !rotated[strconv.Quote(name)] {
			t.Errorf("no test rotates a secret of %s", name)
		}
	}
}

// TestMigrationKnowsEveryTemplate: docs/migration.md has a row for each.
func TestMigrationKnowsEveryTemplate(t *testing.T) {
	text, err := os.ReadFile("../../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(slices.Collect(maps.Keys(Forms)), NoDropIn)
	if len(all) != 22 {
		t.Errorf("AWS has 22 templates, not %d", len(all))
	}
	for _, name := range all {
		row := regexp.MustCompile(`(?m)^\| ` + name + ` \| (.*)$`).FindStringSubmatch(string(text))
		if row == nil {
			t.Errorf("no row for %s", name)
		} else if refused := strings.Contains(row[1], "not a drop-in"); refused != slices.Contains(NoDropIn, name) {
			t.Errorf("%s is not a drop-in: %v", name, refused)
		}
	}
}
