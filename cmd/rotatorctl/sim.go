package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/rotator/internal/lambdasim"
	"example.com/rotator/internal/secretsim"
)

// newSim returns `rotatorctl sim`.
func newSim() *cobra.Command {
	var listen string
	var functions, env []string
	var force bool
	var o secretsim.Options
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "sim",
		Short: "Run a local Secrets Manager until stopped",
		Long: `Sim serves the API of AWS Secrets Manager and rotates secrets as AWS does. It
prints one line with its URL when it is ready. Point any AWS tool at it with
AWS_ENDPOINT_URL_SECRETS_MANAGER and any credentials; what it holds is lost when it
stops.

A function is exec:PATH, a Lambda binary that is run here, or url:URL, anything that
serves Lambda's Invoke API such as "sam local start-lambda".`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			host, _, err := net.SplitHostPort(listen)
			if err != nil {
				return fmt.Errorf("--listen %s is not HOST:PORT", listen)
			}
			if ip := net.ParseIP(host); !force && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return fmt.Errorf("--listen %s is open to others (add --force if that is meant)", listen)
			}
			sim := secretsim.New(o)
			server, err := secretsim.Serve(sim, listen)
			if err != nil {
				return err
			}
			defer server.Close()
			for _, f := range functions {
				// The ARN itself holds no equals sign.
				arn, target, ok := strings.Cut(f, "=")
				kind, where, ok2 := strings.Cut(target, ":")
				if !ok || !ok2 || !strings.HasPrefix(arn, "arn:") {
					return fmt.Errorf("--function %s is not ARN=exec:PATH or ARN=url:URL", f)
				}
				switch kind {
				case "exec":
					function, err := lambdasim.New(where, lambdasim.Options{ARN: arn, Timeout: timeout, Log: os.Stderr,
						Env: append([]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL(), "AWS_ENDPOINT_URL_STS=" + server.URL()}, env...)})
					if err != nil {
						return err
					}
					defer function.Close()
					sim.RegisterFunction(arn, function)
				case "url":
					function, err := lambdasim.Remote(where, arn)
					if err != nil {
						return err
					}
					sim.RegisterFunction(arn, function)
				default:
					return fmt.Errorf("--function %s is neither exec: nor url:", f)
				}
			}
			fmt.Fprintf(c.OutOrStdout(), "simulator ready at %s\n", server.URL())
			<-c.Context().Done()
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:7788", "address to serve at")
	f.StringArrayVar(&functions, "function", nil, "a rotation function, ARN=exec:PATH or ARN=url:URL; may be repeated")
	f.StringArrayVar(&env, "env", nil, "NAME=VALUE for the environment of exec: functions; may be repeated")
	f.StringVar(&o.Region, "region", "us-east-1", "region of all ARNs")
	f.StringVar(&o.Account, "account", "123456789012", "account of all ARNs")
	f.DurationVar(&o.RetryDelay, "retry-delay", 100*time.Second, "pause before a failed rotation is repeated")
	f.DurationVar(&timeout, "function-timeout", time.Minute, "time-out of exec: functions")
	f.BoolVar(&force, "force", false, "allow an address that others can reach")
	return c
}
