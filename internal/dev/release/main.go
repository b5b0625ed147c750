// Command release builds the files of a release: the function's zips for both processors, rotatorctl for four
// platforms, a bill of materials for each, and their checksums. The same commit, version and Go toolchain give the same
// bytes in any folder at any time; see docs/releasing.md. It needs no network if the modules are in Go's cache.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	var r release
	flag.StringVar(&r.dir, "dir", ".", "folder of the source")
	flag.StringVar(&r.out, "out", "", "folder for the files; must be empty or not exist")
	flag.StringVar(&r.version, "version", "", "version that the programs report, such as v1.2.3")
	flag.StringVar(&r.commit, "commit", "", "commit of the version")
	flag.StringVar(&r.tags, "tags", "", "build tags")
	only := flag.String("only", "", "platforms, such as lambda-arm64,linux-amd64; empty for all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	wanted := artifacts
	if *only != "" {
		wanted = slices.DeleteFunc(slices.Clone(artifacts), func(a artifact) bool {
			return !slices.Contains(strings.Split(*only, ","), a.platform)
		})
	}
	if err := r.make(ctx, wanted); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// An artifact is one file of a release.
type artifact struct {
	name         string // before the version
	platform     string // after the version
	pkg          string
	goos, goarch string
	zipped       bool // as bootstrap in a zip, for Lambda
}

// artifacts are the contents of a release. The zips' names have x86_64, Lambda's name for amd64.
var artifacts = []artifact{
	{name: "rotator", platform: "lambda-arm64", pkg: "./cmd/rotator", goos: "linux", goarch: "arm64", zipped: true},
	{name: "rotator", platform: "lambda-x86_64", pkg: "./cmd/rotator", goos: "linux", goarch: "amd64", zipped: true},
	{name: "rotatorctl", platform: "linux-amd64", pkg: "./cmd/rotatorctl", goos: "linux", goarch: "amd64"},
	{name: "rotatorctl", platform: "linux-arm64", pkg: "./cmd/rotatorctl", goos: "linux", goarch: "arm64"},
	{name: "rotatorctl", platform: "darwin-amd64", pkg: "./cmd/rotatorctl", goos: "darwin", goarch: "amd64"},
	{name: "rotatorctl", platform: "darwin-arm64", pkg: "./cmd/rotatorctl", goos: "darwin", goarch: "arm64"},
}

// A release is built from the source in dir and written to out.
type release struct {
	dir, out, version, commit, tags string
}

// versions matches versions that are safe in file names and linker flags.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]*$`)

// make builds the artifacts and writes them, their bills of materials and SHA256SUMS. It refuses a folder that is not
// empty, because a file of an older release would look like part of this one.
func (r release) make(ctx context.Context, artifacts []artifact) error {
	if !versions.MatchString(r.version) {
		return fmt.Errorf("version %q: use letters, digits, dots, plus and minus signs; outside a git checkout, "+
			"VERSION=v1.2.3 make release", r.version)
	}
	if len(artifacts) == 0 {
		return errors.New("no platform has that name")
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if old, err := os.ReadDir(r.out); err != nil {
		return err
	} else if len(old) > 0 {
		return fmt.Errorf("%s is not empty", r.out)
	}
	scratch, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for _, a := range artifacts {
		binary := filepath.Join(scratch, a.name+"-"+a.platform)
		if err := r.build(ctx, a, binary); err != nil {
			return err
		}
		if err := r.write(a, binary); err != nil {
			return fmt.Errorf("%s %s: %w", a.name, a.platform, err)
		}
	}
	return checksums(r.out)
}

// build compiles an artifact. It ignores the environment's Go settings, because each could change the binary.
func (r release) build(ctx context.Context, a artifact, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-tags", r.tags, "-ldflags", "-s -w -X main.version="+r.version+" -X example.com/rotator/ctl.commit="+r.commit,
		"-o", to, a.pkg)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off",
		"CGO_ENABLED=0", "GOOS="+a.goos, "GOARCH="+a.goarch, "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s for %s/%s: %w\n%s", a.pkg, a.goos, a.goarch, err, out)
	}
	return nil
}

// write writes an artifact and its bill of materials to the release.
func (r release) write(a artifact, binary string) error {
	path := filepath.Join(r.out, a.name+"-"+r.version+"-"+a.platform)
	data, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	bill, err := billOfMaterials(a.name, r.version, binary, data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".cdx.json", bill, 0o644); err != nil {
		return err
	}
	if !a.zipped {
		return os.WriteFile(path, data, 0o755)
	}
	data, err = zipped(data)
	if err != nil {
		return err
	}
	return os.WriteFile(path+".zip", data, 0o644)
}

// checksums writes SHA256SUMS for the other files in a folder, in the format of sha256sum and ordered by name.
func checksums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), e.Name()))
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}

// zipTime is the earliest time that a zip can hold. Every build uses it.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zipped returns a zip with the single file bootstrap, which Lambda's runtime provided.al2023 executes. Everyone may
// read and execute it, because Lambda does not run it as its owner.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
func zipped(bootstrap []byte) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: zipTime}
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(bootstrap); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
