//go:build sam

package docstest

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
)

const (
	// samImage is the image in which `sam local` runs the function.
	samImage = "public.ecr.aws/lambda/provided:al2023-x86_64"
	// bridge is this machine's address for containers.
	bridge = "172.17.0.1"
)

// workshop is a clone of the project with the stock SAM CLI, AWS CLI and Docker.
type workshop struct {
	dir string
	env []string
}

// TestSAM follows docs/sam.md and the README with the SAM CLI, and checks the results. The parts run in sequence,
// because all use the same ports, and one runs what another builds.
func TestSAM(t *testing.T) {
	w := newWorkshop(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"templates", w.templates},
		{"arm64", w.arm64},
		{"example", w.example},
		{"page", w.page},
		{"function error", w.functionError},
		{"deploy", w.deploy},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{dir: filepath.Join(t.TempDir(), "rotator")}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			w.env = append(w.env, v)
		}
	}
	w.env = append(w.env, "SAM_CLI_TELEMETRY=0", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com",
		"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com")
	copyProject(t.Context(), t, w.dir)
	w.run(t, "git init --quiet && git add --all && git commit --quiet --message=clone && git tag v0.0.1-test")
	w.image(t)
	return w
}

// image builds a replacement for AWS's image if it is not on this machine: a shell for SAM, which adds its runtime
// interface emulator.
func (w *workshop) image(t *testing.T) {
	t.Helper()
	w.env = append(w.env, "SAM_SKIP_PULL_IMAGE=1")
	inspect := exec.Command("docker", "image", "inspect", "--format", "{{.Config.Labels.rotator}}", samImage)
	label, err := inspect.Output()
	if err == nil && strings.TrimSpace(string(label)) != "stand-in" {
		return
	}
	dir := t.TempDir()
	w.run(t, fmt.Sprintf(`cd %q
		mkdir -p bin etc/ssl/certs var/task
		cp "$(command -v busybox)" bin/busybox
		cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/
		for name in sh mv chmod; do ln -s busybox bin/$name; done
		printf '%%s\n' 'FROM scratch' 'LABEL rotator=stand-in' 'COPY bin /bin' 'COPY etc /etc' 'COPY var /var' \
			'ENV PATH=/bin LAMBDA_TASK_ROOT=/var/task' 'WORKDIR /var/task' > Dockerfile
		docker build --quiet --tag %s .`, dir, samImage))
	t.Cleanup(func() {
		rapid := strings.Replace(samImage, "al2023", "al2023-rapid", 1)
		if out, err := exec.Command("docker", "image", "rm", "--force", samImage, rapid).CombinedOutput(); err != nil {
			t.Logf("the stand-in remains: %v\n%s", err, out)
		}
	})
}

// run runs a script in the clone and returns its output. If the script fails, so does the test.
func (w *workshop) run(t *testing.T, script string, env ...string) string {
	t.Helper()
	out, err := w.try(t, script, env...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return out
}

func (w *workshop) try(t *testing.T, script string, env ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	// Job control lets a page use kill %1. Remaining jobs end with the script, before Docker does: SAM removes its
	// containers.
	script = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + script
	cmd := exec.CommandContext(t.Context(), "bash", "-m", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = w.dir, &out, &out, append(w.env, env...)
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return out.String(), err
}

// blocksOf returns the commands of a page that are `sh sam`.
func (w *workshop) blocksOf(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, page))
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	fenced, _ := blocks(string(text))
	for _, b := range fenced {
		if b.info == "sh sam" {
			script += b.text
		}
	}
	if script == "" {
		t.Fatalf("%s has no commands for SAM", page)
	}
	return script
}

// templates lints every template as samconfig.yaml says.
func (w *workshop) templates(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(w.dir, "deploy", "*.yaml"))
	if err != nil || len(names) < 4 {
		t.Fatalf("templates %v (%v)", names, err)
	}
	for _, name := range append(names, filepath.Join(w.dir, "template.yaml"),
		filepath.Join(w.dir, "examples/sam/template.yaml")) {
		t.Run(strings.TrimPrefix(name, w.dir), func(t *testing.T) {
			t.Parallel()
			out := w.run(t, "sam validate --lint --template "+name)
			if !strings.Contains(out, "is a valid SAM Template") {
				t.Error(out)
			}
		})
	}
}

// built returns the built function's machine, and whether the function contains the clone's version.
func (w *workshop) built(t *testing.T) (machine elf.Machine, version bool) {
	t.Helper()
	return inspect(t, filepath.Join(w.dir, ".aws-sam", "build", "RotatorFunction", "bootstrap"))
}

// inspect returns a function's machine, and whether the function contains the clone's version.
func inspect(t *testing.T, path string) (machine elf.Machine, version bool) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return f.Machine, bytes.Contains(text, []byte("v0.0.1-test"))
}

// arm64 builds for the other processor, which one line selects, and checks that a conflicting choice is refused.
func (w *workshop) arm64(t *testing.T) {
	w.run(t, "sed -i 's/Architectures: .x86_64./Architectures: [arm64]/' template.yaml && sam build")
	if machine, version := w.built(t); machine != elf.EM_AARCH64 || !version {
		t.Errorf("built for %v, with the version: %v", machine, version)
	}
	out, err := w.try(t, "GOARCH=amd64 sam build")
	if err == nil || !strings.Contains(out, "change the line Architectures in template.yaml") {
		t.Errorf("with another GOARCH: %v\n%s", err, out)
	}
	w.run(t, "git checkout --quiet template.yaml")
}

// example builds the example, whose function is in a nested application.
func (w *workshop) example(t *testing.T) {
	w.run(t, "cd examples/sam && sam build")
	path := filepath.Join(w.dir, "examples", "sam", ".aws-sam", "build", "Function", "RotatorFunction", "bootstrap")
	if machine, version := inspect(t, path); machine != elf.EM_X86_64 || !version {
		t.Errorf("built for %v, with the version: %v", machine, version)
	}
}

// page runs the commands of docs/sam.md.
func (w *workshop) page(t *testing.T) {
	out := w.run(t, w.blocksOf(t, "docs/sam.md"))
	if machine, version := w.built(t); machine != elf.EM_X86_64 || !version {
		t.Errorf("built for %v, with the version: %v", machine, version)
	}
	if n := strings.Count(out, "\nnull"); n != 6 {
		t.Errorf("%d of 6 steps succeeded", n)
	}
	for _, want := range []string{"Build Succeeded", `"build":"v0.0.1-test"`, "550e8400-e29b-41d4-a716-446655440000"} {
		if !strings.Contains(out, want) {
			t.Errorf("the page's commands do not print %s", want)
		}
	}
	if strings.Contains(out, "errorType") || t.Failed() {
		t.Error(out)
	}
}

// functionError checks the page's description of a failure: it is printed, and the command succeeds.
func (w *workshop) functionError(t *testing.T) {
	const invoke = "sam local invoke RotatorFunction --event events/createSecret.json --env-vars "
	out := w.run(t, invoke+"events/env.json --add-host host.docker.internal:host-gateway",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "AWS_REGION=us-east-1")
	if !strings.Contains(out, `"errorType": "SecretsManagerFailed"`) {
		t.Errorf("no simulator, and the function says\n%s", out)
	}
	settings := `{"RotatorFunction": {"ROTATOR_SETTINGS": "{\"RETIER\": \"now\"}"}}`
	out = w.run(t, "printf %s '"+settings+"' > build/env.json; "+invoke+"build/env.json")
	if !strings.Contains(out, `"errorType": "InvalidConfiguration"`) || !strings.Contains(out, "RETIER") {
		t.Errorf("an unknown setting, and the function says\n%s", out)
	}
}

// entered is `sam deploy` with Enter pressed at every prompt, in a terminal that is wide enough for each prompt. moto
// supports only the steps up to the change set, and the default at the last prompt is not to deploy. The stack is then
// created without SAM's transform.
const entered = `
sam() {
	if [ "$1" != deploy ]; then command sam "$@"; return; fi
	mkfifo keys; exec 9<>keys; rm keys
	printf '\n%.0s' {1..60} >&9
	script --quiet --return --command "stty cols 150; sam $*" deploy.log <&9 >/dev/null || { cat deploy.log; return 1; }
	exec 9>&-
	cat deploy.log
	grep -q 'Changeset created successfully' deploy.log || return 1
	rm deploy.log
	aws cloudformation delete-stack --stack-name rotator
	aws cloudformation create-stack --stack-name rotator --template-body '{
		"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
		"Outputs": {"RotationLambdaARN": {"Value": "arn:aws:lambda:us-east-1:123456789012:function:RotatorFunction"}}}'
}
`

// deploy follows the README from a clone to a rotated secret. PostgreSQL has a certificate from a CA in the folder
// files, moto replaces CloudFormation, and the function runs in SAM's container behind the simulator.
func (w *workshop) deploy(t *testing.T) {
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue("host.docker.internal", "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pg := testserver.Postgres(t, testserver.PostgresOptions{CA: ca, Cert: cert, Config: "listen_addresses = '*'",
		HBA: "hostssl all all all scram-sha-256"})
	_, err = pg.Connect(t, "postgres").Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'First-Passw0rd'")
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(map[string]any{"engine": "postgres", "host": "host.docker.internal", "port": pg.Port,
		"username": "app", "password": "First-Passw0rd"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "files", "ca.pem"), ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	moto := w.moto(t)
	simulator := "http://" + bridge + ":7788"
	env := []string{"AWS_ENDPOINT_URL=" + moto, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + simulator,
		"AWS_ENDPOINT_URL_STS=" + simulator, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "SECRET=" + string(value)}
	// SAM creates this stack with a transform that moto does not support.
	w.run(t, `aws cloudformation create-stack --stack-name aws-sam-cli-managed-default \
		--tags Key=ManagedStackSource,Value=AwsSamCli --template-body '{
			"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}},
			"Outputs": {"SourceBucket": {"Value": {"Ref": "Bucket"}}}}'`, env...)

	t.Run("without questions", func(t *testing.T) {
		w.run(t, "sam build > build/sam.log 2>&1"+entered+"sam deploy; [ -z \"$(git status --porcelain)\" ]", env...)
	})
	// The reader's situation: a secret, and a function that is deployed once `sam deploy` is done.
	prelude := entered + `
build/rotatorctl sim --listen ` + bridge + `:7788 --force \
	--function arn:aws:lambda:us-east-1:123456789012:function:RotatorFunction=url:http://127.0.0.1:3001 > build/sim.log 2>&1 &
for i in {1..200}; do grep -q ready build/sim.log && break; sleep 0.1; done
aws secretsmanager create-secret --name my-secret --secret-string "$SECRET" > build/secret.json
cat > build/env.json <<'END'
{"RotatorFunction": {
  "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://host.docker.internal:7788",
  "ROTATOR_SETTINGS": "{\"CA_BUNDLE\": \"files/ca.pem\"}"}}
END
`
	// The README's last command calls the function, which runs with the parameters that --guided saved. With env, the
	// job is SAM itself and not a shell with the function sam, so it can be stopped.
	lambda := `
[ -z "$(git status --porcelain)" ]
overrides=$(sed -n 's/^parameter_overrides = "\(.*\)"$/\1/p' samconfig.toml | sed 's/\\"/"/g')
env sam local start-lambda --parameter-overrides "$overrides" --env-vars build/env.json \
	--add-host host.docker.internal:host-gateway --warm-containers EAGER > build/sam.log 2>&1 &
for i in {1..300}; do (: < /dev/tcp/127.0.0.1/3001) 2> build/tcp.log && break; sleep 0.2; done
`
	commands := w.blocksOf(t, "README.md")
	before, rotate, ok := strings.Cut(commands, "aws secretsmanager rotate-secret")
	if n := len(regexp.MustCompile(`(?m)^[^\s#]`).FindAllString(commands, -1)); !ok || n != 4 {
		t.Fatalf("the README has %d commands:\n%s", n, commands)
	}
	out, err := w.try(t, prelude+before+lambda+"aws secretsmanager rotate-secret"+rotate+`
for i in {1..120}; do
	build/rotatorctl status my-secret > build/status.txt
	grep -q AWSPENDING build/status.txt || break
	sleep 1
done
cat build/status.txt build/sam.log
aws secretsmanager get-secret-value --secret-id my-secret --query SecretString --output text > build/value.json
[ -z "$(git status --porcelain)" ]
`, env...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "build", "value.json"))
	if err != nil {
		t.Fatal(err)
	}
	var now struct{ Password string }
	if err := json.Unmarshal(text, &now); err != nil || now.Password == "First-Passw0rd" || now.Password == "" {
		t.Fatalf("the password is not rotated (%v)\n%s", err, out)
	}
	conn, err := pgx.Connect(t.Context(), pg.URLFor("app", now.Password, "postgres"))
	if err != nil {
		t.Fatalf("the new password: %v", err)
	}
	conn.Close(t.Context())
}

// moto starts the AWS fake and returns its URL. moto reads the bucket's name only from a URL with localhost.
func (w *workshop) moto(t *testing.T) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec moto_server -H 127.0.0.1 -p "+port)
	cmd.Env = w.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 300 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return "http://localhost:" + port
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("moto does not start")
	return ""
}
