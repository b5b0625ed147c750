package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// these returns the function for this machine's processor and a tool that this machine can run.
func these(t *testing.T) []artifact {
	t.Helper()
	var out []artifact
	for _, a := range artifacts {
		if a.goarch == runtime.GOARCH && (a.name == theFunction || a.goos == runtime.GOOS) {
			out = append(out, a)
		}
	}
	if len(out) != 2 {
		t.Fatalf("a release has %d artifacts for %s/%s", len(out), runtime.GOOS, runtime.GOARCH)
	}
	return out
}

// source copies what a build needs to a folder that is not a git checkout. The copies have different times.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"go.mod", "go.sum", "cmd", "ctl", "function", "internal", "rotation", "sim"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			to := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, data, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command builds the program without the race detector, which would slow down the compression most.
func command(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "release")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// run builds a release from a source folder, with env added to the environment, and returns its folder.
func run(t *testing.T, command, dir string, env ...string) string {
	t.Helper()
	var only []string
	for _, a := range these(t) {
		only = append(only, a.platform)
	}
	out := filepath.Join(t.TempDir(), "release")
	cmd := exec.CommandContext(t.Context(), command, "-out", out, "-version", "v0.0.0-test", "-tags",
		"lambda.norpc", "-only", strings.Join(only, ","))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTwoBuildsOneHash: builds in two folders and two environments give the same bytes of every file.
func TestTwoBuildsOneHash(t *testing.T) {
	sources := []string{source(t), source(t)}
	program := command(t)
	first := run(t, program, sources[0])
	second := run(t, program, sources[1], "GOAMD64=v3", "GOARM64=v9.0", "CGO_ENABLED=1", "GOFLAGS=-tags=with_oracle")

	sums := read(t, first, "SHA256SUMS")
	if got := read(t, second, "SHA256SUMS"); !bytes.Equal(sums, got) {
		t.Errorf("two builds, two hashes:\n%s\n%s", sums, got)
	}

	t.Run("the checksums are those of the files", func(t *testing.T) {
		lines := strings.Split(strings.TrimSuffix(string(sums), "\n"), "\n")
		entries, err := os.ReadDir(first)
		if err != nil {
			t.Fatal(err)
		}
		if want := 2 * len(these(t)); len(lines) != want || len(entries) != want+1 {
			t.Fatalf("%d files and %d checksums, not %d and %d", len(entries), len(lines), want+1, want)
		}
		for _, line := range lines {
			sum, name, _ := strings.Cut(line, "  ")
			if got := fmt.Sprintf("%x", sha256.Sum256(read(t, first, name))); got != sum {
				t.Errorf("%s has the checksum %s, not %s", name, got, sum)
			}
		}
	})
	for _, a := range these(t) {
		path := filepath.Join(first, a.name+"-v0.0.0-test-"+a.platform)
		t.Run(a.name, func(t *testing.T) {
			var program []byte
			if a.name == theFunction {
				program = bootstrap(t, path+".zip")
			} else {
				program = read(t, path)
				out, err := exec.Command(path, "--version").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "v0.0.0-test") {
					t.Errorf("--version says %q (%v)", out, err)
				}
			}
			for _, dir := range sources {
				if bytes.Contains(program, []byte(dir)) {
					t.Errorf("the program names the folder %s that it was built in", dir)
				}
			}
			if !bytes.Contains(program, []byte("v0.0.0-test")) {
				t.Error("the program does not know its version")
			}
			testBill(t, read(t, path+".cdx.json"), program, a)
		})
	}
}

// bootstrap checks that a zip has exactly one file, which Lambda can run, and returns its content.
func bootstrap(t *testing.T, path string) []byte {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) != 1 {
		t.Fatalf("the zip has %d files", len(z.File))
	}
	f := z.File[0]
	if f.Name != "bootstrap" || f.Mode() != 0o755 || !f.Modified.Equal(zipTime) {
		t.Errorf("the zip has %s, mode %v, of %v", f.Name, f.Mode(), f.Modified)
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testBill reads a bill of materials without the library that wrote it. It checks that the bill has the fields and
// formats that the specification requires, and matches the binary.
func testBill(t *testing.T, text, program []byte, a artifact) {
	t.Helper()
	type component struct {
		Type, Name, Version, Purl string
		Ref                       string `json:"bom-ref"`
		Hashes                    []struct{ Alg, Content string }
	}
	var bill struct {
		BomFormat, SpecVersion string
		Version                int
		SerialNumber           string
		Metadata               struct {
			Timestamp string
			Component component
		}
		Components []component
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BomFormat != "CycloneDX" || bill.SpecVersion != "1.6" || bill.Version != 1 {
		t.Errorf("the bill has the format %s %s, version %d", bill.BomFormat, bill.SpecVersion, bill.Version)
	}
	if bill.SerialNumber != "" || bill.Metadata.Timestamp != "" {
		t.Error("the bill has a serial number or a time, which differ in every build")
	}
	main := bill.Metadata.Component
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	if main.Type != "application" || main.Name != a.name || main.Version != "v0.0.0-test" ||
		len(main.Hashes) != 1 || main.Hashes[0].Alg != "SHA-256" || main.Hashes[0].Content != sum {
		t.Errorf("the bill is for %+v, not for %s with the hash %s", main, a.name, sum)
	}
	purl := regexp.MustCompile(`^pkg:golang/[a-z0-9._~/-]+@[0-9A-Za-z.%-]+$`)
	var refs, listed []string
	for _, c := range append(bill.Components, main) {
		if c.Type == "" || c.Name == "" || c.Version == "" || !purl.MatchString(c.Purl) ||
			slices.Contains(refs, c.Ref) {
			t.Errorf("component %+v lacks something, has a malformed URL or another's reference", c)
		}
		refs = append(refs, c.Ref)
	}
	for _, c := range bill.Components {
		listed = append(listed, c.Name+" "+c.Version)
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	goVersion, _, _ := strings.Cut(info.GoVersion, " ")
	linked := []string{"stdlib " + strings.TrimPrefix(goVersion, "go")}
	for _, m := range info.Deps {
		linked = append(linked, m.Path+" "+m.Version)
	}
	slices.Sort(linked)
	slices.Sort(listed)
	if len(linked) < 10 || !slices.Equal(linked, listed) {
		t.Errorf("linked are\n%v\nlisted are\n%v", linked, listed)
	}
}

// TestRefusedReleases: a version that would break a command or a name, or a folder that is not empty, is refused and
// changes nothing.
func TestRefusedReleases(t *testing.T) {
	for _, version := range []string{"", "v1 -X main.version=v2", "../v1", "-v1", "v1/2", "v1\n"} {
		out := filepath.Join(t.TempDir(), "release")
		r := &release{out: out, version: version}
		err := r.make(t.Context(), artifacts)
		if _, statErr := os.Stat(out); err == nil || statErr == nil {
			t.Errorf("version %q: %v; the folder: %v", version, err, statErr)
		}
	}
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "rotator-v1.zip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &release{out: out, version: "v1"}
	if err := r.make(t.Context(), artifacts); err == nil ||
		!strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder with an older release: %v", err)
	}
}

// TestReleaseNotes: the script prints the section of a version, and refuses a version that is not ready.
func TestReleaseNotes(t *testing.T) {
	script, err := filepath.Abs("../../../scripts/release-notes.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"CHANGELOG.md": "# Changelog\n\n## [1.3.0] - Unreleased\n\n- later\n\n" +
			"## [1.2.0] - 2026-02-01\n\n### Added\n\n- this\n\n## [1.1.0] - 2026-01-01\n\n- earlier\n",
		"template.yaml": "Metadata:\n  AWS::ServerlessRepo::Application:\n    SemanticVersion: 1.2.0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ tag, says string }{
		{"v1.2.0", "- this"},
		{"v1.3.0", "give the section a date"},
		{"v1.1.0", "SemanticVersion in template.yaml is not 1.1.0"},
		{"v1.4.0", "no section for 1.4.0"},
		{"v1.2", "no section for 1.2"},
	} {
		cmd := exec.Command(script, test.tag)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), test.says) || (err == nil) != (test.tag == "v1.2.0") {
			t.Errorf("%s: %v\n%s", test.tag, err, out)
		}
		if strings.Contains(string(out), "- earlier") || strings.Contains(string(out), "- later") {
			t.Errorf("%s: lines of another version\n%s", test.tag, out)
		}
	}
}
