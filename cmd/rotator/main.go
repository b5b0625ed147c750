// Command rotator is the rotation function: the bootstrap of a Lambda function on
// provided.al2023 that Secrets Manager calls for each step of a rotation. It is
// no more than its log; what it does stands in package rotation and in the engines,
// and how these are wired in package internal/function.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/rotator/internal/function"
)

// version is set by the linker in a release.
var version = "unreleased"

func main() {
	level := slog.LevelInfo
	if s := os.Getenv("AWS_LAMBDA_LOG_LEVEL"); s != "" {
		_ = level.UnmarshalText([]byte(s)) // an unknown level leaves it at info
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: level}))
	log.Info("started", "version", version)
	lambda.Start(function.NewHandler(function.Getenv, log, os.Stdout))
}
