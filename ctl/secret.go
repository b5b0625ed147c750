package ctl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/awserror"
	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// view holds what all commands that read secrets share.
type view struct {
	command *cobra.Command
	engines []engine.Constructor // added by the program
	timeout time.Duration
	verbose bool
	// settings override environment variables.
	settings map[string]string
	peer     atomic.Pointer[tls.ConnectionState] // the first connection to a target

	cfg     aws.Config             // set by connect
	secrets *secretsmanager.Client // set by connect
}

// flags adds the common flags to a command, and completes its SECRET.
func (v *view) flags(c *cobra.Command) {
	c.Flags().DurationVar(&v.timeout, "timeout", time.Minute, "the function's timeout, which the work must not exceed")
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "print the log of the function's code to standard error")
	c.ValidArgsFunction = v.complete
}

// complete completes event's STEP, and the names of secrets as far as they can be listed within three seconds.
func (v *view) complete(c *cobra.Command, args []string, begin string) (words []string, _ cobra.ShellCompDirective) {
	if c.Name() == "event" && len(args) == 0 {
		return steps, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if v.connect(ctx) == nil {
		secrets, _ := listSecrets(ctx, v.secrets, filter{Names: strings.Fields(begin)}, time.Now()) // none for ""
		for _, s := range secrets {
			words = append(words, s.Name)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// connect creates the client for Secrets Manager. Credentials, region and endpoint are configured as for any AWS tool.
func (v *view) connect(ctx context.Context) error {
	flag := func(name string) string { return v.command.Flag(name).Value.String() }
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(flag("region")), config.WithSharedConfigProfile(flag("profile")),
		// Every SDK warning is also part of an error, or does not matter to an operator.
		config.WithLogger(logging.Nop{}))
	if err != nil {
		return engine.Errorf(notConfigured, "correct --profile, AWS_PROFILE, the other AWS_* variables or ~/.aws/config",
			"cannot read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return engine.Errorf(notConfigured, "use --region, set AWS_REGION, or use a profile with a region",
			"no region is set")
	}
	// Service clients copy a client that they can adapt, and open separate connections. A frozen one is shared.
	adaptable, ok := cfg.HTTPClient.(*awshttp.BuildableClient) // it is set for AWS_CA_BUNDLE
	if !ok {
		adaptable = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = adaptable.Freeze()
	v.cfg = cfg
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return awsError(ctx, "cannot get the AWS credentials", "", err)
		}
		// The SDK tries the role of the EC2 instance last, if nothing else is configured.
		if strings.Contains(err.Error(), "no EC2 IMDS role found") {
			return engine.Errorf(notConfigured,
				"use --profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "+
					"the simulator accepts any words", "no AWS credentials")
		}
		return engine.Errorf(notConfigured, "log in again, for example with `aws sso login`, or correct the profile",
			"cannot get the AWS credentials: %w", awserror.Brief(err))
	}
	v.secrets = secretsmanager.NewFromConfig(cfg)
	return nil
}

// open returns a RunE that calls do for the secret in the last argument, within --timeout.
func (v *view) open(do func(context.Context, *secret, *report) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), v.timeout)
		defer cancel()
		if err := v.connect(ctx); err != nil {
			return err
		}
		s, err := v.describe(ctx, args[len(args)-1])
		if err != nil {
			return err
		}
		return do(ctx, &s, newReport(c, s.ARN))
	}
}

// describe describes a secret, given by name or ARN. Call connect first.
func (v *view) describe(ctx context.Context, id string) (secret, error) {
	d, err := v.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return secret{}, awsError(ctx, "cannot describe the secret "+id+" in "+v.cfg.Region, id, err)
	}
	return newSecret(&types.SecretListEntry{
		Name: d.Name, ARN: d.ARN, Tags: d.Tags, KmsKeyId: d.KmsKeyId, Type: d.Type, OwningService: d.OwningService,
		RotationEnabled: d.RotationEnabled, RotationLambdaARN: d.RotationLambdaARN, RotationRules: d.RotationRules,
		LastRotatedDate: d.LastRotatedDate, NextRotationDate: d.NextRotationDate, LastChangedDate: d.LastChangedDate,
		DeletedDate: d.DeletedDate, SecretVersionsToStages: d.VersionIdsToStages,
	}, time.Now()), nil
}

// with is open for a task that needs a rotator.
func (v *view) with(
	do func(ctx context.Context, r *rotation.Rotator, secret string, out *report) error,
) func(*cobra.Command, []string) error {
	return v.open(func(ctx context.Context, s *secret, out *report) error {
		r, err := v.newRotator()
		if err != nil {
			return err
		}
		return do(ctx, r, s.Name, out)
	})
}

// awsError adds a cause and advice to the error of an AWS call about a secret.
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
	cause, advice, code := engine.SecretsManagerFailed, "look up the error code, and try again", api.ErrorCode()
	says := func(text string) bool { return strings.Contains(api.ErrorMessage(), text) }
	switch {
	case code == "ResourceNotFoundException":
		advice = "check the name, the region and the account (`aws sts get-caller-identity` shows yours)"
	case says("cannot invoke"):
		cause = engine.InvalidConfiguration
		advice = "check the function's ARN, and allow secretsmanager.amazonaws.com to invoke it: `aws lambda add-permission`"
	case strings.HasPrefix(code, "AccessDenied"):
		advice = "allow it for the identity that `aws sts get-caller-identity` shows, or use another --profile"
	case slices.Contains([]string{"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException",
		"InvalidSignatureException"}, code):
		advice = "renew the credentials, or use another --profile"
	case says("No Lambda rotation function"):
		cause, advice = engine.InvalidConfiguration, "name the function with --function ARN"
	case says("previous rotation"):
		advice = fmt.Sprintf("wait for the next attempt, watch it with `rotatorctl status %[1]s`, "+
			"or see how to end it with `rotatorctl recover %[1]s`", quote(secret))
	case code == "InvalidRequestException": // for example, its deletion is scheduled
		advice = "see `rotatorctl status " + quote(secret) + "`"
	}
	return engine.Errorf(cause, advice, "%s: %w", what, awserror.Brief(err))
}

// newRotator returns a rotator that is configured from the environment, like the function's. Call connect first.
func (v *view) newRotator() (*rotation.Rotator, error) {
	log := slog.New(slog.DiscardHandler)
	if v.verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	settings, err := function.Settings(function.Getenv)
	if err != nil {
		return nil, err
	}
	getenv := func(name string) string {
		if value, ok := v.settings[name]; ok {
			return value
		}
		return settings(name)
	}
	meet := func(s tls.ConnectionState) { v.peer.CompareAndSwap(nil, &s) }
	return function.NewRotator(getenv, log, v.cfg, meet, v.engines...)
}
