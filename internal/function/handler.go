// Package function contains the Lambda handler, and connects the core to AWS and to the engines. The operator's tool
// uses the same connections to see what the function would see.
package function

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Handler is the Lambda function.
type Handler struct {
	rotator  *rotation.Rotator
	clients  *clients
	getenv   func(string) string
	log      *slog.Logger
	build    string // the version of this program
	fault    error  // in the configuration
	observe  func(rotation.Observation)
	warm     atomic.Bool  // set by the first event
	answered atomic.Value // the text of the last error
}

// Getenv is os.Getenv, except that it returns a space for an EXCLUDE_CHARACTERS that is set and empty. No password has
// a space, so nothing is excluded, as in AWS's templates. `sam local`, which sets AWS_SAM_LOCAL, is exempt because it
// also sets the variables that a template leaves out.
// Source: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-using-invoke.html
func Getenv(name string) string {
	v, set := os.LookupEnv(name)
	if name == "EXCLUDE_CHARACTERS" && set && v == "" && os.Getenv("AWS_SAM_LOCAL") == "" {
		return " "
	}
	return v
}

// NewHandler reads the configuration from the environment. It makes no network call, which keeps a cold start to
// milliseconds. If the configuration is invalid, the handler fails every event with that cause instead of crashing. It
// serves own and this module's engines; if a name is in both, own wins.
//
// Metrics are written to out in CloudWatch's embedded format, unless METRICS=off. build is the version of this program;
// the first event logs it, because a line before that would delay the start.
func NewHandler(
	getenv func(string) string, log *slog.Logger, out io.Writer, build string, own ...engine.Constructor,
) *Handler {
	// Lambda, sam local and the simulator set the name. Other environments may not.
	h := &Handler{getenv: getenv, log: log, build: build, observe: metrics{out,
		cmp.Or(getenv("AWS_LAMBDA_FUNCTION_NAME"), "unknown"), cmp.Or(getenv("AWS_LAMBDA_LOG_LEVEL"), "INFO")}.write}
	settings, err := Settings(getenv)
	on := true
	if err == nil {
		on, err = engine.ParseBool("METRICS", settings("METRICS"), true)
	}
	if !on {
		h.observe = func(rotation.Observation) {}
	}
	if h.fault = err; err == nil {
		h.rotator, h.clients, h.fault = wire(settings, log, h.observe, nil, own)
	}
	return h
}

// NewRotator returns the rotator that a function with this environment uses, with additional engines and the caller's
// SDK configuration. handshake, if not nil, is called for every verified connection to a target. The error is an
// *engine.Error with the cause InvalidConfiguration.
func NewRotator(
	getenv func(string) string, log *slog.Logger, cfg aws.Config, handshake func(tls.ConnectionState),
	own ...engine.Constructor,
) (*rotation.Rotator, error) {
	settings, err := Settings(getenv)
	if err != nil {
		return nil, err
	}
	r, clients, err := wire(settings, log, nil, handshake, own)
	if err == nil {
		clients.load = func() (aws.Config, error) { return cfg, nil }
	}
	return r, err
}

func wire(
	getenv func(string) string, log *slog.Logger, observe func(rotation.Observation),
	handshake func(tls.ConnectionState), own []engine.Constructor,
) (*rotation.Rotator, *clients, error) {
	policy, err := tlsPolicy(getenv)
	if err != nil {
		return nil, nil, err
	}
	policy.Handshake = handshake
	clients, err := newClients(getenv)
	if err != nil {
		return nil, nil, err
	}
	var list []engine.Engine
	for _, construct := range own {
		list = append(list, construct(policy))
	}
	ours, err := engines(policy, clients, getenv)
	if err != nil {
		return nil, nil, err
	}
	r, err := rotation.New(rotation.Config{
		Engines:  append(list, ours...), // the first that serves a name wins
		Secrets:  clients.secretsManager,
		Getenv:   getenv,
		Log:      log,
		Observe:  observe,
		Topology: topology{clients.databases},
	})
	return r, clients, err
}

// Invoke runs one step of a rotation. An error carries the name of its cause, which Lambda shows as errorType.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	log, function := h.invocation(ctx), ""
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		function = lc.InvokedFunctionArn
	}
	var event rotation.Event
	err := cmp.Or(h.fault, event.UnmarshalJSON(payload))
	if err == nil {
		err = h.clients.admits(event, function)
	}
	if err != nil {
		log.Error("event not handled", "step", event.Step, "secret", event.SecretID, "version", event.ClientRequestToken,
			"cause", engine.CauseOf(err), "error", err.Error())
		h.observe(rotation.Observation{Secret: event.SecretID, Version: event.ClientRequestToken, Cause: engine.CauseOf(err)})
		return nil, h.failure(err)
	}
	if err := h.rotator.WithLog(log).Handle(withLog(ctx, log, event), event); err != nil {
		return nil, h.failure(err)
	}
	return []byte("null"), nil
}

// failure returns an error that Lambda shows under the name of its cause.
func (h *Handler) failure(err error) error {
	h.answered.Store(err.Error())
	return messages.InvokeResponse_Error{Message: err.Error(), Type: string(engine.CauseOf(err))}
}

// tlsPolicy reads the settings of connections that only the function's operator may choose.
func tlsPolicy(getenv func(string) string) (engine.TLSPolicy, error) {
	var p engine.TLSPolicy
	var err error
	const plaintext = "ALLOW_PLAINTEXT_FALLBACK"
	if p.AllowPlaintext, err = engine.ParseBool(plaintext, getenv(plaintext), false); err != nil {
		return p, err
	}
	bundle := getenv("CA_BUNDLE")
	if bundle != "" && !strings.Contains(bundle, "-----BEGIN") {
		data, err := os.ReadFile(bundle)
		if err != nil {
			return p, engine.Errorf(engine.InvalidConfiguration, "set CA_BUNDLE to PEM text or the path of a PEM file",
				"the CA bundle cannot be read: %w", err)
		}
		bundle = string(data)
	}
	p.ExtraCAs = []byte(bundle)
	return p, p.Check()
}
