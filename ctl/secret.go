package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// view is what the commands that look at one secret have in common.
type view struct {
	command *cobra.Command
	timeout time.Duration
	verbose bool
	// override, if set, returns what a setting with the value counts as.
	override func(name, value string) string
	cfg      aws.Config // read by client
	peer     peer
}

// peer is what the certificates of a target's servers say.
type peer struct {
	mu     sync.Mutex
	leaf   *x509.Certificate // the one that expires first
	server string
}

// meet notes the certificate of a connection.
func (p *peer) meet(s tls.ConnectionState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if leaf := s.PeerCertificates[0]; p.leaf == nil || leaf.NotAfter.Before(p.leaf.NotAfter) {
		p.leaf, p.server = leaf, fmt.Sprintf("%s, certificate for %s", tls.VersionName(s.Version), s.ServerName)
	}
}

// finding describes the certificate that expires first.
func (p *peer) finding() operator.Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaf == nil { // plain text, or an API of AWS
		return operator.Finding{Check: "tls", State: operator.Skipped, Message: "no certificate of the target was seen"}
	}
	return operator.Finding{Check: "tls", State: operator.OK, Message: p.server + ", expires " + when(&p.leaf.NotAfter)}
}

// flags adds the common flags to a command, and completes its secret, the argument at that position.
func (v *view) flags(c *cobra.Command, position int) {
	v.command = c
	c.Flags().DurationVar(&v.timeout, "timeout", time.Minute, "the function's time-out, which the work must not exceed")
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "print the log of the function's code to standard error")
	completeSecret(c, v, position)
}

// completionTime is how long a shell waits for the names of secrets.
const completionTime = 3 * time.Second

// completeSecret completes the argument at the position with the names of the account's secrets.
func completeSecret(c *cobra.Command, v *view, position int) {
	v.command = c
	other := c.ValidArgsFunction
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) != position && other != nil {
			return other(c, args, begin)
		}
		if len(args) != position {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		client, err := v.client(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		in := &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(100)}
		if begin != "" {
			in.Filters = []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{begin}}}
		}
		out, err := client.ListSecrets(ctx, in)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, s := range out.SecretList {
			names = append(names, aws.ToString(s.Name))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// client returns the client for Secrets Manager. Credentials, region and endpoint are those of any
// AWS tool.
func (v *view) client(ctx context.Context) (*secretsmanager.Client, error) {
	options := []func(*config.LoadOptions) error{
		// What the SDK warns of is in an error, or does not concern a person.
		config.WithLogger(logging.Nop{}),
	}
	if region, _ := v.command.Flags().GetString("region"); region != "" {
		options = append(options, config.WithRegion(region))
	}
	if profile, _ := v.command.Flags().GetString("profile"); profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	if os.Getenv("AWS_EC2_METADATA_DISABLED") == "" && !onEC2() {
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, engine.Errorf(notConfigured, "correct --profile, AWS_PROFILE, the other AWS_* variables or ~/.aws/config",
			"cannot read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, engine.Errorf(notConfigured, "use --region, set AWS_REGION, or use a profile with a region",
			"no region is set")
	}
	// Each client of a service would have its own connections, unless it is given an HTTP client that it
	// cannot adapt.
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = b.Freeze()
	}
	v.cfg = cfg
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, awsError(ctx, "cannot get the AWS credentials", "", err)
		}
		// The machine's own role is what the SDK asks for last, when all else is absent.
		if strings.Contains(err.Error(), "no EC2 IMDS role found") {
			return nil, engine.Errorf(notConfigured,
				"use --profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for the simulator any words do",
				"no AWS credentials")
		}
		return nil, engine.Errorf(notConfigured, "log in again, such as by `aws sso login`, or correct the profile",
			"cannot get the AWS credentials: %w", awserror.Brief(err))
	}
	return secretsmanager.NewFromConfig(cfg), nil
}

// open returns the client for Secrets Manager and what it says of a secret given by name or ARN.
func (v *view) open(
	ctx context.Context, id string,
) (*secretsmanager.Client, *secretsmanager.DescribeSecretOutput, error) {
	client, err := v.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, nil, awsError(ctx, "cannot describe the secret "+id+" in "+v.cfg.Region, id, err)
	}
	return client, out, nil
}

// onEC2 tells whether this machine is one of EC2's, where it may have a role: others
// would wait for an answer that cannot come.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
func onEC2() bool {
	for _, file := range []string{"/sys/devices/virtual/dmi/id/sys_vendor", "/sys/devices/virtual/dmi/id/bios_version"} {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(strings.ToLower(string(text)), "amazon") {
			return true
		}
	}
	return false
}

// awsError returns what Secrets Manager answered about a secret, and what to do.
func awsError(ctx context.Context, what, secret string, err error) error {
	api, answered := errors.AsType[smithy.APIError](err)
	switch {
	case !answered && ctx.Err() != nil:
		return engine.Errorf(engine.OutOfTime, "try again, or raise --timeout", "%s: no answer in time", what)
	case !answered || api.ErrorCode() == "UnknownError":
		return engine.Errorf(engine.SecretsManagerFailed,
			"check the region, the network, the proxy, and AWS_ENDPOINT_URL_SECRETS_MANAGER if it is set",
			"%s: %w", what, awserror.Brief(err))
	}
	cause, advice := engine.SecretsManagerFailed, "look up the code, and try again"
	switch message := api.ErrorMessage(); api.ErrorCode() {
	case "ResourceNotFoundException":
		advice = "check the name, the region and the account (`aws sts get-caller-identity` shows yours)"
	case "AccessDeniedException", "AccessDenied":
		if strings.Contains(message, "cannot invoke") {
			cause = engine.InvalidConfiguration
			advice = "check the function's ARN, and let secretsmanager.amazonaws.com invoke it: `aws lambda add-permission`"
			break
		}
		advice = "allow it to the identity that `aws sts get-caller-identity` shows, or use another --profile"
	case "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException":
		advice = "renew the credentials, or use another --profile"
	case "InvalidRequestException":
		switch {
		case strings.Contains(message, "No Lambda rotation function"):
			cause, advice = engine.InvalidConfiguration, "name the function with --function ARN"
		case strings.Contains(message, "previous rotation"):
			advice = fmt.Sprintf("wait, since it is tried again; `rotatorctl status %[1]s` shows it, "+
				"and `rotatorctl recover %[1]s` how to end it", secret)
		case strings.Contains(message, "deletion"):
			advice = "restore the secret with `aws secretsmanager restore-secret --secret-id " + secret + "`"
		default:
			advice = "look at `rotatorctl status " + secret + "`"
		}
	}
	return engine.Errorf(cause, advice, "%s: %w", what, awserror.Brief(err))
}

// rotator returns the function's own rotator and the full ARN of a secret.
func (v *view) rotator(ctx context.Context, id string) (*rotation.Rotator, string, error) {
	_, secret, err := v.open(ctx, id)
	if err != nil {
		return nil, "", err
	}
	r, err := v.newRotator(ctx)
	return r, arnOf(secret), err
}

// newRotator returns the function's own rotator, configured by the environment as the function is. The
// client comes first.
func (v *view) newRotator(ctx context.Context) (*rotation.Rotator, error) {
	log := slog.New(slog.DiscardHandler)
	if v.verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	settings, err := function.Settings(function.Getenv)
	if err != nil {
		return nil, err
	}
	getenv := settings
	if v.override != nil {
		getenv = func(name string) string { return v.override(name, settings(name)) }
	}
	own, _ := ctx.Value(enginesKey{}).([]engine.Constructor) // the command itself adds none
	return function.NewRotator(getenv, log, v.cfg, v.peer.meet, own...)
}

// arnOf returns the ARN of a described secret.
func arnOf(d *secretsmanager.DescribeSecretOutput) string { return aws.ToString(d.ARN) }
