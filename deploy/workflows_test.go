package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A workflow is the part of GitHub's format that these tests judge:
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
type workflow struct {
	On          any
	Permissions any
	Jobs        map[string]struct {
		Permissions any
		Uses        string
		Timeout     int `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	names, err := filepath.Glob("../.github/workflows/*")
	if err != nil || len(names) != 2 {
		t.Fatalf("workflows: %v (%v)", names, err)
	}
	out := make(map[string]workflow)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(data, &w); err != nil {
			t.Fatal(err)
		}
		if len(w.Jobs) == 0 {
			t.Fatalf("%s has no jobs", name)
		}
		out[filepath.Base(name)] = w
	}
	return out
}

// TestActionsArePinned: by the hash of a commit, since a tag can be moved, and with
// the version beside it for people.
func TestActionsArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	hashes := make(map[string]string)
	for name, w := range workflows(t) {
		text, err := os.ReadFile("../.github/workflows/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for job, j := range w.Jobs {
			uses := []string{j.Uses}
			for _, s := range j.Steps {
				uses = append(uses, s.Uses)
			}
			for _, u := range uses {
				if u == "" {
					continue
				}
				if !pinned.MatchString(u) {
					t.Errorf("%s, job %s: %s is not pinned by a commit", name, job, u)
				}
				if !regexp.MustCompile(regexp.QuoteMeta(u) + ` # v\d+\.\d+\.\d+\n`).Match(text) {
					t.Errorf("%s, job %s: %s does not say its version", name, job, u)
				}
				action, hash, _ := strings.Cut(u, "@")
				if hashes[action] != "" && hashes[action] != hash {
					t.Errorf("%s: %s is used at two commits", name, action)
				}
				hashes[action] = hash
			}
		}
	}
	if len(hashes) < 4 {
		t.Errorf("only %v were found", hashes)
	}
}

// TestWorkflowsMayDoLittle: a workflow may read, and only the job that publishes
// may write; that one runs nothing of the project's and no third party's action.
func TestWorkflowsMayDoLittle(t *testing.T) {
	for name, w := range workflows(t) {
		if got := fmt.Sprint(w.Permissions); got != "map[contents:read]" {
			t.Errorf("%s has the permissions %s", name, got)
		}
		if on := fmt.Sprint(w.On); strings.Contains(on, "pull_request_target") || strings.Contains(on, "workflow_run") {
			t.Errorf("%s gives rights to other people's changes: %s", name, on)
		}
		for job, j := range w.Jobs {
			if j.Timeout == 0 {
				t.Errorf("%s, job %s: no time limit", name, job)
			}
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
					t.Errorf("%s, job %s: the token stays in the checkout", name, job)
				}
				// What others can choose, such as a branch's name, must not become
				// part of a command.
				if strings.Contains(s.Run, "${{ github.") || strings.Contains(s.Run, "secrets.") {
					t.Errorf("%s, job %s: a command is made of %s", name, job, s.Run)
				}
			}
			if name == "release.yml" && job == "publish" {
				if got := fmt.Sprint(j.Permissions); got != "map[attestations:write contents:write id-token:write]" {
					t.Errorf("%s, job %s has the permissions %s", name, job, got)
				}
				for _, s := range j.Steps {
					if s.Uses != "" && (!strings.HasPrefix(s.Uses, "actions/") || strings.HasPrefix(s.Uses, "actions/checkout@")) {
						t.Errorf("%s, job %s: %s runs with rights to write", name, job, s.Uses)
					}
				}
			} else if j.Permissions != nil {
				t.Errorf("%s, job %s has the permissions %v", name, job, j.Permissions)
			}
		}
	}
}

// TestWorkflowsDoTheirWork: on every change tests, lint, known vulnerabilities, SAM
// and the files of a release for both processors; on tags a release.
func TestWorkflowsDoTheirWork(t *testing.T) {
	run := func(w workflow) string {
		var out []string
		for _, job := range slices.Sorted(maps.Keys(w.Jobs)) {
			for _, s := range w.Jobs[job].Steps {
				out = append(out, s.Run)
			}
		}
		return strings.Join(out, "\n")
	}
	all := workflows(t)
	for _, want := range []string{".ci/run", "govulncheck ./...", "cfn-lint", "sam validate --lint", "sam build", "make release", "cmp build/release/SHA256SUMS", "terraform fmt -check", "deploy/terraform validate", "deploy/terraform test"} {
		if !strings.Contains(run(all["ci.yml"]), want) {
			t.Errorf("ci.yml does not run %s", want)
		}
	}
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"make lint", "make test", "cfn-lint template.yaml deploy/*.yaml", "cdk terraform"} {
		if !strings.Contains(string(script), want) {
			t.Errorf(".ci/run does not run %s", want)
		}
	}
	release := all["release.yml"]
	if got := fmt.Sprint(release.On); got != "map[push:map[tags:[v*]]]" {
		t.Errorf("release.yml runs on %s", got)
	}
	for _, want := range []string{"make release", "sha256sum --check --strict", "gh release create"} {
		if !strings.Contains(run(release), want) {
			t.Errorf("release.yml does not run %s", want)
		}
	}
}
