package docstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

// worlds create what pages require, such as a secret that AWS's function rotates, and return the commands' environment.
var worlds = map[string]func(t *testing.T, dir string) []string{
	"docs/migration.md":     worldOfMigration,
	"docs/cross-account.md": worldOfCrossAccount,
	"docs/deploy.md":        worldOfDeploy,
	"docs/fleet.md":         worldOfFleet,
}

// runScript runs the commands of a page in a copy of the project, and leaves no files in the original. `aws` is this
// package's fake. The port is a free one, because the same page may be running elsewhere on this machine.
func runScript(t *testing.T, page, script string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	copyProject(ctx, t, dir)
	bin := filepath.Join(dir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "aws")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(script, "make ") && !strings.Contains(script, "go build") {
		if err := os.Mkdir(filepath.Join(dir, "build"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, path := range programs(t) {
			if err := os.Symlink(path, filepath.Join(dir, "build", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "PATH=") {
			env = append(env, v)
		}
	}
	env = append(env, "PATH="+bin+":"+filepath.Join(dir, "build")+":"+os.Getenv("PATH"))
	if world := worlds[page]; world != nil {
		env = append(env, world(t, dir)...)
	}
	script = strings.ReplaceAll(script, "7788", freePort(t))
	var out bytes.Buffer
	// Job control lets a document use kill %1. Remaining jobs end with the script or with its time limit.
	run := exec.CommandContext(ctx, "bash", "-m", "-euo", "pipefail", "-c",
		"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; trap 'exit 1' TERM\n"+script)
	run.Dir, run.Stdout, run.Stderr, run.Env = dir, &out, &out, env
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	run.WaitDelay = 5 * time.Second
	err = run.Run()
	if err != nil || strings.Contains(out.String(), `"errorType"`) {
		t.Errorf("%v\n%s\n%s", err, script, out.String())
		logs, _ := filepath.Glob(filepath.Join(dir, "build", "*.log"))
		for _, name := range logs {
			text, err := os.ReadFile(name)
			t.Logf("%s: %v\n%s", filepath.Base(name), err, text)
		}
	}
}

func copyProject(ctx context.Context, t *testing.T, dir string) {
	t.Helper()
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root(t)
	names, err := list.Output()
	if err != nil {
		t.Fatalf("the project is not a git checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root(t), name))
		if err != nil || info.IsDir() {
			continue // deleted, but not committed yet
		}
		data, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

var (
	buildOnce sync.Once
	buildDir  string
	errBuild  error
)

// programs returns the paths of the function and the tool, built once, by file name.
func programs(t *testing.T) map[string]string {
	t.Helper()
	buildOnce.Do(func() {
		if buildDir, errBuild = os.MkdirTemp("", "docstest"); errBuild != nil {
			return
		}
		for name, pkg := range map[string]string{"bootstrap": "example.com/rotator/cmd/rotator",
			"rotatorctl": "example.com/rotator/cmd/rotatorctl"} {
			if out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", filepath.Join(buildDir, name),
				pkg).CombinedOutput(); err != nil {
				errBuild = fmt.Errorf("%w\n%s", err, out)
			}
		}
	})
	if errBuild != nil {
		t.Fatal(errBuild)
	}
	return map[string]string{"bootstrap": filepath.Join(buildDir, "bootstrap"),
		"rotatorctl": filepath.Join(buildDir, "rotatorctl")}
}

// simulated starts a simulator with the real function under the ARNs, and returns it with the environment that `aws`
// and `rotatorctl` need to find it.
func simulated(
	t *testing.T, account string, variables []string, arns ...string,
) (*sim.Sim, *secretsmanager.Client, []string) {
	t.Helper()
	const region = "eu-central-1"
	simulator := sim.New(sim.Options{Region: region, RetryDelay: time.Second})
	server := httptest.NewServer(simulator.Handler())
	t.Cleanup(server.Close)
	env := []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL, "AWS_ENDPOINT_URL_STS=" + server.URL}
	for _, arn := range arns {
		f, err := lambdasim.New(programs(t)["bootstrap"],
			lambdasim.Options{ARN: arn, Env: append(slices.Clone(env), variables...), Log: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		simulator.RegisterFunction(arn, f)
	}
	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String(server.URL), Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(account, "simulated", "")})
	return simulator, client, append(env, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
		"AWS_ACCESS_KEY_ID="+account, "AWS_SECRET_ACCESS_KEY=simulated")
}

// database creates a user of a real PostgreSQL, and returns the JSON of its secret.
func database(t *testing.T) (value string, pg *testserver.PostgresServer) {
	t.Helper()
	pg = testserver.SharedPostgres(t, testserver.PostgresOptions{})
	user := testserver.Unique("app_")
	conn := pg.Connect(t, "postgres")
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+user+" LOGIN PASSWORD 'First-Passw0rd'"); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"engine": "postgres", "host": pg.Host, "port": pg.Port, "username": user,
		"password": "First-Passw0rd"})
	if err != nil {
		t.Fatal(err)
	}
	return string(text), pg
}

// rotatedTo fails the test unless the page's commands gave the secret this function and a new current value.
func rotatedTo(t *testing.T, simulator *sim.Sim, client *secretsmanager.Client, name, function string) {
	t.Helper()
	in := &secretsmanager.DescribeSecretInput{SecretId: &name}
	d, err := client.DescribeSecret(context.Background(), in)
	if err == nil {
		_ = simulator.WaitRotation(context.Background(), *d.ARN) // the labels show the result
		d, err = client.DescribeSecret(context.Background(), in)
	}
	if err != nil {
		t.Error(err)
		return
	}
	if aws.ToString(d.RotationLambdaARN) != function {
		t.Errorf("%s is rotated by %q", name, aws.ToString(d.RotationLambdaARN))
	}
	if len(d.VersionIdsToStages) < 2 {
		t.Errorf("%s has the versions %v", name, d.VersionIdsToStages)
	}
}

// worldOfMigration: AWS's function rotates the secret shop/db. Here it is the same program under another ARN.
func worldOfMigration(t *testing.T, _ string) []string {
	const old = "arn:aws:lambda:eu-central-1:111122223333:function:AwsTemplate"
	const own = "arn:aws:lambda:eu-central-1:111122223333:function:rotator"
	value, pg := database(t)
	simulator, client, env := simulated(t, "111122223333", []string{"CA_BUNDLE=" + pg.CAFile}, old, own)
	if _, err := client.CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String("shop/db"), SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	out, err := client.RotateSecret(t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: aws.String("shop/db"), RotationLambdaARN: aws.String(old)})
	if err != nil {
		t.Fatal(err)
	}
	if err := simulator.WaitRotation(t.Context(), *out.ARN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rotatedTo(t, simulator, client, "shop/db", old) }) // the page ends with the rollback
	return append(env, "NEW="+own, "CA_BUNDLE="+pg.CAFile)
}

// worldOfCrossAccount: the function and the secret are in different accounts, and the role exists.
func worldOfCrossAccount(t *testing.T, _ string) []string {
	const function, theirs = "arn:aws:lambda:eu-central-1:111122223333:function:rotator", "444455556666"
	value, pg := database(t)
	simulator, client, env := simulated(t, theirs,
		[]string{"CA_BUNDLE=" + pg.CAFile, "ROTATION_ROLE_ARN=arn:{partition}:iam::{account}:role/rotation",
			"ROTATION_ROLE_EXTERNAL_ID=external"}, function)
	if err := simulator.RegisterRole("arn:aws:iam::"+theirs+":role/rotation", "external"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String("app/db"), SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rotatedTo(t, simulator, client, "app/db", function) })
	return append(env, "FUNCTION_ARN="+function)
}

// worldOfDeploy: the function is deployed, and a database runs.
func worldOfDeploy(t *testing.T, dir string) []string {
	const function = "arn:aws:lambda:eu-central-1:111122223333:function:rotator"
	value, pg := database(t)
	simulator, client, env := simulated(t, "111122223333", []string{"CA_BUNDLE=" + pg.CAFile}, function)
	if err := os.WriteFile(filepath.Join(dir, "secret.json"), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rotatedTo(t, simulator, client, "shop/db", function) })
	return append(env, "FUNCTION_ARN="+function, "CA_BUNDLE="+pg.CAFile)
}

// worldOfFleet: there are two functions, one of which is an AWS template and rotates two secrets.
func worldOfFleet(t *testing.T, _ string) []string {
	const head = "arn:aws:lambda:eu-central-1:111122223333:function:"
	const old, own = head + "SecretsManagerRotationTemplate", head + "rotator"
	simulator, client, env := simulated(t, "111122223333", nil, own)
	simulator.RegisterFunction(old, awsFunction{})
	for _, name := range []string{"shop/a", "shop/b"} {
		in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("first-password"),
			Tags: []types.Tag{
				{Key: aws.String("rotator:engine"), Value: aws.String("generic")},
				{Key: aws.String("team"), Value: aws.String("shop")},
			}}
		if _, err := client.CreateSecret(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		out, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: &name, RotationLambdaARN: aws.String(old), RotateImmediately: aws.Bool(false),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := simulator.WaitRotation(t.Context(), *out.ARN); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { rotatedTo(t, simulator, client, name, own) })
	}
	return append(env, "NEW="+own, "OLD="+old)
}

// awsFunction is AWS's generic template, which does nothing.
type awsFunction struct{}

func (awsFunction) Configuration() sim.Configuration {
	return sim.Configuration{Runtime: "python3.12", Handler: "lambda_function.lambda_handler"}
}

func (awsFunction) Invoke(context.Context, []byte) ([]byte, string, error) {
	return []byte("null"), "", nil
}
