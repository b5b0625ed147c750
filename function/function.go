// Package function lets a program add an engine to the rotation function. docs/own-engine.md shows how.
package function

import (
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/rotator/internal/function"
	"example.com/rotator/rotation/engine"
)

// Main runs the rotation function with this module's engines and the given ones, and does not return. A given engine
// replaces this module's engine of the same name. Settings, log and metrics are as in cmd/rotator; the log shows
// version.
func Main(version string, engines ...engine.Constructor) {
	handler := function.NewHandler(function.Getenv, function.NewLog(function.Getenv, os.Stdout), os.Stdout, version,
		engines...)
	log.SetFlags(0)
	log.SetOutput(handler.RuntimeLog())
	lambda.Start(handler)
}
