// Command rotator is the rotation function with the engine gate.
package main

import (
	"example.com/gate"
	"example.com/rotator/function"
)

func main() { function.Main("1.0", gate.New) }
