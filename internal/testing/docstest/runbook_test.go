package docstest

import (
	"go/ast"
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

// causes returns the values of the constants of type Cause in rotation/engine/error.go by name.
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

// expects reports whether a test fails if the cause does not occur. The test must not be skippable, and its source must
// compare or assign the constant (engine.OutOfTime or OutOfTime) or its exact text, list it in a table, or pass it to a
// function that does more than print. exists reports whether the test exists.
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

// weighs reports whether a node with these ancestors affects a test's result.
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

// TestWhatATestExpects: a cause that is only mentioned does not count.
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
		exists, expected := expects(t, "package x\nfunc TestX(t *testing.T) {\n"+body+"\n}\n", "x_test.go", "TestX",
			"OutOfTime", "OutOfTime")
		if !exists || expected != want {
			t.Errorf("%s: %v, %v", body, exists, expected)
		}
	}
}

var (
	section = regexp.MustCompile("(?m)^### `?(\\w+)`?$")
	heading = regexp.MustCompile(`(?m)^##? `)
)

// shownBy lists one or more tests for each cause, with their files. Each fails if the cause does not occur.
var shownBy = []struct{ cause, test, file string }{
	{"InvalidEvent", "TestBadEventsAreRefused", "rotation/event_test.go"},
	{"InvalidConfiguration", "TestInvalidConfigurationFailsEveryEvent", "internal/function/handler_test.go"},
	{"InvalidSecret", "TestBadInput", "rotation/postgres/postgres_test.go"},
	{"RotationDisabled", "TestSecretsThatCannotBeRotated", "internal/function/handler_test.go"},
	{"VersionNotStaged", "TestSecretsThatCannotBeRotated", "internal/function/handler_test.go"},
	{"SecretEdited", "TestEditOfAnotherFieldIsDetected", "rotation/generic/generic_test.go"},
	{"SecretsManagerFailed", "TestNoPermission", "internal/function/handler_test.go"},
	{"SecretsManagerFailed", "TestFailedCallOfAServiceIsReported", "internal/function/topology_test.go"},
	{"OutOfTime", "TestInvocationThatEndsWhileItWaitsIsOutOfTime", "rotation/cause_test.go"},
	{"InternalError", "TestPanicIsAnInternalErrorThatShowsNoValue", "rotation/cause_test.go"},
	{"NameNotResolved", "TestBadInput", "rotation/postgres/postgres_test.go"},
	{"Unreachable", "TestBadInput", "rotation/postgres/postgres_test.go"},
	{"TLSFailed", "TestCertificatesAreVerified", "rotation/postgres/postgres_test.go"},
	{"LoginRefused", "TestRecoveryBySuperuserIsTheOperatorsChoice", "rotation/postgres/superuser_test.go"},
	{"PrivilegeMissing", "TestRotatorThatIsNoSuperuser", "rotation/postgres/postgres_test.go"},
	{"PolicyRejected", "TestPolicyRejectionIsToldBeforeTheValueIsStored", "rotation/postgres/postgres_test.go"},
	{"TakeoverRefused", "TestTakeoverByNameIsRefused", "rotation/postgres/postgres_test.go"},
	{"Unsettled", "TestNextLeavesKeysOfUnknownOriginAlone", "rotation/iam/iam_test.go"},
	{"Locked", "TestAdoptionKeepsNobodyWaiting", "rotation/postgres/adopt_test.go"},
	{"TargetFailed", "TestCausesOfStatuses", "rotation/http/http_test.go"},
}

// TestRunbookHasEveryCause: each cause has one section in docs/runbook.md, below "## The causes", and a test that
// expects it.
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
	var sections []string
	for _, m := range section.FindAllStringSubmatch(text, -1) {
		sections = append(sections, m[1])
	}
	slices.Sort(sections)
	known := causes(t)
	if want := slices.Sorted(maps.Values(known)); !slices.Equal(sections, want) {
		t.Errorf("the runbook's sections are\n%v\nthe causes are\n%v", sections, want)
	}
	for constant, cause := range known {
		shown := false
		for _, by := range shownBy {
			if by.cause != cause {
				continue
			}
			shown = true
			exists, expected := expects(t, nil, filepath.Join(root(t), by.file), by.test, constant, cause)
			if !exists {
				t.Errorf("%s: %s is not in %s", cause, by.test, by.file)
			} else if !expected {
				t.Errorf("%s: %s in %s does not expect the cause", cause, by.test, by.file)
			}
		}
		if !shown {
			t.Errorf("no test shows %s", cause)
		}
	}
}
