package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// module is a parsed Terraform module. tools/terraform tests it with Terraform itself.
type module struct {
	blocks []*hclsyntax.Block
	text   map[string][]byte
}

func terraform(t *testing.T) module {
	t.Helper()
	return read(t, "terraform")
}

func read(t *testing.T, folder string) module {
	t.Helper()
	names, err := filepath.Glob(folder + "/*.tf")
	if err != nil || len(names) < 2 {
		t.Fatalf("files of the module: %v (%v)", names, err)
	}
	m := module{text: make(map[string][]byte)}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, problems := hclsyntax.ParseConfig(data, name, hcl.InitialPos)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		m.text[name] = data
		m.blocks = append(m.blocks, file.Body.(*hclsyntax.Body).Blocks...)
	}
	return m
}

// find returns the blocks of a type and, if label is not empty, with that first label.
func (m module) find(kind, label string) []*hclsyntax.Block {
	var out []*hclsyntax.Block
	for _, b := range m.blocks {
		if b.Type == kind && (label == "" || b.Labels[0] == label) {
			out = append(out, b)
		}
	}
	return out
}

// constant returns the value of an attribute that is a constant.
func constant(t *testing.T, body *hclsyntax.Body, name string) cty.Value {
	t.Helper()
	a := body.Attributes[name]
	if a == nil {
		t.Fatalf("%s: no attribute %s", body.Range(), name)
	}
	v, problems := a.Expr.Value(nil)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return v
}

func words(v cty.Value) []string {
	var out []string
	for _, e := range v.AsValueSlice() {
		out = append(out, e.AsString())
	}
	return out
}

// local returns the expression of a local value.
func (m module) local(t *testing.T, name string) hclsyntax.Expression {
	t.Helper()
	for _, b := range m.find("locals", "") {
		if a := b.Body.Attributes[name]; a != nil {
			return a.Expr
		}
	}
	t.Fatalf("no local value %s", name)
	return nil
}

// TestTerraformIsFormatted: the files are as `terraform fmt` writes them.
func TestTerraformIsFormatted(t *testing.T) {
	files := terraform(t).text
	maps.Copy(files, read(t, "terraform/role").text)
	for _, plans := range []string{"terraform/tests/module.tftest.hcl", "terraform/role/tests/role.tftest.hcl", "../examples/terraform/main.tf"} {
		var err error
		if files[plans], err = os.ReadFile(plans); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if got := hclwrite.Format(text); string(got) != string(text) {
			t.Errorf("%s is not formatted: terraform fmt %s", name, filepath.Dir(name))
		}
	}
}

// TestTerraformNamesResolve: every variable, local value, resource and data source that the module
// refers to is declared, and every variable and local value is used.
func TestTerraformNamesResolve(t *testing.T) {
	m := terraform(t)
	declared := make(map[string]bool)
	iterators := []string{"each", "path"}
	for _, b := range m.blocks {
		switch b.Type {
		case "variable":
			declared["var."+b.Labels[0]] = true
		case "data":
			declared["data."+b.Labels[0]+"."+b.Labels[1]] = true
		case "resource":
			declared[b.Labels[0]+"."+b.Labels[1]] = true
		case "locals":
			for name := range b.Body.Attributes {
				declared["local."+name] = true
			}
		}
	}
	used := make(map[string]bool)
	for _, b := range m.blocks {
		_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
			if dynamic, ok := n.(*hclsyntax.Block); ok && dynamic.Type == "dynamic" {
				iterators = append(iterators, dynamic.Labels[0])
			}
			if loop, ok := n.(*hclsyntax.ForExpr); ok {
				iterators = append(iterators, loop.KeyVar, loop.ValVar)
			}
			return nil
		})
		_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
			e, ok := n.(*hclsyntax.ScopeTraversalExpr)
			if !ok || slices.Contains(iterators, e.Traversal.RootName()) || len(e.Traversal) < 2 {
				return nil // types such as string are single names
			}
			parts := []string{e.Traversal.RootName()}
			for _, step := range e.Traversal[1:] {
				if a, ok := step.(hcl.TraverseAttr); ok {
					parts = append(parts, a.Name)
				}
			}
			size := 2
			if parts[0] == "data" {
				size = 3
			}
			name := strings.Join(parts[:min(size, len(parts))], ".")
			if !declared[name] {
				t.Errorf("%s: %s is not declared", e.Range(), name)
			}
			if b.Type != "variable" { // a validation of the variable does not count as use
				used[name] = true
			}
			return nil
		})
	}
	for name := range declared {
		if (strings.HasPrefix(name, "var.") || strings.HasPrefix(name, "local.")) && !used[name] {
			t.Errorf("%s is not used", name)
		}
	}
}

// TestTerraformHasTheTemplatesParameters: the module has the names and defaults of the parameters of template.yaml and
// services.yaml. Exceptions are the function's name, the settings, which are an object, the zip and its architecture,
// which SAM builds itself, and the accounts, which CloudFormation cannot loop over.
func TestTerraformHasTheTemplatesParameters(t *testing.T) {
	want := map[string]string{"name": "rotator", "zip": "none", "architecture": "x86_64", "secretsaccountids": "[]"}
	for _, template := range []string{"../template.yaml", "services.yaml"} {
		for name, p := range load(t, template)["Parameters"].(map[string]any) {
			p := p.(map[string]any)
			switch value := fmt.Sprint(p["Default"]); {
			case slices.Contains([]string{"FunctionName", "RoleName", "SecretArn"}, name):
			case name == "Settings":
				want["settings"] = "{}"
			case p["Type"] == "CommaDelimitedList":
				want[strings.ToLower(name)] = "[]"
			default:
				want[strings.ToLower(name)] = value
			}
		}
	}
	got := make(map[string]string)
	for _, b := range terraform(t).find("variable", "") {
		value := "none"
		if b.Body.Attributes["default"] != nil {
			switch v := constant(t, b.Body, "default"); {
			case v.Type() == cty.String:
				value = v.AsString()
			case v.Type() == cty.Number:
				value = v.AsBigFloat().Text('f', -1)
			case v.Type().IsObjectType():
				value = "{}"
			default:
				value = fmt.Sprint(words(v))
			}
		}
		got[strings.ReplaceAll(b.Labels[0], "_", "")] = value
	}
	if !maps.Equal(got, want) {
		t.Errorf("the module has\n%v\nthe template\n%v", got, want)
	}
}

// TestTerraformHasTheTemplatesVariables: the function gets the same environment, except the simulator's endpoints.
func TestTerraformHasTheTemplatesVariables(t *testing.T) {
	want := make(map[string]string)
	for name, value := range variables(t) {
		if !strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			want[name] = strings.ToLower(fmt.Sprint(value))
		}
	}
	m := terraform(t)
	got := make(map[string]string)
	for _, item := range m.local(t, "environment").(*hclsyntax.ObjectConsExpr).Items {
		name, problems := item.KeyExpr.Value(nil)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		from := item.ValueExpr.Variables()
		got[name.AsString()] = strings.ReplaceAll(from[0][1].(hcl.TraverseAttr).Name, "_", "")
	}
	if !maps.Equal(got, want) {
		t.Errorf("the module gives the function\n%v\nthe template\n%v", got, want)
	}
}

// describe returns a statement as text: what it allows or denies, its conditions, and whether it
// applies to all resources.
func describe(effect string, actions, conditions []string, all bool) string {
	slices.Sort(actions)
	slices.Sort(conditions)
	return fmt.Sprint(effect, actions, conditions, all)
}

// permissions returns the statements of the module's role, by id.
func (m module) permissions(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, document := range m.find("data", "aws_iam_policy_document") {
		if document.Labels[1] == "trust" {
			continue // not a statement of the role's policy
		}
		for _, b := range document.Body.Blocks {
			body := b.Body
			if b.Type == "dynamic" {
				if body.Attributes["for_each"] == nil {
					t.Errorf("%s: a statement without a condition", b.Range())
				}
				body = body.Blocks[0].Body
			}
			var conditions []string
			for _, c := range body.Blocks {
				if c.Type == "dynamic" {
					c = c.Body.Blocks[0]
				}
				conditions = append(conditions,
					constant(t, c.Body, "test").AsString()+" "+constant(t, c.Body, "variable").AsString())
			}
			resources, _ := body.Attributes["resources"].Expr.Value(nil)
			all := resources.IsWhollyKnown() && resources.CanIterateElements() && slices.Contains(words(resources), "*")
			effect := "Allow"
			if body.Attributes["effect"] != nil {
				effect = constant(t, body, "effect").AsString()
			}
			out[constant(t, body, "sid").AsString()] = describe(effect, words(constant(t, body, "actions")), conditions,
				all)
		}
	}
	return out
}

// templatePermissions returns the statements of a template, in the same form.
func templatePermissions(all []map[string]any) map[string]string {
	out := make(map[string]string)
	for _, s := range all {
		var conditions []string
		tests, _ := s["Condition"].(map[string]any)
		for test, keys := range tests {
			for key := range keys.(map[string]any) {
				conditions = append(conditions, test+" "+key)
			}
		}
		out[s["Sid"].(string)] = describe(s["Effect"].(string), list(s["Action"]), conditions, s["Resource"] == "*")
	}
	return out
}

// TestTerraformHasTheTemplatesPermissions: the same actions under the same conditions, and no more, for the function
// and for the role in other accounts. The modules' own tests check the values of conditions and resources.
func TestTerraformHasTheTemplatesPermissions(t *testing.T) {
	want := templatePermissions(append(statements(everything(t)["RotatorFunctionRole"].Properties["Policies"]),
		services(t, nil)...))
	if got := terraform(t).permissions(t); !maps.Equal(got, want) {
		t.Errorf("the module allows\n%v\nthe template\n%v", got, want)
	}
	got := read(t, "terraform/role").permissions(t)
	want = templatePermissions(statements(crossRole(t)["RotationRole"].Properties["Policies"]))
	if len(want) < 10 || !maps.Equal(got, want) {
		t.Errorf("the role's module allows\n%v\nthe template\n%v", got, want)
	}
	m := terraform(t)
	if attachments := m.find("resource", "aws_iam_role_policy_attachment"); len(attachments) > 0 {
		t.Errorf("the role has %d additional policies", len(attachments))
	}
	permissions := m.find("resource", "aws_lambda_permission")
	if len(permissions) != 2 {
		t.Errorf("%d permissions to call the function", len(permissions))
	}
	for _, p := range permissions {
		if constant(t, p.Body, "principal").AsString() != "secretsmanager.amazonaws.com" ||
			p.Body.Attributes["source_account"] == nil {
			t.Error("the function may be called by more than the Secrets Manager of accounts that are named")
		}
	}
}

// TestTerraformHasTheTemplatesAlarms: the same causes in the same alarms, and the same dashboard.
func TestTerraformHasTheTemplatesAlarms(t *testing.T) {
	m := terraform(t)
	got := make(map[string]string)
	groups, problems := m.local(t, "causes").Value(nil)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	for name, group := range groups.AsValueMap() {
		got[name] = fmt.Sprint(words(group.GetAttr("causes")))
	}
	want := make(map[string]string)
	for name, causes := range causeAlarms(t) {
		want[name] = fmt.Sprint(causes)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the module has the alarms\n%v\nthe template\n%v", got, want)
	}

	text := func(s string) string {
		var body any
		if err := json.Unmarshal([]byte(s), &body); err != nil {
			t.Fatalf("the dashboard is not JSON: %v\n%s", err, s)
		}
		out, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	there := resource(t, "RotatorDashboard")["DashboardBody"].(string)
	there = strings.NewReplacer("${AWS::Region}", "R", "/aws/lambda/${FunctionName}", "G",
		"${FunctionName}", "F").Replace(there)
	boards := m.find("resource", "aws_cloudwatch_dashboard")
	if len(boards) != 1 {
		t.Fatalf("%d dashboards", len(boards))
	}
	here, problems := boards[0].Body.Attributes["dashboard_body"].Expr.Value(
		&hcl.EvalContext{Variables: map[string]cty.Value{
			"local": cty.ObjectVal(map[string]cty.Value{"region": cty.StringVal("R")}),
			"aws_cloudwatch_log_group": cty.ObjectVal(map[string]cty.Value{
				"this": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal("G")}),
			}),
			"aws_lambda_function": cty.ObjectVal(map[string]cty.Value{
				"this": cty.ObjectVal(map[string]cty.Value{"function_name": cty.StringVal("F")}),
			}),
		}})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	if text(here.AsString()) != text(there) {
		t.Error("the dashboards differ")
	}
}
