package ctl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

type simFlags struct {
	listen                 string
	functions, env, faults []string
	timeout                time.Duration
	speed                  float64
	verbose, force         bool
	options                sim.Options
}

func newSim() *cobra.Command {
	var o simFlags
	c := &cobra.Command{
		Use:   "sim",
		Short: "Run a local Secrets Manager until stopped",
		Long: `Sim serves the API of AWS Secrets Manager and rotates secrets as AWS does. When ready,
it prints its URL, which a browser can open, and the commands to use it from any AWS tool.
The access key can be any word, or the twelve digits of an account. Secrets are lost when
it stops.

A function is exec:PATH, a Lambda binary; python:FILE.FUNCTION or node:FILE.FUNCTION, a
handler; or url:URL, a server of Lambda's Invoke API such as "sam local start-lambda".

--fault all makes each fault hit one call or step in a hundred, --fault all=0.1 one in ten:
duplicate, lost-answer, throttle, stale-read, slow, crash, deadline.`,
		Example: "  rotatorctl sim " +
			"--function arn:aws:lambda:us-east-1:123456789012:function:rotator=exec:build/bootstrap",
		Args: cobra.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7788", "address to listen on")
	f.StringArrayVar(&o.functions, "function", nil,
		"a rotation function: ARN=exec:PATH, ARN=python:HANDLER, ARN=node:HANDLER or ARN=url:URL; may be repeated")
	f.StringArrayVar(&o.env, "env", nil, "NAME=VALUE for the environment of local functions; may be repeated")
	f.StringArrayVar(&o.faults, "fault", nil, "all, KIND or KIND=RATE (0 to 1), and seed=N; may be repeated")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print every step and event as a line on standard error")
	f.StringVar(&o.options.Region, "region", "us-east-1", "region of requests that do not name one")
	f.StringVar(&o.options.Account, "account", "123456789012", "account of callers whose access key is not an account")
	f.DurationVar(&o.options.RetryDelay, "retry-delay", 100*time.Second, "pause before a failed rotation is retried")
	f.IntVar(&o.options.MaxAttempts, "max-attempts", 5, "attempts before a rotation waits for its next window")
	f.DurationVar(&o.timeout, "function-timeout", time.Minute, "timeout of each call of a local function")
	f.Float64Var(&o.speed, "speed", 1, "how many times faster than real time the clock runs")
	f.BoolVar(&o.force, "force", false, "allow an address that other machines can reach")
	return c
}

func (o *simFlags) run(c *cobra.Command) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.speed != 1 {
		o.options.Clock = sim.FastTime(time.Now(), o.speed)
	}
	var err error
	if o.options.Faults, err = sim.ParseFaults(o.faults); err != nil {
		return fmt.Errorf("--fault: %w", err)
	}
	if o.verbose {
		log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		o.options.Trace = func(p sim.Progress) {
			log.Info(cmp.Or(p.Event, p.Step), "secret", p.Name, "attempt", p.Attempt, "cause", p.Cause, "message", p.Message,
				"labels", p.Labels)
		}
	}
	simulator := sim.New(o.options)
	l, url, err := o.bind()
	if err != nil {
		return err
	}
	defer l.Close()
	for _, f := range o.functions {
		function, err := o.function(f, url)
		if err != nil {
			return err
		}
		if local, ok := function.(io.Closer); ok {
			defer local.Close()
		}
		arn, _, _ := strings.Cut(f, "=")
		simulator.RegisterFunction(arn, function)
	}
	server := &http.Server{Handler: simulator.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // always ends with ErrServerClosed
	defer server.Close()
	if err := o.greet(c, url); err != nil {
		return err
	}
	<-c.Context().Done()
	simulator.Stop() // before the functions are closed
	return nil
}

// bind starts to listen, and returns the URL of the simulator on this machine. Requests wait until they are served. It
// rejects an address that other machines can reach, unless --force is set.
func (o *simFlags) bind() (net.Listener, string, error) {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, "", engine.Errorf(invalidArguments,
			"use another HOST:PORT, such as 127.0.0.1:0 for any free port, or stop the program that listens there",
			"--listen: %w", err)
	}
	address := l.Addr().(*net.TCPAddr) // always TCP
	if !o.force && !address.IP.IsLoopback() {
		l.Close()
		return nil, "", engine.Errorf(invalidArguments,
			"listen on 127.0.0.1, or use --force if others may read every secret",
			"--listen: %s can be reached from other machines", o.listen)
	}
	if address.IP.IsUnspecified() {
		address.IP = net.IPv4(127, 0, 0, 1)
	}
	return l, "http://" + address.String(), nil
}

// greet prints the URL on a separate line, for programs, and then the first commands, for people.
func (o *simFlags) greet(c *cobra.Command, url string) error {
	function := "ARN"
	if len(o.functions) > 0 {
		function, _, _ = strings.Cut(o.functions[0], "=")
	}
	fmt.Fprintf(c.ErrOrStderr(), `
Simulated: all operations of AWS Secrets Manager, scheduled rotation, AssumeRole of AWS STS, and what
           AWS Lambda answers about a function
Page:      %[1]s/
Faults:    %[2]s

In another terminal:

export AWS_ENDPOINT_URL_SECRETS_MANAGER=%[1]s AWS_ENDPOINT_URL_STS=%[1]s
export AWS_REGION=%[3]s AWS_DEFAULT_REGION=%[3]s AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
aws secretsmanager create-secret --name app --secret-string first
aws secretsmanager rotate-secret --secret-id app --rotation-lambda-arn %[4]s

`, url, o.options.Faults, o.options.Region, function)
	if format(c) == "json" {
		return json.NewEncoder(c.OutOrStdout()).Encode(result{outcome{OK: true, Findings: []operator.Finding{}}, map[string]any{"url": url}})
	}
	fmt.Fprintf(c.OutOrStdout(), "simulator ready at %s\n", url)
	return nil
}

var accountForm = regexp.MustCompile(`^\d{12}$`)

// maxSpeed is about 114 years per hour. A much faster clock would soon overflow.
const maxSpeed = 1e6

// check rejects invalid flags. It also rejects zero, which means the default in the simulator's options.
func (o *simFlags) check() error {
	switch {
	case !(o.speed > 0 && o.speed <= maxSpeed): // also rejects NaN
		return fmt.Errorf("--speed must be above 0 and at most %g", maxSpeed)
	case o.options.RetryDelay <= 0 || o.options.MaxAttempts < 1 || o.timeout <= 0:
		return errors.New("--retry-delay, --max-attempts and --function-timeout must be above 0")
	case !accountForm.MatchString(o.options.Account):
		return fmt.Errorf("--account %q is not twelve digits", o.options.Account)
	}
	for _, e := range o.env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return errors.New("an --env is not NAME=VALUE") // the text may contain a secret
		}
	}
	return nil
}

// function parses ARN=KIND:WHERE and returns the function. An ARN has no equals sign.
func (o *simFlags) function(text, url string) (sim.Invoker, error) {
	arn, target, ok := strings.Cut(text, "=")
	kind, where, ok2 := strings.Cut(target, ":")
	if !ok || !ok2 || !strings.HasPrefix(arn, "arn:") {
		const forms = "ARN=exec:PATH, ARN=python:HANDLER, ARN=node:HANDLER or ARN=url:URL"
		return nil, fmt.Errorf("--function %s is not %s", text, forms)
	}
	options := lambdasim.Options{ARN: arn, Timeout: o.timeout, Log: os.Stderr,
		Env: append([]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + url, "AWS_ENDPOINT_URL_STS=" + url}, o.env...)}
	switch kind {
	case "exec":
		return lambdasim.New(where, options)
	case "python":
		return lambdasim.Python(where, options)
	case "node":
		return lambdasim.Node(where, options)
	case "url":
		return lambdasim.Remote(where, arn)
	}
	return nil, fmt.Errorf("--function %s: %q is not one of exec, python, node and url", text, kind)
}
