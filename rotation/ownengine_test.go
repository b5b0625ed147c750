package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/internal/testing/world"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
	"example.com/rotator/sim/lambdasim"
)

// controller is the example's gate controller. Each user has one password and changes it itself.
type controller struct {
	*httptest.Server
	mu        sync.Mutex
	passwords map[string]string
}

func newController() *controller {
	c := &controller{passwords: map[string]string{"porter": "first-password"}}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path != "/password" || err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case c.passwords[user] == "" || c.passwords[user] != password:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPut:
			c.passwords[user] = string(body)
		}
	}))
	c.Config.ErrorLog = log.New(io.Discard, "", 0) // tests cut connections on purpose
	c.StartTLS()
	return c
}

// secret returns the value of the porter's secret.
func (c *controller) secret() string { return c.secretAt(c.Listener.Addr().String(), "porter") }

func (c *controller) secretAt(address, user string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(`{"engine":"gate","host":%q,"port":%s,"username":%q,"password":%q}`, host,
		port, user, c.passwords[user])
}

// opens reports whether the gate opens with a value.
func (c *controller) opens(v engine.Value) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return password != "" && c.passwords[user] == password
}

// manager is the simulated Secrets Manager with the secret "gate".
type manager struct {
	*httptest.Server
	sim    *sim.Sim
	client *secretsmanager.Client
}

const exampleARN = "arn:aws:lambda:us-east-1:123456789012:function:gate"

func newManager() *manager {
	m := &manager{sim: sim.New(sim.Options{MaxAttempts: 1})}
	m.Server = httptest.NewServer(m.sim.Handler())
	m.client = secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(m.URL), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})
	return m
}

// function registers handle as the rotation function.
func (m *manager) function(handle func(context.Context, rotation.Event) error) {
	m.sim.RegisterFunction(exampleARN,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			var e rotation.Event
			if err := json.Unmarshal(payload, &e); err != nil {
				return nil, "", err
			}
			if err := handle(ctx, e); err != nil {
				return nil, "Unhandled", nil
			}
			return nil, "", nil
		}))
}

// rotate creates the secret with its first value and rotates it.
func (m *manager) rotate(first string) {
	ctx := context.Background()
	_, err := m.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("gate"), SecretString: &first, ClientRequestToken: aws.String(uuid.NewString()),
	})
	if err == nil {
		_, err = m.client.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
			SecretId: aws.String("gate"), RotationLambdaARN: aws.String(exampleARN),
			ClientRequestToken: aws.String(uuid.NewString()),
		})
	}
	if err == nil {
		err = m.sim.WaitRotation(ctx, "gate")
	}
	if err != nil {
		fmt.Println("the rotation failed:", err)
	}
}

func (m *manager) current() engine.Value {
	out, err := m.client.GetSecretValue(context.Background(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String("gate")})
	if err != nil {
		return engine.Value{}
	}
	return engine.StringValue(*out.SecretString)
}

// ownEnginePage is the page on writing an engine.
func ownEnginePage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/own-engine.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// typed matches what a reader of the page types: the files that it names and the commands between them.
var typed = regexp.MustCompile("(?s)(?:`([\\w./]+\\.go)`:\n\n```go|\n```sh outside)\n(.*?)```\n")

// follow carries out the page's instructions in a folder that contains this project as rotator, and returns the folder
// of the new module.
func follow(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	if err := os.Symlink(root, filepath.Join(parent, "rotator")); err != nil {
		t.Fatal(err)
	}
	// pwd records the directory in which a block ended, for the next block and the next file.
	where, dir := filepath.Join(t.TempDir(), "pwd"), parent
	page := ownEnginePage(t)
	blocks := typed.FindAllStringSubmatch(page, -1)
	if all := strings.Count(page, "\n```go\n") + strings.Count(page, "\n```sh outside\n"); len(blocks) != all {
		t.Errorf("the page has %d files and scripts, of which %d were found", all, len(blocks))
	}
	for _, block := range blocks {
		if name := block[1]; name != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block[2]+"\npwd > "+where)
		shell.Dir, shell.Env = dir, append(os.Environ(), "PWD="+dir)
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, block[2], out)
		}
		text, err := os.ReadFile(where)
		if err != nil {
			t.Fatal(err)
		}
		dir = strings.TrimSpace(string(text))
	}
	return dir
}

// TestTheOwnEngineOfTheDocumentation: following the page yields a function that rotates a secret of the new engine,
// with the usual settings, log and metrics, and a rotatorctl that supports the engine.
func TestTheOwnEngineOfTheDocumentation(t *testing.T) {
	dir := follow(t)
	c, m := newController(), newManager()
	defer c.Close()
	defer m.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	settings, err := json.Marshal(map[string]any{"CA_BUNDLE": string(ca), "PASSWORD_LENGTH": 41})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	f, err := lambdasim.New(filepath.Join(dir, "bootstrap"), lambdasim.Options{ARN: exampleARN, Timeout: 20 * time.Second, Log: &out,
		Env: []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + m.URL, "ROTATOR_SETTINGS=" + string(settings)}})
	if err != nil {
		t.Fatal(err)
	}
	m.sim.RegisterFunction(exampleARN, f)
	first := engine.StringValue(c.secret())
	m.rotate(string(first.Reveal()))
	f.Close()
	now := m.current()
	if password, _ := now.Text("password"); len(password) != 41 || !c.opens(now) || c.opens(first) {
		t.Errorf("the new password has %d characters, AWSCURRENT opens: %v, the first value opens: %v", len(password), c.opens(now), c.opens(first))
	}
	for _, want := range []string{`"message":"started"`, `"build":"1.0"`, `"message":"step done"`, `"function_request_id"`, `"Rotations":1`, `"engine":"gate"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	check := exec.CommandContext(t.Context(), filepath.Join(dir, "rotatorctl"), "check", "gate")
	check.Env = append(os.Environ(), "AWS_ENDPOINT_URL_SECRETS_MANAGER="+m.URL, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=simulated", "AWS_SECRET_ACCESS_KEY=simulated", "ROTATOR_SETTINGS="+string(settings))
	if text, err := check.CombinedOutput(); err != nil || !strings.Contains(string(text), "gate") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestThePageAndTheExampleShowTheSameEngine: the page's engine has the methods of the package's example.
func TestThePageAndTheExampleShowTheSameEngine(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, methods, _ := strings.Cut(string(source), "func (gate) Kind()")
	methods, _, ok := strings.Cut(methods, "// Example rotates")
	if !ok || !strings.Contains(ownEnginePage(t), "func (gate) Kind()"+strings.TrimRight(methods, "\n")) {
		t.Error("docs/own-engine.md has another engine than example_test.go")
	}
}

// TestSuperuserWithAnEngineThatSupportsNone: the porter's secret names the boss's secret as its superuser secret. The
// gate's users change their own passwords, so acting as the boss would change the boss's password.
func TestSuperuserWithAnEngineThatSupportsNone(t *testing.T) {
	c := newController()
	defer c.Close()
	c.passwords["boss"] = "boss-password"
	w := world.New(t, gate{c.Client()})
	boss := engine.StringValue(c.secretAt(c.Listener.Addr().String(), "boss"))
	master := w.Secret("boss", boss)
	arn := w.Secret("porter", engine.StringValue(c.secret()).With("masterarn", master))
	err := w.Rotate(arn)
	if !errors.Is(err, engine.InvalidSecret) || !strings.Contains(fmt.Sprint(err), "masterarn") {
		t.Errorf("%v", err)
	}
	if !c.opens(boss) {
		t.Error("the boss's password was changed")
	}
}
