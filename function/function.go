// Package function is the rotation function as a library, for a program that adds an engine to it.
// docs/own-engine.md shows one.
package function

import (
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/rotator/internal/function"
	"example.com/rotator/rotation/engine"
)

// Main runs the rotation function with this module's engines and the given ones, and does not return.
// If a given engine has the name of one of this module's, it replaces that. Settings, log and metrics
// are those of cmd/rotator; the log names version.
func Main(version string, engines ...engine.Constructor) {
	handler := function.NewHandler(function.Getenv, function.NewLog(function.Getenv, os.Stdout), os.Stdout, version, engines...)
	log.SetFlags(0)
	log.SetOutput(handler.RuntimeLog())
	lambda.Start(handler)
}
