package engine_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ofAWS lists the engines whose target is AWS.
var ofAWS = []string{"awscache", "directory", "iam", "influxdb2"}

// TestContractKnowsNeitherAWSNorTheMachine: no engine imports the machine, and only engines for AWS import AWS's SDK.
func TestContractKnowsNeitherAWSNorTheMachine(t *testing.T) {
	const module = "example.com/rotator/rotation"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		deps := strings.Fields(line)
		name, in := strings.CutPrefix(deps[0], module+"/")
		if !in || strings.HasPrefix(name, "internal/") || name == "enginetest" || strings.HasPrefix(name, "operator") {
			continue
		}
		seen++
		for _, d := range deps[1:] {
			if d == module || !slices.Contains(ofAWS, name) &&
				(strings.HasPrefix(d, "github.com/aws/") || strings.HasPrefix(d, "example.com/rotator/internal/aws")) {
				t.Errorf("%s imports %s", deps[0], d)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d packages", seen)
	}
}

// TestFunctionLinksNoTools: neither the function nor a program that adds an engine to it links code that only operators
// and tests use.
func TestFunctionLinksNoTools(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "example.com/rotator/cmd/rotator", "example.com/rotator/function").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "example.com/rotator/rotation") {
		t.Errorf("the function does not link the machine: %v", deps)
	}
	for _, d := range deps {
		for _, tool := range []string{
			"rotation/operator", "rotation/enginetest", "ctl", "cmd/rotatorctl", "sim", "internal/testing", "internal/dev",
		} {
			if p := "example.com/rotator/" + tool; d == p || strings.HasPrefix(d, p+"/") {
				t.Errorf("the function links %s", d)
			}
		}
	}
}
