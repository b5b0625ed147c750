package function

import (
	"cmp"
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/middleware"

	"example.com/rotator/rotation/engine"
)

// environment is the SDK's configuration from the AWS_* variables alone, in which Lambda passes credentials and region.
// The SDK's loader also supports profiles, SSO and instance roles, which a function does not have, and would add a
// fifteenth to the function's size.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
type environment struct{ fips, dualStack bool }

// loadEnvironment reads the configuration. The error has the cause InvalidConfiguration.
func loadEnvironment() (aws.Config, error) {
	var e environment
	for name, flag := range map[string]*bool{
		"AWS_USE_FIPS_ENDPOINT":      &e.fips,
		"AWS_USE_DUALSTACK_ENDPOINT": &e.dualStack,
	} {
		var err error
		if *flag, err = engine.ParseBool(name, os.Getenv(name), false); err != nil {
			return aws.Config{}, err
		}
	}
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if key == "" || secret == "" {
		return aws.Config{}, engine.Errorf(engine.InvalidConfiguration,
			"leave both to Lambda; elsewhere, set both, for the simulator to any text",
			"AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not set")
	}
	cfg := aws.Config{
		Region:        cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		Credentials:   credentials.NewStaticCredentialsProvider(key, secret, os.Getenv("AWS_SESSION_TOKEN")),
		ConfigSources: []any{e},
		APIOptions:    []func(*middleware.Stack) error{logCall},
	}
	if url := os.Getenv("AWS_ENDPOINT_URL"); url != "" {
		cfg.BaseEndpoint = &url
	}
	var roots *x509.CertPool
	if file := os.Getenv("AWS_CA_BUNDLE"); file != "" {
		text, err := os.ReadFile(file)
		roots = x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(text) {
			return cfg, engine.Errorf(engine.InvalidConfiguration,
				"set AWS_CA_BUNDLE to the path of a PEM file in the function's package",
				"AWS_CA_BUNDLE does not name a file with certificates")
		}
	}
	// An unreachable endpoint must be reported before the function times out.
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTimeout(10 * time.Second).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 4 * time.Second }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost, t.TLSClientConfig.RootCAs = 2, roots })
	return cfg, nil
}

// GetServiceBaseEndpoint returns the endpoint of one service. The SDK's clients call it and the other methods, and
// ignore a value that is not found.
func (environment) GetServiceBaseEndpoint(_ context.Context, service string) (string, bool, error) {
	url := os.Getenv("AWS_ENDPOINT_URL_" + strings.ReplaceAll(strings.ToUpper(service), " ", "_"))
	return url, url != "", nil
}

func (e environment) GetUseFIPSEndpoint(context.Context) (state aws.FIPSEndpointState, found bool, err error) {
	return aws.FIPSEndpointStateEnabled, e.fips, nil
}

func (e environment) GetUseDualStackEndpoint(context.Context) (state aws.DualStackEndpointState, found bool, err error) {
	return aws.DualStackEndpointStateEnabled, e.dualStack, nil
}
