package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"go/format"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
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
	*sim.Server
	sim    *sim.Sim
	client *secretsmanager.Client
}

const exampleARN = "arn:aws:lambda:us-east-1:123456789012:function:gate"

func newManager() *manager {
	m := &manager{sim: sim.New(sim.Options{MaxAttempts: 1})}
	var err error
	if m.Server, err = sim.Serve(m.sim, "127.0.0.1:0"); err != nil {
		panic(err) // no address on this machine is free
	}
	m.client = secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(m.URL()), Region: "us-east-1",
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

// page returns the Go programs in docs/own-engine.md.
func page(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/own-engine.md")
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, block := range strings.Split(string(text), "```go\n")[1:] {
		program, _, _ := strings.Cut(block, "```")
		programs = append(programs, program)
	}
	return programs
}

// The page's program is built and run as a Lambda function that the simulated Secrets Manager
// calls.
func TestTheProgramOfTheDocumentationRotates(t *testing.T) {
	program := page(t)[0]
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("the program is not formatted with gofmt: %v", err)
	}
	dir := t.TempDir()
	source, bootstrap, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "bootstrap"),
		filepath.Join(dir, "overlay.json")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// To the compiler, the program is in this module.
	files, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(root, "cmd", "gate", "main.go"): source},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(source, []byte(program), 0o600),
		os.WriteFile(overlay, files, 0o600)); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", bootstrap, "./cmd/gate")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, m := newController(), newManager()
	defer c.Close()
	defer m.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	var out bytes.Buffer
	f, err := lambdasim.New(bootstrap, lambdasim.Options{ARN: exampleARN, Timeout: 20 * time.Second, Log: &out,
		Env: []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + m.URL(), "CA_BUNDLE=" + string(ca)}})
	if err != nil {
		t.Fatal(err)
	}
	m.sim.RegisterFunction(exampleARN, f)
	first := engine.StringValue(c.secret())
	m.rotate(string(first.Reveal()))
	f.Close()
	if now := m.current(); now.Equal(first) || !c.opens(now) || c.opens(first) {
		t.Errorf("AWSCURRENT is new: %v, opens: %v; the first value opens: %v\n%s", !now.Equal(first), c.opens(now),
			c.opens(first), out.String())
	}
}

// The page and the package's example have the same engine.
func TestThePageAndTheExampleShowTheSameEngine(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, engine, _ := strings.Cut(string(source), "type gate struct")
	engine, _, ok := strings.Cut(engine, "// Example rotates")
	if !ok || !strings.Contains(page(t)[0], "type gate struct"+engine) {
		t.Error("docs/own-engine.md has another engine than example_test.go")
	}
}

// TestSuperuserWithAnEngineThatSupportsNone: the gate's users change their own passwords, so acting
// as the boss would change the boss's password. The porter's secret names the boss's as superuser
// secret.
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
