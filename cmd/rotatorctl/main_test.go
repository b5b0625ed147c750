package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"rotatorctl": func() { os.Exit(run()) },
		// bootstrap is a Lambda binary that rotates a secret and no target.
		"bootstrap": func() { lambda.Start(rotateNothing) },
	})
}

type step struct{ Step, SecretId, ClientRequestToken string }

// rotateNothing does to a secret what AWS's template does. Where HOLD names a file, its
// setSecret makes one of the same name and .reached, and waits for the other.
func rotateNothing(ctx context.Context, e step) error {
	if hold := os.Getenv("HOLD"); hold != "" && e.Step == "setSecret" {
		if err := os.WriteFile(hold+".reached", nil, 0o600); err != nil {
			return err
		}
		for _, err := os.Stat(hold); err != nil; _, err = os.Stat(hold) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	return template(ctx, secretsmanager.NewFromConfig(cfg), e)
}

func template(ctx context.Context, c *secretsmanager.Client, e step) error {
	switch e.Step {
	case "createSecret":
		if _, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId, VersionId: &e.ClientRequestToken}); err == nil {
			return nil
		}
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken, SecretString: aws.String("made for " + e.ClientRequestToken), VersionStages: []string{"AWSPENDING"}})
		return err
	case "finishSecret":
		v, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretId})
		if err != nil {
			return err
		}
		_, err = c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: v.VersionId})
		return err
	}
	return nil
}

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:rotator"

// TestScripts runs the command against a simulator of its own and a real
// PostgreSQL. Scripts may use, beside testscript's own commands:
//
//	sql STATEMENT               as the server's administrator
//	secret NAME FILE            create a secret, with the script's variables put
//	                            in, and set ARN_NAME
//	put NAME LABEL TOKEN FILE   put a version with a label
//	stage NAME LABEL FROM TO    move a label; - stands for none
//	own NAME SERVICE            make a secret one that a service has created
//	rotate NAME TOKEN           begin a rotation whose function does nothing
//	documented COMMAND          parse the last output: it is one JSON value, and its
//	                            members are those that docs/rotatorctl.md names
//	everything                  each member that is named there was seen
//	reach URL                   wait until a simulator answers there, and use it
//	there FILE                  wait until a file is there
func TestScripts(t *testing.T) {
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			simulator := sim.New(sim.Options{MaxAttempts: 1})
			server, err := sim.Serve(simulator, "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { server.Close() })
			simulator.RegisterFunction(functionARN, sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }))
			env.Values["sim"] = simulator
			if env.Values["forms"], err = forms(); err != nil {
				return err
			}
			env.Values["seen"] = map[string]bool{}
			good := functionARN + "-good"
			simulator.RegisterFunction(good, sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
				var e step
				err := json.Unmarshal(payload, &e)
				if err == nil {
					err = template(ctx, clientAt(server.URL()), e)
				}
				return []byte("null"), "", err
			}))
			free, err := freeAddress()
			if err != nil {
				return err
			}
			for k, v := range map[string]string{
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL(), "AWS_REGION": "us-east-1",
				"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated",
				"IDLE": functionARN, "GOOD": good, "FREE": free,
				"CA_BUNDLE": pg.CAFile, "PGHOST_": pg.Host, "PGPORT_": strconv.Itoa(pg.Port),
				"SUPERUSER": pg.User, "SUPERPASSWORD": pg.Password, "U": testserver.Unique("u_"),
			} {
				env.Setenv(k, v)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sql": func(ts *testscript.TestScript, _ bool, args []string) {
				conn, err := pgx.Connect(context.Background(), pg.URL("postgres"))
				ts.Check(err)
				defer conn.Close(context.Background())
				_, err = conn.Exec(context.Background(), args[0])
				ts.Check(err)
			},
			"secret": func(ts *testscript.TestScript, _ bool, args []string) {
				out, err := client(ts).CreateSecret(context.Background(), &secretsmanager.CreateSecretInput{Name: &args[0], ClientRequestToken: aws.String("11111111-1111-1111-1111-111111111111"), SecretString: value(ts, args[1])})
				ts.Check(err)
				ts.Setenv("ARN_"+args[0], *out.ARN)
			},
			"put": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := client(ts).PutSecretValue(context.Background(), &secretsmanager.PutSecretValueInput{SecretId: &args[0], VersionStages: []string{args[1]}, ClientRequestToken: &args[2], SecretString: value(ts, args[3])})
				ts.Check(err)
			},
			"stage": func(ts *testscript.TestScript, _ bool, args []string) {
				in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &args[0], VersionStage: &args[1]}
				if args[2] != "-" {
					in.RemoveFromVersionId = &args[2]
				}
				if args[3] != "-" {
					in.MoveToVersionId = &args[3]
				}
				_, err := client(ts).UpdateSecretVersionStage(context.Background(), in)
				ts.Check(err)
			},
			"own": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value("sim").(*sim.Sim).Own(ts.Getenv("ARN_"+args[0]), args[1])
			},
			"reach": func(ts *testscript.TestScript, _ bool, args []string) {
				deadline := time.Now().Add(20 * time.Second)
				for {
					resp, err := http.Get(args[0])
					if err == nil {
						ts.Check(resp.Body.Close())
						break
					}
					if time.Now().After(deadline) {
						ts.Fatalf("nothing answers at %s", args[0])
					}
					time.Sleep(20 * time.Millisecond)
				}
				ts.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", args[0])
			},
			"there": func(ts *testscript.TestScript, _ bool, args []string) {
				deadline := time.Now().Add(20 * time.Second)
				for _, err := os.Stat(ts.MkAbs(args[0])); err != nil; _, err = os.Stat(ts.MkAbs(args[0])) {
					if time.Now().After(deadline) {
						ts.Fatalf("%s does not come", args[0])
					}
					time.Sleep(20 * time.Millisecond)
				}
			},
			"documented": func(ts *testscript.TestScript, _ bool, args []string) {
				var x any
				ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &x))
				forms, seen := ts.Value("forms").(map[string][]string), ts.Value("seen").(map[string]bool)
				if len(forms[args[0]]) == 0 {
					ts.Fatalf("docs/rotatorctl.md has no form of %s", args[0])
				}
				for _, m := range members(x) {
					if !slices.Contains(forms[args[0]], m) {
						ts.Fatalf("docs/rotatorctl.md has no member %s of %s", m, args[0])
					}
					seen[args[0]+" "+m] = true
				}
			},
			"everything": func(ts *testscript.TestScript, _ bool, _ []string) {
				seen := ts.Value("seen").(map[string]bool)
				for command, names := range ts.Value("forms").(map[string][]string) {
					for _, m := range names {
						if !seen[command+" "+m] {
							ts.Fatalf("no output of %s had the member %s", command, m)
						}
					}
				}
			},
			"rotate": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := client(ts).RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &args[0], ClientRequestToken: &args[1], RotationLambdaARN: aws.String(functionARN),
					RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}})
				ts.Check(err)
				_ = ts.Value("sim").(*sim.Sim).WaitRotation(context.Background(), args[0])
			},
		},
	})
}

func client(ts *testscript.TestScript) *secretsmanager.Client {
	return clientAt(ts.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER"))
}

func clientAt(url string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{BaseEndpoint: &url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
}

// value reads a file and expands the script's variables in it.
func value(ts *testscript.TestScript, file string) *string {
	return aws.String(os.Expand(ts.ReadFile(file), ts.Getenv))
}

// freeAddress returns an address that nobody listens at. Its port is none that the
// system gives out by itself, as nobody may get it before the script comes to use it.
func freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("no port is free")
}

var (
	formRow = regexp.MustCompile("(?m)^\\| (?:`(\\w+)`|(any) that fails) \\| `([{\\[].+)`")
	member  = regexp.MustCompile(`"(\w+)"`)
)

// forms returns the members of each command's JSON by docs/rotatorctl.md.
func forms() (map[string][]string, error) {
	page, err := os.ReadFile("../../docs/rotatorctl.md")
	all := make(map[string][]string)
	for _, row := range formRow.FindAllStringSubmatch(string(page), -1) {
		for _, m := range member.FindAllStringSubmatch(row[3], -1) {
			all[row[1]+row[2]] = append(all[row[1]+row[2]], m[1])
		}
	}
	return all, err
}

// members returns the names of all members of a JSON value, but for those of an
// IAM policy, which are IAM's.
func members(x any) (names []string) {
	switch x := x.(type) {
	case []any:
		for _, one := range x {
			names = append(names, members(one)...)
		}
	case map[string]any:
		for name, one := range x {
			names = append(names, name)
			if name != "policy" {
				names = append(names, members(one)...)
			}
		}
	}
	return names
}
