package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"

	"example.com/rotator/sim"
)

// lambdaFunction is a function with a configuration.
type lambdaFunction struct {
	sim.InvokerFunc
	configuration sim.Configuration
}

func (f lambdaFunction) Configuration() sim.Configuration { return f.configuration }

// TestFleet runs the commands on many secrets against a simulator whose clock begins forty days ago.
// Scripts may use, in addition to testscript's commands and TestScripts' commands exits and documented:
//
//	secret NAME VALUE [KEY=VALUE ...]  create a secret with tags
//	fill PREFIX N FUNCTION             create N secrets that a function rotates
//	elsewhere ACCOUNT NAME             create a secret in another account
//	role ARN EXTERNAL-ID               register a role; only registered roles can be assumed
//	limited FILE                       use the credentials of a role with the policy in the file
//	schedule NAME FUNCTION             rotate the secret every thirty days with the function
//	begin NAME                         rotate the secret, and wait for the end of the attempt
//	cancel NAME, delete NAME           cancel the rotation, delete the secret
//	abandon NAME                       remove AWSPENDING
//	advance DURATION                   move the clock
//	today                              move the clock to the present
//	release                            continue the rotations that wait in the function held
//	held                               wait until a rotation waits in the function held
//	takes DURATION COMMAND ...         like exec, and check that it takes at least that long
//	shows FILE                         compare the last output with FILE, except IDs, times and durations
//	rotated NAME TIMES                 wait until functions have finished that many rotations
func TestFleet(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/fleet",
		Setup: func(env *testscript.Env) error {
			w := &fleetWorld{
				clock: sim.NewManualClock(time.Now().AddDate(0, 0, -40)), rotated: make(map[string]int),
				held: make(chan struct{}, 100), release: make(chan struct{}),
			}
			w.sim = sim.New(sim.Options{Clock: w.clock, MaxAttempts: 1})
			server := httptest.NewServer(w.sim.Handler())
			env.Defer(server.Close)
			w.client = clientAt(server.URL)
			w.register()
			env.Values["world"] = w
			schema, err := schemas()
			if err != nil {
				return err
			}
			env.Values["schema"] = schema
			env.Values["seen"] = map[string]bool{}
			for k, v := range map[string]string{
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL, "AWS_ENDPOINT_URL_STS": server.URL,
				"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated",
				"F": functionHead,
			} {
				env.Setenv(k, v)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"documented": documented,
			"secret": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.CreateSecretInput{Name: &args[0], SecretString: aws.String(args[1])}
				for _, t := range args[2:] {
					key, value, _ := strings.Cut(t, "=")
					in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
				}
				_, err := worldOf(ts).client.CreateSecret(context.Background(), in)
				ts.Check(err)
			},
			"fill": func(ts *testscript.TestScript, _ bool, args []string) {
				w := worldOf(ts)
				for i := range atoi(ts, args[1]) {
					name := fmt.Sprintf("%s%03d", args[0], i)
					_, err := w.client.CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{
						Name: &name, SecretString: aws.String("x"),
					})
					ts.Check(err)
					w.schedule(ts, name, args[2])
				}
			},
			"takes": func(ts *testscript.TestScript, _ bool, args []string) {
				least, err := time.ParseDuration(args[0])
				ts.Check(err)
				begin := time.Now()
				ts.Check(ts.Exec(args[1], args[2:]...))
				if took := time.Since(begin); took < least {
					ts.Fatalf("it took %s", took)
				}
			},
			"elsewhere": func(ts *testscript.TestScript, _ bool, args []string) {
				client := secretsmanager.New(worldOf(ts).client.Options(), func(o *secretsmanager.Options) {
					o.Credentials = credentials.NewStaticCredentialsProvider(args[0], "simulated", "")
				})
				in := &secretsmanager.CreateSecretInput{Name: &args[1], SecretString: aws.String("x")}
				_, err := client.CreateSecret(context.Background(), in)
				ts.Check(err)
			},
			"role": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(worldOf(ts).sim.RegisterRole(args[0], args[1]))
			},
			"limited": func(ts *testscript.TestScript, _ bool, args []string) {
				const role = "arn:aws:iam::123456789012:role/limited"
				ts.Check(worldOf(ts).sim.PutPolicy(role, ts.ReadFile(args[0])))
				o := worldOf(ts).client.Options()
				tokens := sts.New(sts.Options{
					BaseEndpoint: o.BaseEndpoint, Region: o.Region, Credentials: o.Credentials,
				})
				in := &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("test")}
				out, err := tokens.AssumeRole(context.Background(), in)
				ts.Check(err)
				ts.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
				ts.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
				ts.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
			},
			"schedule": func(ts *testscript.TestScript, _ bool, args []string) {
				worldOf(ts).schedule(ts, args[0], args[1])
			},
			"begin": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.RotateSecretInput{SecretId: &args[0]}
				_, err := worldOf(ts).client.RotateSecret(context.Background(), in)
				ts.Check(err)
				_ = worldOf(ts).sim.WaitRotation(context.Background(), args[0])
			},
			"cancel": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.CancelRotateSecretInput{SecretId: &args[0]}
				_, err := worldOf(ts).client.CancelRotateSecret(context.Background(), in)
				ts.Check(err)
			},
			"delete": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.DeleteSecretInput{SecretId: &args[0]}
				_, err := worldOf(ts).client.DeleteSecret(context.Background(), in)
				ts.Check(err)
			},
			"abandon": func(ts *testscript.TestScript, _ bool, args []string) {
				client := worldOf(ts).client
				describe := &secretsmanager.DescribeSecretInput{SecretId: &args[0]}
				d, err := client.DescribeSecret(context.Background(), describe)
				ts.Check(err)
				in := &secretsmanager.UpdateSecretVersionStageInput{
					SecretId: &args[0], VersionStage: aws.String("AWSPENDING"),
				}
				for id, labels := range d.VersionIdsToStages {
					if slices.Contains(labels, "AWSPENDING") {
						in.RemoveFromVersionId = &id
					}
				}
				_, err = client.UpdateSecretVersionStage(context.Background(), in)
				ts.Check(err)
			},
			"advance": func(ts *testscript.TestScript, _ bool, args []string) {
				d, err := time.ParseDuration(args[0])
				ts.Check(err)
				worldOf(ts).clock.Advance(d)
			},
			"today": func(ts *testscript.TestScript, _ bool, _ []string) {
				clock := worldOf(ts).clock
				clock.Advance(time.Since(clock.Now()))
			},
			"release": func(ts *testscript.TestScript, _ bool, _ []string) { close(worldOf(ts).release) },
			"held": func(ts *testscript.TestScript, _ bool, _ []string) {
				select {
				case <-worldOf(ts).held:
				case <-time.After(20 * time.Second):
					ts.Fatalf("no rotation was stopped")
				}
			},
			"shows": func(ts *testscript.TestScript, _ bool, args []string) {
				if got, want := varying.Replace(ts.ReadFile("stdout")), ts.ReadFile(args[0]); got != want {
					ts.Fatalf("got\n%s\nwant\n%s", got, want)
				}
			},
			"rotated": func(ts *testscript.TestScript, _ bool, args []string) {
				w, end := worldOf(ts), time.Now().Add(20*time.Second)
				for {
					w.mu.Lock()
					got := fmt.Sprint(w.rotated[args[0]])
					w.mu.Unlock()
					switch {
					case got == args[1]:
						return
					case time.Now().After(end) || got > args[1]:
						ts.Fatalf("%s was rotated %s times, want %s", args[0], got, args[1])
					}
					time.Sleep(10 * time.Millisecond)
				}
			},
		},
	})
}

// replacements are applied in order.
type replacements []struct {
	form *regexp.Regexp
	by   string
}

// Replace replaces the parts that differ between runs.
func (all replacements) Replace(text string) string {
	for _, r := range all {
		text = r.form.ReplaceAllString(text, r.by)
	}
	return text
}

var varying = replacements{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\d \d\d:\d\d UTC`), "TIME"},
	{regexp.MustCompile(`(:secret:[a-z0-9/-]+)-[A-Za-z0-9]{6}\b`), "$1-SUFFIX"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "MOMENT"},
	{regexp.MustCompile(`\b[0-9.]+m?s\b`), "SOON"},
}

const functionHead = "arn:aws:lambda:us-east-1:123456789012:function:"

// fleetWorld is the simulator of a script.
type fleetWorld struct {
	sim     *sim.Sim
	clock   *sim.ManualClock
	client  *secretsmanager.Client
	held    chan struct{} // gets one value for each stopped rotation
	release chan struct{} // is closed to continue them

	mu      sync.Mutex
	rotated map[string]int // by the secret's name
}

func worldOf(ts *testscript.TestScript) *fleetWorld { return ts.Value("world").(*fleetWorld) }

// schedule makes a function rotate a secret every thirty days.
func (w *fleetWorld) schedule(ts *testscript.TestScript, name, function string) {
	_, err := w.client.RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{
		SecretId: &name, RotationLambdaARN: aws.String(functionHead + function), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
	})
	ts.Check(err)
	_ = w.sim.WaitRotation(context.Background(), name)
}

// register registers the functions: good rotates, down fails in setSecret, held stops in setSecret
// until released, and those from AWS's templates do nothing.
func (w *fleetWorld) register() {
	add := func(name string, c sim.Configuration, do func(context.Context, step) error) {
		invoke := func(ctx context.Context, payload []byte) ([]byte, string, error) {
			var e step
			if err := json.Unmarshal(payload, &e); err != nil {
				return nil, "", err
			}
			err := do(ctx, e)
			if err == nil && e.Step == "finishSecret" {
				w.mu.Lock()
				defer w.mu.Unlock()
				name := e.SecretId[strings.LastIndexByte(e.SecretId, ':')+1:]
				w.rotated[name[:len(name)-len("-AbCdEf")]]++
			}
			return []byte("null"), "", err
		}
		w.sim.RegisterFunction(functionHead+name, lambdaFunction{invoke, c})
	}
	binary := sim.Configuration{Runtime: "provided.al2023", Handler: "bootstrap"}
	good := func(ctx context.Context, e step) error { return rotateLikeTemplate(ctx, w.client, e) }
	add("good", binary, good)
	add("down", binary, func(ctx context.Context, e step) error {
		if e.Step == "setSecret" {
			return errors.New("the target is down")
		}
		return good(ctx, e)
	})
	add("held", binary, func(ctx context.Context, e step) error {
		if e.Step == "setSecret" {
			w.held <- struct{}{}
			select {
			case <-w.release:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return good(ctx, e)
	})
	for name, variables := range map[string]map[string]string{
		"SecretsManagerRDSPostgreSQLRotationSingleUser": {"PASSWORD_LENGTH": "40"},
		"SecretsManagerRDSPostgreSQLRotationMultiUser":  nil,
		"SecretsManagerRDSDb2RotationSingleUser":        nil,
	} {
		c := sim.Configuration{Runtime: "python3.9", Handler: "lambda_function.lambda_handler", Environment: variables}
		add(name, c, func(context.Context, step) error { return nil })
	}
}

// TestChecksShareConnections: a connection per secret would exhaust the process's file descriptors.
func TestChecksShareConnections(t *testing.T) {
	simulator := sim.New(sim.Options{})
	server := httptest.NewUnstartedServer(simulator.Handler())
	var connections atomic.Int32
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	arguments := []string{"check", "--parallel", "5", "--json"}
	for i := range 60 {
		name := fmt.Sprintf("s%d", i)
		_, err := clientAt(server.URL).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: &name, SecretString: aws.String("x"),
			Tags: []types.Tag{{Key: aws.String("rotator:engine"), Value: aws.String("generic")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, name)
	}
	connections.Store(0)
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL, "AWS_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(k, v)
	}
	c := newCommand("unreleased")
	c.SetArgs(arguments)
	c.SetOut(io.Discard)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n > 20 {
		t.Errorf("60 checks took %d connections", n)
	}
}

// TestInterruptedTestStartsAgain: only a rotation changes what --rotated-before selects.
func TestInterruptedTestStartsAgain(t *testing.T) {
	out := reportTo(t.Context(), io.Discard, io.Discard, false, "")
	err := newMany(nil, "tested").conclude(out, nil, []string{"arn"}, time.Now())
	if v, ok := errors.AsType[verdict](err); !ok || v.code != exitInterrupted ||
		v.Error() != "1 secret: 1 not finished; run it again" {
		t.Errorf("%v", err)
	}
}
