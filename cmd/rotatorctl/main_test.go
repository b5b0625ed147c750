package main

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"example.com/rotator/internal/secretsim"
	"example.com/rotator/internal/testserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rotatorctl": func() { os.Exit(run()) }})
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
//	rotate NAME TOKEN           begin a rotation whose function does nothing
func TestScripts(t *testing.T) {
	pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			sim := secretsim.New(secretsim.Options{MaxAttempts: 1})
			server, err := secretsim.Serve(sim, "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { server.Close() })
			sim.RegisterFunction(functionARN, secretsim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }))
			env.Values["sim"] = sim
			for k, v := range map[string]string{
				"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL(), "AWS_REGION": "us-east-1",
				"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated",
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
			"rotate": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := client(ts).RotateSecret(context.Background(), &secretsmanager.RotateSecretInput{SecretId: &args[0], ClientRequestToken: &args[1], RotationLambdaARN: aws.String(functionARN)})
				ts.Check(err)
				_ = ts.Value("sim").(*secretsim.Sim).WaitRotation(context.Background(), args[0])
			},
		},
	})
}

func client(ts *testscript.TestScript) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(ts.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
}

// value reads a file and expands the script's variables in it.
func value(ts *testscript.TestScript, file string) *string {
	return aws.String(os.Expand(ts.ReadFile(file), ts.Getenv))
}
