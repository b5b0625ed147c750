package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
)

// newRotate returns `rotatorctl rotate`.
func newRotate() *cobra.Command {
	var function string
	var test bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "rotate SECRET",
		Short: "Rotate a secret now, and show its labels as they move",
		Long: `Rotate asks Secrets Manager, AWS's own or the simulator, to rotate a secret with the
function that is set for it, and follows what happens by the secret's labels until
the new version is AWSCURRENT. It exits with 1 where that does not come to pass in time;
the rotation may then still go on by itself. No value is read or shown.`,
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			asJSON := wantsJSON(c) // at the end, and nothing before
			var v view
			client, d, err := v.open(ctx, args[0])
			if err != nil {
				return err
			}
			in := &secretsmanager.RotateSecretInput{SecretId: d.ARN}
			if function != "" {
				in.RotationLambdaARN = &function
			}
			if test {
				in.RotateImmediately = aws.Bool(false)
			}
			begin := time.Now()
			out, err := client.RotateSecret(ctx, in)
			if err != nil {
				return awsError(ctx, "cannot begin the rotation", args[0], err)
			}
			f := &follower{client: client, arn: arnOf(d), version: aws.ToString(out.VersionId), begin: begin, out: c.OutOrStdout()}
			if asJSON {
				f.out = io.Discard
			}
			follow, outcome := f.follow, "rotated"
			if test {
				follow, outcome = f.followTest, "tested"
			}
			err = follow(ctx)
			if asJSON {
				result := rotated{Secret: f.arn, Version: f.version, Outcome: outcome, Seconds: time.Since(begin).Seconds()}
				if err != nil {
					result.Outcome, result.Detail = "unfinished", err.Error()
				}
				if perr := printJSON(c.OutOrStdout(), result); perr != nil || err == nil {
					return perr
				}
				return found{err}
			}
			return err
		},
	}
	c.Flags().StringVar(&function, "function", "", "ARN of the function to set for the secret")
	c.Flags().BoolVar(&test, "test", false, "have the function test the current value only (RotateImmediately=false); this switches rotation on")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to follow the rotation")
	return c
}

// rotated is what a rotation that was followed came to.
type rotated struct {
	Secret  string `json:"secret"`
	Version string `json:"version"`
	// Outcome is rotated, tested (the function's log says with what result) or
	// unfinished.
	Outcome string  `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// follower follows one rotation.
type follower struct {
	client       *secretsmanager.Client
	arn, version string
	begin        time.Time
	out          io.Writer
}

func (f *follower) say(format string, args ...any) {
	fmt.Fprintf(f.out, "%7.1fs  %s\n", time.Since(f.begin).Seconds(), fmt.Sprintf(format, args...))
}

// moment is what can be seen of a rotation.
type moment struct {
	labels  []string // of the rotation's version
	written bool     // whether the version has a value
	enabled bool
}

func (f *follower) look(ctx context.Context) (m moment, err error) {
	d, err := f.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &f.arn})
	if err != nil {
		return m, awsError(ctx, "cannot describe the secret", f.arn, err)
	}
	m.labels, m.enabled = d.VersionIdsToStages[f.version], aws.ToBool(d.RotationEnabled)
	slices.Sort(m.labels)
	// Versions are listed once they have a value.
	list := &secretsmanager.ListSecretVersionIdsInput{SecretId: &f.arn}
	for {
		page, err := f.client.ListSecretVersionIds(ctx, list)
		if err != nil {
			return m, awsError(ctx, "cannot list the versions", f.arn, err)
		}
		for _, v := range page.Versions {
			m.written = m.written || aws.ToString(v.VersionId) == f.version
		}
		if list.NextToken = page.NextToken; list.NextToken == nil {
			return m, nil
		}
	}
}

// each calls done with what is seen, four times a second, until it says that the
// end has come.
func (f *follower) each(ctx context.Context, done func(moment) (bool, error)) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := f.look(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("the rotation has not ended in %s; AWSCURRENT is as it was (the function's log says why; `rotatorctl status %s` shows what is stuck)", time.Since(f.begin).Round(time.Second), f.arn)
		}
		if err != nil {
			return err
		}
		if end, err := done(m); end || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (f *follower) follow(ctx context.Context) error {
	f.say("rotation of %s began", f.arn)
	f.say("version %s is staged", f.version)
	staged, written, still := false, false, f.begin
	return f.each(ctx, func(m moment) (bool, error) {
		// A read may miss what was written just before it.
		staged = staged || slices.Contains(m.labels, "AWSPENDING")
		if m.written && !written {
			written = true
			f.say("createSecret: the new value is stored")
		}
		switch {
		case slices.Contains(m.labels, "AWSCURRENT"):
			f.say("setSecret, testSecret, finishSecret: done")
			f.say("version %s is AWSCURRENT", f.version)
			return true, nil
		case staged && !slices.Contains(m.labels, "AWSPENDING"):
			return true, fmt.Errorf("the rotation was abandoned: version %s lost AWSPENDING, by a value that was set by hand or by `recover`", f.version)
		case staged && !m.enabled:
			return true, fmt.Errorf("the rotation was canceled; version %s keeps AWSPENDING (`rotatorctl recover %s` looks for a way out)", f.version, f.arn)
		case time.Since(still) > 30*time.Second:
			still = time.Now()
			f.say("still AWSPENDING: the function takes long, or failed and will be called again")
		}
		return false, nil
	})
}

// followTest follows a test, of whose outcome the API says nothing: the version is
// taken away in either case.
func (f *follower) followTest(ctx context.Context) error {
	f.say("test of %s began", f.arn)
	return f.each(ctx, func(m moment) (bool, error) {
		if slices.Contains(m.labels, "AWSPENDING") {
			return false, nil
		}
		f.say("the test has ended, AWSCURRENT is unchanged; its outcome stands in the function's log and in EventBridge (TestRotationSucceeded, TestRotationFailed)")
		return true, nil
	})
}
