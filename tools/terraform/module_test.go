package terraform

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const source = "../../deploy/terraform"

// TestMain acts as the provider if Terraform starts the binary as one.
func TestMain(m *testing.M) {
	if os.Getenv("TF_PLUGIN_MAGIC_COOKIE") == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// terraform runs a command in a folder, with the test binary as AWS's provider.
func terraform(t *testing.T, folder string, args ...string) (string, error) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugins := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(plugins, "terraform-provider-aws")); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(plugins, "terraformrc")
	text := fmt.Appendf(nil, "provider_installation {\n  dev_overrides {\n    \"hashicorp/aws\" = %q\n  }\n}\n", plugins)
	if err := os.WriteFile(settings, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "terraform", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+settings, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// module copies the module, so Terraform leaves nothing in the checkout.
func module(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	return folder
}

// modules are the folders of the function's module and of the module for other accounts' roles, with the results of
// their tests.
var modules = map[string]string{".": "6 passed, 0 failed", "role": "3 passed, 0 failed"}

func TestModulesAreValid(t *testing.T) {
	for name := range modules {
		if out, err := terraform(t, filepath.Join(module(t), name), "validate", "-no-color"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestPlans runs the modules' tests.
func TestPlans(t *testing.T) {
	for name, want := range modules {
		out, err := terraform(t, filepath.Join(module(t), name), "test", "-no-color")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestExamplesAreValid uses the examples on the modules' page as a reader would.
func TestExamplesAreValid(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(source, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := ""
	for _, rest := range strings.Split(string(page), "```hcl\n")[1:] {
		block, _, _ := strings.Cut(rest, "```")
		example += block
	}
	if strings.Count(example, "module ") != 2 {
		t.Fatalf("the page has the examples\n%s", example)
	}
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "deploy/terraform"), os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	// The reader's secrets and external ID, and the module's zip.
	example += "variable \"external_id\" {}\nresource \"aws_secretsmanager_secret\" \"app\" {}\n" +
		"resource \"aws_secretsmanager_secret\" \"superuser\" {}\n"
	for name, text := range map[string]string{"main.tf": example, "rotator-v0.1.0-lambda-x86_64.zip": ""} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := validate(t, folder); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// validate validates a folder that uses modules, which Terraform has to install first.
func validate(t *testing.T, folder string) (string, error) {
	t.Helper()
	// Local modules need no registry.
	if out, err := terraform(t, folder, "get", "-no-color"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return terraform(t, folder, "validate", "-no-color")
}

// TestExampleIsValid: examples/terraform is valid in its place, and would not be if its password got into the state.
func TestExampleIsValid(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"deploy/terraform", "examples/terraform"} {
		if err := os.CopyFS(filepath.Join(root, folder), os.DirFS(filepath.Join("../..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	example := filepath.Join(root, "examples/terraform")
	if out, err := validate(t, example); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	path := filepath.Join(example, "main.tf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stored := strings.Replace(string(text), "secret_string_wo =", "secret_string =", 1)
	if err := os.WriteFile(path, []byte(stored), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := validate(t, example); err == nil || !strings.Contains(out, "Invalid use of ephemeral value") {
		t.Errorf("with the password in the state: %v\n%s", err, out)
	}
}

// TestFaultsAreSeen: the other tests fail if the module has a fault.
func TestFaultsAreSeen(t *testing.T) {
	for _, c := range []struct{ name, command, old, new, want string }{
		{"an argument that does not exist", "validate", "memory_size                    =", "memory =",
			"Unsupported argument"},
		{"a required argument is missing", "validate", `principal      = "secretsmanager.amazonaws.com"`, "",
			"Missing required argument"},
		{"a wrong type", "validate", "timeout                        = var.timeout", "timeout = [var.timeout]",
			"Incorrect attribute value type"},
		{"a block that does not exist", "validate", "logging_config {", "log_config {", "Unsupported block type"},
		{"one block too many", "validate", "  tracing_config {\n    mode = var.tracing\n  }\n",
			"  tracing_config {\n    mode = var.tracing\n  }\n  tracing_config {\n    mode = \"Active\"\n  }\n",
			"Too many tracing_config blocks"},
		{"an attribute of another resource", "validate", "aws_iam_role.this.arn", "aws_iam_role.this.invoke_arn",
			"Unsupported attribute"},
		{"a statement for any resource", "test", "[local.secrets]", `["*"]`,
			"The secrets are not those of the account and region"},
		{"a key for another service", "test", `values   = ["secretsmanager.${local.region}.${local.suffix}"]`,
			`values   = ["secretsmanager.${local.region}.${local.suffix}", "s3.${local.region}.${local.suffix}"]`,
			"A statement has another condition"},
		{"a key of any secret", "test", "values   = [local.secrets]", `values   = ["*"]`,
			"A statement has another condition"},
		{"a role of any organization", "test", `for_each = var.rotation_role_organization_id == "" ? [] : [1]`,
			"for_each = []", "A statement has another condition"},
		{"superusers of any name", "test", "resources = var.superuser_secret_arns", "resources = [local.secrets]",
			"about something else"},
		{"a setting that does not arrive", "test", "PASSWORD_LENGTH           = var.password_length",
			`PASSWORD_LENGTH = ""`, "everything_asked_for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := module(t)
			path := filepath.Join(folder, "main.tf")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if changed == string(text) {
				t.Fatalf("the module has no %q", c.old)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := terraform(t, folder, c.command, "-no-color"); err == nil || !strings.Contains(out, c.want) {
				t.Errorf("%v, want %q in\n%s", err, c.want, out)
			}
		})
	}
}
