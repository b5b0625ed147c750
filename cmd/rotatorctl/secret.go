package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"example.com/rotator/internal/function"
	"example.com/rotator/rotation"
)

// view is what the commands that look at one secret have in common.
type view struct {
	json    bool
	timeout time.Duration
	verbose bool
	// getenv, if set, stands for os.Getenv.
	getenv func(string) string
}

// flags adds the common flags to a command.
func (v *view) flags(c *cobra.Command) {
	c.Flags().BoolVar(&v.json, "json", false, "print JSON, as docs/rotatorctl.md describes it")
	c.Flags().DurationVar(&v.timeout, "timeout", time.Minute, "the function's time-out, which the work must not exceed")
	c.Flags().BoolVarP(&v.verbose, "verbose", "v", false, "print the log of the function's code to standard error")
}

// open returns the client for Secrets Manager and the full ARN of a secret given
// by name or ARN. Credentials, region and endpoint are those of any AWS tool.
func (v *view) open(ctx context.Context, id string) (*secretsmanager.Client, *secretsmanager.DescribeSecretOutput, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, nil, fmt.Errorf("no region is set (set AWS_REGION)")
	}
	client := secretsmanager.NewFromConfig(cfg)
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot describe the secret %s: %w", id, err)
	}
	return client, out, nil
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
	getenv := os.Getenv
	if v.getenv != nil {
		getenv = v.getenv
	}
	r, err := function.NewRotator(getenv, log)
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
