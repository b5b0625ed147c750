// Command rotator is the rotation function: the bootstrap of a Lambda function on
// provided.al2023 that Secrets Manager calls for each step of a rotation.
package main

import "example.com/rotator/function"

// version is set by the linker in a release.
var version = "unreleased"

func main() { function.Main(version) }
