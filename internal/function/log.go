package function

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"example.com/rotator/rotation"
)

// levels are the values of AWS_LAMBDA_LOG_LEVEL.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
var levels = map[string]slog.Level{
	"TRACE": slog.LevelDebug - 4, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo,
	"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4,
}

// NewLog returns the function's log: JSON lines with the field names of Lambda's JSON logging and of Powertools, from
// the function's configured level, or INFO.
// Source: https://docs.aws.amazon.com/powertools/python/latest/core/logger/#standard-structured-keys
func NewLog(getenv func(string) string, out io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{
		Level:       levels[getenv("AWS_LAMBDA_LOG_LEVEL")], // INFO is the zero Level
		ReplaceAttr: lambdacontext.ReplaceAttr,
	}))
}

// RuntimeLog returns the writer for the standard log, to which aws-lambda-go prints every error that it returns to
// Lambda. The writer drops the handler's errors, which are already logged.
func (h *Handler) RuntimeLog() io.Writer { return runtimeLog{h} }

type runtimeLog struct{ *Handler }

func (r runtimeLog) Write(message []byte) (int, error) {
	var answer messages.InvokeResponse_Error
	if json.Unmarshal(message, &answer) != nil || answer.Message != r.answered.Load() {
		r.log.Error("the Lambda runtime client failed", "error", strings.TrimSpace(string(message)))
	}
	return len(message), nil
}

// invocation returns the log of one invocation. Only tests have no Lambda context.
func (h *Handler) invocation(ctx context.Context) *slog.Logger {
	cold := !h.warm.Swap(true)
	log := h.log
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		log = log.With("function_request_id", lc.AwsRequestID, "function_name", h.getenv("AWS_LAMBDA_FUNCTION_NAME"),
			"function_version", h.getenv("AWS_LAMBDA_FUNCTION_VERSION"), "cold_start", cold)
	}
	// Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
	trace, _ := ctx.Value("x-amzn-trace-id").(string) // as aws-lambda-go names it
	trace, _, _ = strings.Cut(trace, ";")
	if id, ok := strings.CutPrefix(trace, "Root="); ok {
		log = log.With("xray_trace_id", id)
	}
	if cold {
		log.Info("started", "build", h.build)
		// 1 MB of the heap is in use, and by default garbage may add 3 MB. A collection before the first event would
		// only delay the start.
		debug.SetGCPercent(50)
	}
	return log
}

// logKey is the context key of the log that logCall writes to.
type logKey struct{}

// withLog returns the context for the event's calls to AWS.
func withLog(ctx context.Context, log *slog.Logger, e rotation.Event) context.Context {
	log = log.With("step", e.Step, "secret", e.SecretID, "version", e.ClientRequestToken)
	return context.WithValue(ctx, logKey{}, log)
}

// logCall makes an SDK client log each call, once for all of its attempts.
func logCall(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("LogCall", timeCall), middleware.After)
}

func timeCall(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	middleware.InitializeOutput, middleware.Metadata, error,
) {
	begin := time.Now()
	out, metadata, err := next.HandleInitialize(ctx, in)
	if log, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		code := "OK"
		if api, answered := errors.AsType[smithy.APIError](err); answered {
			code = api.ErrorCode()
		} else if err != nil {
			code = "none"
		}
		log.Debug("AWS called",
			"service", awsmiddleware.GetServiceID(ctx), "operation", awsmiddleware.GetOperationName(ctx),
			"code", code, "duration_ms", time.Since(begin).Milliseconds())
	}
	return out, metadata, err
}
