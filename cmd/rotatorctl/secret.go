package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// view is what the commands that look at one secret have in common.
type view struct {
	timeout time.Duration
	verbose bool
	// override, if set, returns what a setting with the value counts as.
	override func(name, value string) string
	cfg      aws.Config // read by open
}

// flags adds the common flags to a command.
func (v *view) flags(c *cobra.Command) {
	c.Flags().DurationVar(&v.timeout, "timeout", time.Minute, "the function's time-out, which the work must not exceed")
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "print the log of the function's code to standard error")
}

// open returns the client for Secrets Manager and the full ARN of a secret given
// by name or ARN. Credentials, region and endpoint are those of any AWS tool.
func (v *view) open(ctx context.Context, id string) (*secretsmanager.Client, *secretsmanager.DescribeSecretOutput, error) {
	const region = "set AWS_REGION, or AWS_PROFILE to a profile with a region"
	options := []func(*config.LoadOptions) error{
		// What the SDK warns of is told by an error, or is none of a person's business.
		config.WithLogger(logging.Nop{}),
	}
	if os.Getenv("AWS_EC2_METADATA_DISABLED") == "" && !onEC2() {
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, nil, engine.Errorf(engine.InvalidConfiguration, "correct AWS_PROFILE, the other AWS_* variables or ~/.aws/config", "cannot read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, nil, engine.Errorf(engine.InvalidConfiguration, region, "no region is set")
	}
	v.cfg = cfg
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, nil, awsError(ctx, "cannot get the AWS credentials", "", err)
		}
		// The machine's own role is what the SDK asks for last, when all else is absent.
		if strings.Contains(err.Error(), "no EC2 IMDS role found") {
			return nil, nil, engine.Errorf(engine.InvalidConfiguration, "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for the simulator any words do", "no AWS credentials")
		}
		return nil, nil, engine.Errorf(engine.InvalidConfiguration, "log in again, such as by `aws sso login`, or correct AWS_PROFILE", "the AWS credentials cannot be had: %w", awserror.Brief(err))
	}
	client := secretsmanager.NewFromConfig(cfg)
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, nil, awsError(ctx, "cannot describe the secret "+id, "region "+cfg.Region, err)
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

// awsError says what Secrets Manager answered, and what to do. where is the secret's
// ARN, or where it was looked for.
func awsError(ctx context.Context, what, where string, err error) error {
	advice := "look at the code and try again"
	api, answered := errors.AsType[smithy.APIError](err)
	switch {
	case !answered && ctx.Err() != nil:
		return engine.Errorf(engine.OutOfTime, "try again, or raise --timeout", "%s: no answer in time", what)
	case !answered || api.ErrorCode() == "UnknownError":
		advice = "check AWS_ENDPOINT_URL_SECRETS_MANAGER if it is set, the region, the proxy and the network"
	default:
		switch api.ErrorCode() {
		case "ResourceNotFoundException":
			advice = "check name, region and account: it was looked for in " + where
		case "AccessDeniedException", "AccessDenied":
			advice = "allow it to who you are by `aws sts get-caller-identity`"
		case "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException":
			advice = "renew the credentials, or set AWS_PROFILE to others"
		case "InvalidRequestException":
			advice = "see what `rotatorctl status` shows, and whether the secret is scheduled for deletion"
		}
	}
	return engine.Errorf(engine.SecretsManagerFailed, advice, "%s: %w", what, awserror.Brief(err))
}

// rotator returns the function's own rotator, configured by the environment as
// the function is, and the full ARN of a secret.
func (v *view) rotator(ctx context.Context, id string) (*rotation.Rotator, string, error) {
	_, secret, err := v.open(ctx, id)
	if err != nil {
		return nil, "", err
	}
	log := slog.New(slog.DiscardHandler)
	if v.verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	settings, err := function.Settings(function.Getenv)
	if err != nil {
		return nil, "", err
	}
	getenv := settings
	if v.override != nil {
		getenv = func(name string) string { return v.override(name, settings(name)) }
	}
	r, err := function.NewRotator(getenv, log, v.cfg)
	return r, arnOf(secret), err
}

// print writes a value as JSON.
func printJSON(w io.Writer, x any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}

// age writes a time as people speak of it.
func age(t *time.Time) string {
	if t == nil {
		return "-"
	}
	switch d := time.Since(*t); {
	case d < 0:
		return "in " + (-d).Round(time.Minute).String()
	case d < time.Minute:
		return d.Round(time.Second).String() + " ago"
	case d < 48*time.Hour:
		return d.Round(time.Minute).String() + " ago"
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// arnOf returns the ARN of a described secret.
func arnOf(d *secretsmanager.DescribeSecretOutput) string { return aws.ToString(d.ARN) }
