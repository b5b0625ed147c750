//go:build docker

package ctl

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim/lambdasim"
)

// TestImage builds the simulator's image, and rotates a secret in it with the Python example, which this machine serves
// through Lambda's Invoke API.
func TestImage(t *testing.T) {
	const image, arn = "rotator-sim-test", "arn:aws:lambda:us-east-1:123456789012:function:rotation"
	root := ".."
	python, err := testserver.Python()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(python)+string(os.PathListSeparator)+os.Getenv("PATH"))
	build := exec.CommandContext(t.Context(), "make", "image", "IMAGE="+image)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "image", "rm", "--force", image).CombinedOutput(); err != nil {
			t.Errorf("the image remains: %v\n%s", err, out)
		}
	})

	var function *lambdasim.Function
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/2015-03-31/functions/rotation/invocations" {
			http.NotFound(w, r)
			return
		}
		payload, _ := io.ReadAll(r.Body)
		body, functionError, err := function.Invoke(r.Context(), payload)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if functionError != "" {
			w.Header().Set("X-Amz-Function-Error", functionError)
		}
		_, _ = w.Write(body)
	}))
	defer host.Close()

	// On the host network, the container and this machine reach each other at 127.0.0.1.
	run := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", "host", image,
		"--listen", "127.0.0.1:0", "--function", arn+"=url:"+host.URL)
	var log bytes.Buffer
	run.Stderr = &log
	stdout, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "simulator ready at ")
	if !ok {
		t.Fatalf("it prints %q, %v\n%s", line, err, run.Wait())
	}

	database := filepath.Join(t.TempDir(), "database")
	setUp := exec.CommandContext(t.Context(), python, "-c", `import sys, lambda_function
with lambda_function.database() as db:
    db.execute("CREATE TABLE users (name, password)")
    db.execute("INSERT INTO users VALUES (?, ?)", ("app", lambda_function.digest({"password": "first"})))`)
	setUp.Dir = filepath.Join(root, "examples", "python")
	setUp.Env = append(setUp.Environ(), "DATABASE="+database)
	if out, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	handler := filepath.Join(root, "examples", "python", "lambda_function.lambda_handler")
	function, err = lambdasim.Python(handler, lambdasim.Options{
		ARN: arn, Env: []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + url, "DATABASE=" + database}, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer function.Close()

	client := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	if _, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("app"), SecretString: aws.String(`{"username": "app", "password": "first"}`),
	}); err != nil {
		t.Fatal(err)
	}
	out, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String("app"), RotationLambdaARN: aws.String(arn),
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		v, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("app")})
		if err == nil && *v.VersionId == *out.VersionId {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not rotated (%v)\n%s", err, log.String())
		}
	}

	// The program must stop on SIGTERM, without being killed.
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("it does not stop cleanly: %v\n%s", err, log.String())
	}
}
