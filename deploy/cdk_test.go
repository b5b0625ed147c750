//go:build cdk

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// synthesize compiles the code of docs/cdk.md and examples/cdk in strict mode, and returns the generated templates by
// the name of their stack.
func synthesize(t *testing.T) map[string]map[string]any {
	t.Helper()
	page, err := os.ReadFile("../docs/cdk.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```ts\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d programs in docs/cdk.md, want 1", len(blocks))
	}
	template, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	monitoring, err := os.ReadFile("monitoring.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for from, to := range map[string]string{"testdata/cdk": "", "../examples/cdk": "examples/cdk"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	example := filepath.Join(dir, "examples/cdk")
	for name, data := range map[string][]byte{
		"everything.ts":          blocks[0][1],
		"template.yaml":          template,
		"deploy/monitoring.yaml": monitoring,
		// Only Lambda reads its content.
		"rotator-v0.1.0-lambda-x86_64.zip": []byte("zip"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := os.ReadFile(filepath.Join(example, "cdk.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cdk struct{ App string }
	if err := json.Unmarshal(settings, &cdk); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, command string }{
		{example, "npm ci --ignore-scripts --no-audit --no-fund"},
		{example, cdk.App},
		{dir, "ln -s examples/cdk/node_modules && npx tsc --strict --noUnusedLocals --target es2022 --module commonjs --skipLibCheck app.ts"},
		{dir, "node app.js"},
	} {
		cmd := exec.Command("sh", "-c", c.command)
		cmd.Dir = c.dir
		// The CDK's command line passes on its options in these variables.
		cmd.Env = append(os.Environ(), "CDK_OUTDIR="+filepath.Join(dir, "out", filepath.Base(c.dir)),
			`CDK_CONTEXT_JSON={"zip": "../../rotator-v0.1.0-lambda-x86_64.zip", "host": "db.example.com"}`)
		if out, err := cmd.CombinedOutput(); err != nil {
			// Omit the line with the source of the failed file, which precedes the message.
			lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool {
				return strings.HasPrefix(l, `"use strict"`) || strings.TrimLeft(l, " ") == "^"
			})
			t.Fatalf("%s: %v\n%s", c.command, err, strings.Join(lines, "\n"))
		}
	}
	out := make(map[string]map[string]any)
	for name, folder := range map[string]string{"everything": filepath.Base(dir), "constructs": filepath.Base(dir), "shop": "cdk"} {
		data, err := os.ReadFile(filepath.Join(dir, "out", folder, name+".template.json"))
		if err != nil {
			t.Fatal(err)
		}
		var template map[string]any
		if err := json.Unmarshal(data, &template); err != nil {
			t.Fatal(err)
		}
		out[name] = template
	}
	return out
}

// ofType returns the properties of the only resource of a type.
func ofType(t *testing.T, template map[string]any, kind string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, r := range template["Resources"].(map[string]any) {
		if r := r.(map[string]any); r["Type"] == kind {
			found = append(found, r["Properties"].(map[string]any))
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d resources of type %s", len(found), kind)
	}
	return found[0]
}

// substituted rewrites the CDK's joins and references in the form of Fn::Sub, which template.yaml uses.
func substituted(x any) any {
	m, ok := x.(map[string]any)
	if !ok {
		return x
	}
	if name, ok := m["Ref"].(string); ok {
		return "${" + name + "}"
	}
	if join, ok := m["Fn::Join"].([]any); ok {
		var parts []string
		for _, part := range join[1].([]any) {
			parts = append(parts, fmt.Sprint(substituted(part)))
		}
		return strings.Join(parts, join[0].(string))
	}
	out := make(map[string]any)
	for key, value := range m {
		out[key] = substituted(value)
	}
	return out
}

// TestCDK: the program in docs/cdk.md and examples/cdk/constructs.ts compile and synthesize. The former has
// everything in template.yaml and monitoring.yaml, the latter the same function with the same permissions.
func TestCDK(t *testing.T) {
	stacks := synthesize(t)
	ours, alarms := load(t, "../template.yaml"), load(t, "monitoring.yaml")

	everything := stacks["everything"]
	for _, section := range []string{"Resources", "Outputs", "Conditions"} {
		names := maps.Clone(ours[section].(map[string]any))
		if more, ok := alarms[section].(map[string]any); ok {
			maps.Copy(names, more)
		}
		want := slices.Sorted(maps.Keys(names))
		got := slices.Sorted(maps.Keys(everything[section].(map[string]any)))
		got = slices.DeleteFunc(got, func(name string) bool { return strings.HasPrefix(name, "CDK") })
		if !slices.Equal(got, want) {
			t.Errorf("everything has the %s %v, the template %v", section, got, want)
		}
	}
	code := ofType(t, everything, "AWS::Serverless::Function")["CodeUri"]
	if text := fmt.Sprint(code); !strings.Contains(text, "Bucket") || !strings.Contains(text, ".zip") {
		t.Errorf("the function's code is %v", code)
	}

	exampleOfCDK(t, stacks["shop"], ours)

	constructs := stacks["constructs"]
	function, want := ofType(t, constructs, "AWS::Lambda::Function"), resource(t, "RotatorFunction")
	for _, name := range []string{"Handler", "Runtime"} {
		if function[name] != want[name] {
			t.Errorf("%s is %v, in the template %v", name, function[name], want[name])
		}
	}
	defaults, err := evaluate("../template.yaml", map[string]string{
		"RotatorFunctionRole.Arn": "role", "RotatorLogGroup": "log", "RotatorFunction": "function",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"MemorySize", "Timeout", "Architectures"} {
		if got, want := fmt.Sprint(function[name]),
			fmt.Sprint(defaults["RotatorFunction"].Properties[name]); got != want {
			t.Errorf("%s is %s, in the template %s", name, got, want)
		}
	}
	known := variables(t)
	for name := range function["Environment"].(map[string]any)["Variables"].(map[string]any) {
		if _, ok := known[name]; !ok {
			t.Errorf("the function does not have the variable %s", name)
		}
	}
	rotate := statements(resource(t, "RotatorFunctionRole")["Policies"])[0]
	got := statements(ofType(t, constructs, "AWS::IAM::Policy"))
	if len(got) != 1 || !slices.Equal(list(got[0]["Action"]), list(rotate["Action"])) {
		t.Fatalf("the function may do %v", got)
	}
	for _, part := range []string{"Resource", "Condition"} {
		want := strings.ReplaceAll(fmt.Sprint(rotate[part]), "${FunctionName}", "rotator")
		if has := fmt.Sprint(substituted(got[0][part])); has != want {
			t.Errorf("%s is\n%v, in the template\n%v", part, has, want)
		}
	}
	permission := ofType(t, constructs, "AWS::Lambda::Permission")
	if permission["Principal"] != "secretsmanager.amazonaws.com" ||
		fmt.Sprint(permission["SourceAccount"]) != "map[Ref:AWS::AccountId]" {
		t.Errorf("the function may be called by %v for %v", permission["Principal"], permission["SourceAccount"])
	}
	if s := ofType(t, constructs, "AWS::SecretsManager::RotationSchedule"); s["RotateImmediatelyOnUpdate"] != false {
		t.Errorf("the schedule rotates immediately: %v", s)
	}
}

// exampleOfCDK checks that the stack of examples/cdk has all of the template, a secret in the format that the function
// reads, and a schedule that is created after the permission to call the function.
func exampleOfCDK(t *testing.T, stack, ours map[string]any) {
	t.Helper()
	for name := range ours["Resources"].(map[string]any) {
		if stack["Resources"].(map[string]any)[name] == nil {
			t.Errorf("the example lacks %s", name)
		}
	}
	text := fmt.Sprint(substituted(ofType(t, stack, "AWS::SecretsManager::Secret")["SecretString"]))
	var value map[string]string
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want := map[string]string{"engine": "postgres", "host": "db.example.com", "username": "app", "password": "${InitialPassword}"}
	if !maps.Equal(value, want) {
		t.Errorf("the secret is %v", value)
	}
	schedule := ofType(t, stack, "AWS::SecretsManager::RotationSchedule")
	if got := fmt.Sprint(schedule["RotationLambdaARN"]); got != "map[Fn::GetAtt:[RotatorFunction Arn]]" || schedule["RotateImmediatelyOnUpdate"] != false {
		t.Errorf("the schedule is %v", schedule)
	}
	if after := list(stack["Resources"].(map[string]any)["Schedule"].(map[string]any)["DependsOn"]); !slices.Contains(after, "RotatorPermission") {
		t.Errorf("the schedule depends on %v", after)
	}
}
