package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"example.com/rotator/rotation"
)

// handler is the Lambda function.
type handler struct {
	rotator *rotation.Rotator
	clients *clients
	log     *slog.Logger
	fault   error // of the configuration
}

// newHandler reads the configuration from the environment. It makes no call, so
// that a cold start costs milliseconds.
func newHandler(getenv func(string) string, log *slog.Logger) *handler {
	h := &handler{log: log}
	tls, err := tlsPolicy(getenv)
	if err != nil {
		h.fault = err
		return h
	}
	if h.clients, err = newClients(getenv); err != nil {
		h.fault = err
		return h
	}
	h.rotator, h.fault = rotation.New(rotation.Config{
		Engines: engines(tls),
		Secrets: h.clients.secretsManager,
		Getenv:  getenv,
		Log:     log,
	})
	return h
}

// Invoke takes one step. An error leaves it under its cause's name, which Lambda
// shows as errorType.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	log := h.log
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		log = log.With("request_id", lc.AwsRequestID)
	}
	err := h.fault
	var event rotation.Event
	if err == nil {
		err = decode(payload, &event)
	}
	if err == nil {
		err = h.clients.admits(event)
	}
	if err != nil {
		log.Error("event not handled", "cause", rotation.CauseOf(err), "error", err.Error())
		return nil, failure(err)
	}
	if err := h.rotator.WithLog(log).Handle(ctx, event); err != nil {
		return nil, failure(err)
	}
	return []byte("null"), nil
}

// decode reads an event. Nothing of a payload that is no event is shown.
func decode(payload []byte, event *rotation.Event) error {
	err := json.Unmarshal(payload, event)
	if e, ok := errors.AsType[*rotation.Error](err); ok {
		return e
	}
	if err != nil {
		return rotation.Errorf(rotation.InvalidEvent, "send the event that Secrets Manager sends", "the event is not JSON")
	}
	return nil
}

// failure names an error by its cause.
func failure(err error) error {
	return messages.InvokeResponse_Error{Message: err.Error(), Type: string(rotation.CauseOf(err))}
}

// tlsPolicy reads what only the function's operator may decide of connections.
func tlsPolicy(getenv func(string) string) (rotation.TLSPolicy, error) {
	var p rotation.TLSPolicy
	switch strings.ToLower(getenv("ALLOW_PLAINTEXT_FALLBACK")) {
	case "", "false":
	case "true":
		p.AllowPlaintext = true
	default:
		return p, rotation.Errorf(rotation.InvalidConfiguration, "set it to true or false", "ALLOW_PLAINTEXT_FALLBACK is neither true nor false")
	}
	bundle := getenv("CA_BUNDLE")
	if bundle != "" && !strings.Contains(bundle, "-----BEGIN") {
		data, err := os.ReadFile(bundle)
		if err != nil {
			return p, rotation.Errorf(rotation.InvalidConfiguration, "give PEM text or the path of a PEM file in CA_BUNDLE", "the CA bundle cannot be read: %w", err)
		}
		bundle = string(data)
	}
	p.ExtraCAs = []byte(bundle)
	return p, p.Check()
}
