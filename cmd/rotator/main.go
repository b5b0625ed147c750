// Command rotator is the rotation function: the bootstrap of a Lambda function on
// provided.al2023 that Secrets Manager calls for each step of a rotation. It is
// wiring and configuration only; what it does stands in package rotation and in
// the engines.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	level := slog.LevelInfo
	if s := os.Getenv("AWS_LAMBDA_LOG_LEVEL"); s != "" {
		_ = level.UnmarshalText([]byte(s)) // an unknown level leaves it at info
	}
	log := slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: level}))
	h := newHandler(os.Getenv, log)
	if h.fault != nil {
		// The function answers all the same, so that the rotation fails with a
		// cause that can be alarmed on and not with a crash.
		log.Error("the configuration is invalid", "error", h.fault.Error())
	}
	lambda.Start(h)
}
