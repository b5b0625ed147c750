// Command rotatorctl is the operator's tool for the rotation function, and runs the local simulator. It is
// never deployed.
package main

import "example.com/rotator/ctl"

// version is set by the linker in a release.
var version = "unreleased"

func main() { ctl.Main(version) }
