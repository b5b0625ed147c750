package engine_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ofAWS are the engines whose target is AWS.
var ofAWS = []string{"elasticache", "iam", "influxdb2", "memorydb"}

// TestContractKnowsNeitherAWSNorTheMachine: nor does an engine whose target is not AWS.
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
		if !in || strings.HasPrefix(name, "internal/") || name == "enginetest" {
			continue
		}
		seen++
		for _, d := range deps[1:] {
			if d == module || !slices.Contains(ofAWS, name) && (strings.HasPrefix(d, "github.com/aws/") || strings.HasPrefix(d, "example.com/rotator/internal/aws")) {
				t.Errorf("%s imports %s", deps[0], d)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d packages", seen)
	}
}
