// Command rotator is the rotation function: the bootstrap of a Lambda function on
// provided.al2023 that Secrets Manager calls for each step of a rotation. It only sets up
// its log; package rotation and the engines do the work, and package internal/function wires them.
package main

import (
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/rotator/internal/function"
)

// version is set by the linker in a release.
var version = "unreleased"

func main() {
	handler := function.NewHandler(function.Getenv, function.NewLog(function.Getenv, os.Stdout), os.Stdout, version)
	log.SetFlags(0)
	log.SetOutput(handler.RuntimeLog())
	lambda.Start(handler)
}
