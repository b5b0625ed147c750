// Package deploy tests the templates by which the function is deployed.
package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// load reads a template; CloudFormation's short functions stay as their arguments.
func load(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	var untag func(*yaml.Node)
	untag = func(n *yaml.Node) {
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			n.Tag = map[yaml.Kind]string{yaml.ScalarNode: "!!str", yaml.SequenceNode: "!!seq", yaml.MappingNode: "!!map"}[n.Kind]
		}
		for _, c := range n.Content {
			untag(c)
		}
	}
	untag(&node)
	var out map[string]any
	if err := node.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// statements finds every policy statement of a template.
func statements(x any) []map[string]any {
	var out []map[string]any
	switch x := x.(type) {
	case map[string]any:
		if x["Effect"] != nil && x["Action"] != nil {
			out = append(out, x)
		}
		for _, v := range x {
			out = append(out, statements(v)...)
		}
	case []any:
		for _, v := range x {
			out = append(out, statements(v)...)
		}
	}
	return out
}

func list(x any) []string {
	if s, ok := x.(string); ok {
		return []string{s}
	}
	var out []string
	for _, v := range x.([]any) {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// TestLeastPrivilege: what the function may do to secrets is bound to those that
// name it, keys to Secrets Manager and the secrets' ARNs, and roles to those
// that the operator names.
func TestLeastPrivilege(t *testing.T) {
	for _, name := range []string{"../template.yaml", "cross-account-role.yaml"} {
		found := statements(load(t, name))
		if len(found) < 3 {
			t.Fatalf("%s: %d statements found", name, len(found))
		}
		for _, s := range found {
			id := fmt.Sprintf("%s: statement %v", filepath.Base(name), s["Sid"])
			condition := fmt.Sprint(s["Condition"])
			for _, action := range list(s["Action"]) {
				if strings.Contains(action, "*") {
					t.Errorf("%s allows %s", id, action)
				}
				if s["Resource"] == "*" {
					t.Errorf("%s allows %s on everything", id, action)
				}
				switch action {
				case "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage":
					if !strings.Contains(condition, "secretsmanager:resource/AllowRotationLambdaArn") {
						t.Errorf("%s allows %s on secrets of other functions", id, action)
					}
				case "kms:Decrypt", "kms:GenerateDataKey":
					if !strings.Contains(condition, "kms:ViaService") || !strings.Contains(condition, "kms:EncryptionContext:SecretARN") {
						t.Errorf("%s allows %s beside Secrets Manager", id, action)
					}
				case "sts:AssumeRole":
					if s["Principal"] != nil && (!strings.Contains(condition, "sts:ExternalId") || !strings.Contains(condition, "aws:PrincipalOrgID")) {
						t.Errorf("%s may be assumed without external ID or from outside the organisation", id)
					}
				}
			}
		}
	}
	permission := load(t, "../template.yaml")["Resources"].(map[string]any)["RotatorPermission"].(map[string]any)["Properties"].(map[string]any)
	if permission["Principal"] != "secretsmanager.amazonaws.com" || permission["SourceAccount"] != "AWS::AccountId" {
		t.Errorf("the function may be called by %v for account %v", permission["Principal"], permission["SourceAccount"])
	}
}

// TestVariablesAreDeclared: `sam local` passes on only what the template
// declares, and the README explains what there is.
func TestVariablesAreDeclared(t *testing.T) {
	function := load(t, "../template.yaml")["Resources"].(map[string]any)["RotatorFunction"].(map[string]any)["Properties"].(map[string]any)
	declared := function["Environment"].(map[string]any)["Variables"].(map[string]any)
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	getenv := regexp.MustCompile(`getenv\("([A-Z_]+)"\)`)
	option := regexp.MustCompile(`o\.(?:text|bool)\("([a-z-]+)"`)
	var read []string
	for _, pattern := range []string{"../internal/function/*.go", "../rotation/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range getenv.FindAllStringSubmatch(strings.ReplaceAll(string(text), "cfg.Getenv(", "getenv("), -1) {
				read = append(read, m[1])
			}
			for _, m := range option.FindAllStringSubmatch(strings.ReplaceAll(string(text), "options.text", "o.text"), -1) {
				read = append(read, strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")))
			}
		}
	}
	if !slices.Contains(read, "PASSWORD_LENGTH") || !slices.Contains(read, "CA_BUNDLE") {
		t.Fatalf("the variables were not found in the code: %v", read)
	}
	for _, name := range read {
		if _, ok := declared[name]; !ok {
			t.Errorf("the code reads %s, which the template does not declare", name)
		}
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("the code reads %s, which the README does not explain", name)
		}
	}
}
