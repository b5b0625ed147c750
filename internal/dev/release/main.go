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
	flag.StringVar(&r.out, "out", "", "folder for the files; must be empty or not exist")
	flag.StringVar(&r.version, "version", "", "version that the programs report, such as v1.2.3")
	flag.StringVar(&r.commit, "commit", "", "commit of the version")
	flag.StringVar(&r.tags, "tags", "", "build tags")
	only := flag.String("only", "", "platforms, such as lambda-arm64,linux-amd64; empty for all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	wanted := slices.DeleteFunc(slices.Clone(artifacts), func(a artifact) bool {
		return *only != "" && !slices.Contains(strings.Split(*only, ","), a.platform)
	})
	if err := r.make(ctx, wanted); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// An artifact is one file of a release, built from the package cmd/name. The function's is a zip.
type artifact struct {
	name         string // before the version
	platform     string // after the version
	goos, goarch string
}

const theFunction = "rotator"

// artifacts are the contents of a release. The zips' names have x86_64, Lambda's name for amd64.
var artifacts = []artifact{
	{theFunction, "lambda-arm64", "linux", "arm64"},
	{theFunction, "lambda-x86_64", "linux", "amd64"},
	{"rotatorctl", "linux-amd64", "linux", "amd64"},
	{"rotatorctl", "linux-arm64", "linux", "arm64"},
	{"rotatorctl", "darwin-amd64", "darwin", "amd64"},
	{"rotatorctl", "darwin-arm64", "darwin", "arm64"},
}

// A release is built from the source in the current folder and written to out.
type release struct {
	out, version, commit, tags string
	sums                       []byte // SHA256SUMS, in the format of sha256sum
}

// versions matches versions that are safe in file names and linker flags.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]*$`)

// make builds the artifacts and writes them, their bills of materials and SHA256SUMS. It refuses a folder that is not
// empty, because a file of an older release would look like part of this one.
func (r *release) make(ctx context.Context, artifacts []artifact) error {
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
	for _, a := range artifacts {
		if err := r.add(ctx, a); err != nil {
			return fmt.Errorf("%s %s: %w", a.name, a.platform, err)
		}
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), r.sums, 0o644)
}

// add builds an artifact and writes it and its bill of materials.
func (r *release) add(ctx context.Context, a artifact) error {
	binary, err := r.build(ctx, a)
	if err != nil {
		return err
	}
	bill, err := billOfMaterials(a.name, r.version, binary)
	if err != nil {
		return err
	}
	name := a.name + "-" + r.version + "-" + a.platform
	if err := r.write(name+".cdx.json", bill, 0o644); err != nil {
		return err
	}
	if a.name != theFunction {
		return r.write(name, binary, 0o755)
	}
	zip, err := zipped(binary)
	if err != nil {
		return err
	}
	return r.write(name+".zip", zip, 0o644)
}

// build compiles an artifact. It ignores the environment's Go settings, because each could change the binary.
func (r *release) build(ctx context.Context, a artifact) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	binary := filepath.Join(scratch, a.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-tags", r.tags, "-ldflags", "-s -w -X main.version="+r.version+" -X example.com/rotator/ctl.commit="+r.commit,
		"-o", binary, "./cmd/"+a.name)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off",
		"CGO_ENABLED=0", "GOOS="+a.goos, "GOARCH="+a.goarch, "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(binary)
}

// write writes a file and adds its checksum.
func (r *release) write(name string, data []byte, mode os.FileMode) error {
	r.sums = fmt.Appendf(r.sums, "%x  %s\n", sha256.Sum256(data), name)
	return os.WriteFile(filepath.Join(r.out, name), data, mode)
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
	if err == nil {
		_, err = w.Write(bootstrap)
	}
	err = errors.Join(err, z.Close())
	return out.Bytes(), err
}
