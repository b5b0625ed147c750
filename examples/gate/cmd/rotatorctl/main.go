// Command rotatorctl is the operator's tool with the engine gate.
package main

import (
	"example.com/gate"
	"example.com/rotator/ctl"
)

func main() { ctl.Main("1.0", gate.New) }
