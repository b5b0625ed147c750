package testserver

import (
	"path/filepath"
	"strings"
)

// unpacked is the command that runs a program of the Debian packages that
// scripts/deps.sh has unpacked into a directory of the cache: through their own
// dynamic loader, with their own libraries, because the system's are of another
// release. It returns the directory too.
func unpacked(name, program, target string) (command []string, root string, err error) {
	path, ok := cached(filepath.Join(name, program))
	if !ok {
		return nil, "", missing(filepath.Base(program), target)
	}
	root = strings.TrimSuffix(path, "/"+program)
	// The place differs by architecture: usr/lib64 on amd64, usr/lib on arm64.
	loaders, _ := filepath.Glob(filepath.Join(root, "usr/lib*/ld-linux-*.so.*"))
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if len(loaders) == 0 || len(libraries) == 0 {
		return nil, "", missing(filepath.Base(program)+"'s own libc", target)
	}
	return []string{loaders[0], "--library-path", libraries[0], "--argv0", filepath.Base(program), path}, root, nil
}
