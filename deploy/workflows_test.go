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

	"gopkg.in/yaml.v3"
)

// workflow is the part of GitHub's format that these tests check:
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
type workflow struct {
	On          any
	Permissions any
	Jobs        map[string]struct {
		Permissions any
		Uses        string
		Container   struct{ Image, Options string }
		Env         map[string]string
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

// TestActionsArePinned: to a commit, because a tag can be moved. A comment has the version for people.
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
					t.Errorf("%s, job %s: %s is not pinned to a commit", name, job, u)
				}
				if !regexp.MustCompile(regexp.QuoteMeta(u) + ` # v\d+\.\d+\.\d+\n`).Match(text) {
					t.Errorf("%s, job %s: %s does not have its version in a comment", name, job, u)
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

// TestWorkflowsMayDoLittle: a workflow may only read. Only the job that publishes may write, and it
// runs neither the project's code nor third-party actions.
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
				// Text that others can choose, such as a branch name, must not become part of a command.
				if strings.Contains(s.Run, "${{ github.") || strings.Contains(s.Run, "secrets.") {
					t.Errorf("%s, job %s: a command contains an expression: %s", name, job, s.Run)
				}
			}
			if name == "release.yml" && job == "publish" {
				if got := fmt.Sprint(j.Permissions); got != "map[attestations:write contents:write id-token:write]" {
					t.Errorf("%s, job %s has the permissions %s", name, job, got)
				}
				for _, s := range j.Steps {
					if s.Uses != "" && (!strings.HasPrefix(s.Uses, "actions/") ||
						strings.HasPrefix(s.Uses, "actions/checkout@")) {
						t.Errorf("%s, job %s: %s runs with rights to write", name, job, s.Uses)
					}
				}
			} else if j.Permissions != nil {
				t.Errorf("%s, job %s has the permissions %v", name, job, j.Permissions)
			}
		}
	}
}

// TestWorkflowsDoTheirWork: on every change, tests, lint, known vulnerabilities, SAM and the files
// of a release for both processors; on tags, a release.
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
	for _, want := range []string{
		".ci/run", "govulncheck ./...", "cfn-lint", "make test-sam", "make release", "cmp build/release/SHA256SUMS",
		"terraform fmt -check", "deploy/terraform validate", "deploy/terraform test",
		"deploy/terraform/role validate", "deploy/terraform/role test",
	} {
		if !strings.Contains(run(all["ci.yml"]), want) {
			t.Errorf("ci.yml does not run %s", want)
		}
	}
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"make lint", "targets=(test test-oracle)", "cfn-lint template.yaml deploy/*.yaml",
		"docker mysql next cdk jest terraform sam",
	} {
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

// TestCIRunsWhereItWasTried: all tests run on the Debian that scripts/deps.sh needs, and none is skipped silently.
func TestCIRunsWhereItWasTried(t *testing.T) {
	job := workflows(t)["ci.yml"].Jobs["test"]
	if !regexp.MustCompile(`^debian:bookworm(@sha256:[0-9a-f]{64})?$`).MatchString(job.Container.Image) {
		t.Errorf("the tests run in %q", job.Container.Image)
	}
	if job.Env["ROTATOR_CI_STRICT"] != "1" {
		t.Error("a test whose server is not available is skipped silently")
	}
	var order []string
	for _, s := range job.Steps {
		action, _, _ := strings.Cut(s.Uses, "@")
		order = append(order, strings.TrimSpace(action+s.Run))
	}
	before := func(first, then string) {
		t.Helper()
		at := func(part string) int {
			return slices.IndexFunc(order, func(s string) bool { return strings.Contains(s, part) })
		}
		if i, j := at(first), at(then); i < 0 || j < 0 || i >= j {
			t.Errorf("%s is step %d, %s is step %d", first, i, then, j)
		}
	}
	before(" git ", "actions/checkout") // checkout otherwise downloads an archive without .git
	before("safe.directory", ".ci/run")
	for _, needed := range []string{
		"actions/setup-go", "actions/setup-node", "hashicorp/setup-terraform", "cfn-lint==", "awscli==", "boto3==",
	} {
		before(needed, ".ci/run")
	}
}

// TestStrictCIFailsIfAToolIsMissing replaces make, go and cfn-lint with fakes, one of which is missing or fails.
func TestStrictCIFailsIfAToolIsMissing(t *testing.T) {
	script, err := filepath.Abs("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for name, missing := range map[string]struct{ without, said string }{
		"nothing":                    {"", ""},
		"Docker":                     {"deps-docker", "docker is not available"},
		"MySQL":                      {"deps-mysql", "mysql is not available"},
		"the newer servers":          {"deps-next", "next is not available"},
		"the CDK":                    {"deps-cdk", "cdk is not available"},
		"Terraform":                  {"deps-terraform", "terraform is not available"},
		"the SAM CLI":                {"deps-sam", "sam is not available"},
		"cfn-lint":                   {"cfn-lint", "NOT linted"},
		"the vulnerability database": {"govulncheck", "NOT checked"},
	} {
		bin := t.TempDir()
		played := map[string]string{
			"make":     `for a; do [ "$a" != "$WITHOUT" ] || exit 1; done; echo "made $*"`,
			"go":       `[ "$WITHOUT" != govulncheck ] || { echo "govulncheck: fetching vulnerabilities: no route"; exit 1; }`,
			"cfn-lint": `exit 0`,
		}
		delete(played, missing.without)
		for program, body := range played {
			if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, strict := range []string{"", "1"} {
			run := exec.CommandContext(t.Context(), script)
			run.Env = []string{
				"PATH=" + bin + ":/usr/bin:/bin", "WITHOUT=" + missing.without, "ROTATOR_CI_STRICT=" + strict,
			}
			out, err := run.CombinedOutput()
			_, end, _ := strings.Cut(string(out), "== could not run here")
			if want := strict == "1" && missing.without != ""; (err != nil) != want ||
				!strings.Contains(end, missing.said) {
				t.Errorf("without %s, ROTATOR_CI_STRICT=%q: %v\n%s", name, strict, err, out)
			}
			_, made, _ := strings.Cut(string(out), "made --jobs=3 ")
			for _, target := range []string{
				"test", "test-oracle", "test-docker", "test-mysql", "test-next", "test-cdk", "test-jest", "test-terraform", "test-sam",
			} {
				left := strings.Replace(target, "test", "deps", 1) == missing.without
				if ran := slices.Contains(strings.Fields(made), target); ran == left {
					t.Errorf("without %s, %s runs: %t\n%s", name, target, ran, out)
				}
			}
		}
	}
}

// TestEveryTagIsVetted: code behind a build tag that nothing vets rots unnoticed.
func TestEveryTagIsVetted(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	vetted := regexp.MustCompile(`vet -tags '([^']*)' \./\.\.\.`).FindStringSubmatch(string(makefile))
	if vetted == nil {
		t.Fatal("make lint vets no tags")
	}
	tags := make(map[string]bool)
	err = filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if m := regexp.MustCompile(`(?m)^//go:build (\w+)$`).FindSubmatch(text); m != nil && string(m[1]) != "ignore" {
			tags[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(vetted[1]), slices.Sorted(maps.Keys(tags)); !slices.Equal(got, want) {
		t.Errorf("make lint vets the tags %v, the code has %v", got, want)
	}
}

// TestDependabotSeesEveryManifest: a module or package that is not in its configuration gets no updates.
func TestDependabotSeesEveryManifest(t *testing.T) {
	data, err := os.ReadFile("../.github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, u := range config.Updates {
		for _, d := range append(u.Directories, u.Directory) {
			known = append(known, u.Ecosystem+" "+d)
		}
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "*go.mod", "*package.json", "*.tf").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		ecosystem := map[string]string{".mod": "gomod", ".json": "npm", ".tf": "terraform"}[filepath.Ext(name)]
		if want := ecosystem + " " + filepath.Join("/", filepath.Dir(name)); !slices.Contains(known, want) {
			t.Errorf("dependabot does not update %s", want)
		}
	}
}

// TestDevContainer: the container has the Go version of go.mod, and the packages that CI installs before the tests.
func TestDevContainer(t *testing.T) {
	data, err := os.ReadFile("../.devcontainer/devcontainer.json")
	if err != nil {
		t.Fatal(err)
	}
	var container struct{ Image, PostCreateCommand string }
	if err := json.Unmarshal(data, &container); err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)[1]
	if want := "golang:" + string(version) + "-bookworm"; container.Image != want {
		t.Errorf("the image is %s, want %s", container.Image, want)
	}
	// The image has these.
	has := []string{"ca-certificates", "curl", "gcc", "git", "libc6-dev", "make"}
	for _, s := range workflows(t)["ci.yml"].Jobs["test"].Steps {
		_, packages, ok := strings.Cut(s.Run, "apt-get install -y --no-install-recommends ")
		for _, p := range strings.Fields(packages) {
			if ok && !slices.Contains(has, p) && !strings.Contains(container.PostCreateCommand, " "+p+" ") {
				t.Errorf("it does not install %s", p)
			}
		}
	}
	if !strings.HasSuffix(container.PostCreateCommand, "make deps") {
		t.Errorf("it runs %s", container.PostCreateCommand)
	}
}
