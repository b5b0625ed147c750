// Package awsapi calls AWS's APIs for the engines whose target is AWS.
package awsapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/httpapi"
)

// Settings returns the SDK's configuration for a secret: region, HTTP client, and the credentials of the function or of
// its role in the secret's account.
type Settings func(ctx context.Context, secret string) (aws.Config, error)

// Config returns the configuration with a limit on the size of responses.
func (s Settings) Config(ctx context.Context, secret string) (aws.Config, error) {
	cfg, err := s(ctx, secret)
	cfg.HTTPClient = bound{cmp.Or[aws.HTTPClient](cfg.HTTPClient, awshttp.NewBuildableClient())}
	return cfg, err
}

// limit limits the bytes of a response, which the SDK reads whole.
const limit = 1 << 20

type bound struct{ aws.HTTPClient }

func (b bound) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.HTTPClient.Do(r)
	if err == nil {
		resp.Body = boundconn.LimitReader(resp.Body, limit)
	}
	return resp, err
}

// Code returns an API error's code, or "".
func Code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// Failed adds a cause and advice to the error of a call.
func Failed(what string, err error) error {
	err = boundconn.Shorten(err)
	switch code := Code(err); {
	case code == "":
		if e := engine.NetworkError(httpapi.Endpoint(err), err); e != nil {
			return e
		}
		return engine.Errorf(engine.TargetFailed, "see the error's text", "%s: %w", what, err)
	case strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation":
		return engine.Errorf(engine.PrivilegeMissing, "allow the actions that the engine's documentation page lists",
			"%s: %w", what, err)
	}
	return engine.Errorf(engine.TargetFailed,
		"check the error code and try again; Secrets Manager retries automatically", "%s: %w", what, err)
}

// Resource returns the ARN of a resource in the region and account of a secret, given by its ARN.
func Resource(secret, service, resource string) string {
	a, _ := arn.Parse(secret)
	a.Service, a.Resource = service, resource
	return a.String()
}
