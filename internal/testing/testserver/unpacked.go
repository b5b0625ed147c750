package testserver

import "path/filepath"

// trixie is the tree of Debian 13's packages in the cache, created by `make deps-next`.
const trixie = "trixie-1"

// unpacked finds a program in a tree of the cache, and also returns the tree's path.
func unpacked(tree, program, target string) (path, root string, err error) {
	path, ok := cached(filepath.Join(tree, program))
	if !ok {
		return "", "", missing(filepath.Base(program), target)
	}
	return path, path[:len(path)-len(program)-1], nil
}

// release is the root directory of the servers that tests start: the machine's or, with the build
// tag next, the tree of Debian 13.
func release() string {
	if next {
		_, root, _ := unpacked(trixie, "usr/bin", "deps-next")
		return root
	}
	return ""
}
