package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

const (
	functionARN   = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
	token         = "550e8400-e29b-41d4-a716-446655440000"
	rotationToken = "e8b1f3f2-2a0c-4c9e-8c55-4a6f7d3c1b90"
)

// world is the handler with the simulated Secrets Manager behind it. Its function does nothing, so a rotation advances
// only when a test runs a step.
type world struct {
	t      *testing.T
	sim    *sim.Sim
	client *secretsmanager.Client
	env    map[string]string
	log    bytes.Buffer
	// metrics is the output that CloudWatch would read.
	metrics bytes.Buffer
	// wire, if set, may handle a request instead of the simulator.
	wire func(http.ResponseWriter, *http.Request) bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, sim.Options{MaxAttempts: 1})
}

func newWorldOf(t *testing.T, o sim.Options) *world {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "simulated")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "simulated")
	t.Setenv("AWS_REGION", "us-east-1")
	w := &world{t: t, env: map[string]string{}, sim: sim.New(o)}
	handler := w.sim.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.wire == nil || !w.wire(rw, r) {
			handler.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	w.client = secretsmanager.New(secretsmanager.Options{BaseEndpoint: &server.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	w.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }))
	return w
}

// secret stores a secret, without a value if value is "", and returns its ARN.
func (w *world) secret(value string) string {
	w.t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: aws.String("app/db")}
	if value != "" {
		in.SecretString = &value
	}
	out, err := w.client.CreateSecret(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ARN
}

// begin starts a rotation with the token and lets the idle function end it.
func (w *world) begin(arn string) {
	w.t.Helper()
	if _, err := w.client.RotateSecret(w.t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: aws.String(token),
			RotationLambdaARN: aws.String(functionARN)}); err != nil {
		w.t.Fatal(err)
	}
	_ = w.sim.WaitRotation(w.t.Context(), arn)
}

// labels returns the labels of all versions, to be compared.
func (w *world) labels(arn string) string {
	w.t.Helper()
	out, err := w.client.DescribeSecret(w.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		return err.Error()
	}
	text, _ := json.Marshal(out.VersionIdsToStages)
	return string(text)
}

func event(step, arn string) string {
	return fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":%q}`, step, arn, token,
		rotationToken)
}

// invoke calls the handler as Lambda would.
func (w *world) invoke(payload string) error {
	h := NewHandler(func(name string) string { return w.env[name] }, slog.New(slog.NewJSONHandler(&w.log, nil)),
		&w.metrics, "test")
	_, err := h.Invoke(w.t.Context(), []byte(payload))
	return err
}

// want fails the test unless Lambda would show the error under the name and with the text.
func (w *world) want(err error, name, text string) {
	w.t.Helper()
	e, ok := errors.AsType[messages.InvokeResponse_Error](err)
	if !ok || e.Type != name || !strings.Contains(e.Message, text) {
		w.t.Fatalf("error %#v, want %s with %q", err, name, text)
	}
	for _, hidden := range []string{rotationToken, "hidden-value"} {
		if strings.Contains(e.Message, hidden) || strings.Contains(w.log.String(), hidden) {
			w.t.Errorf("a secret is shown: %v\n%s", err, w.log.String())
		}
	}
}

var allSteps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

const value = `{"engine":"postgres","host":"127.0.0.1","port":1,"username":"app","password":"hidden-value"}`

func TestInvalidEvents(t *testing.T) {
	w := newWorld(t)
	for _, payload := range []string{"", "{", "null", "[]", `"text"`, `{}`, `{"Step":"createSecret"}`,
		`{"Step":"nonsense","SecretId":"x","ClientRequestToken":"y","RotationToken":"hidden-value"}`} {
		w.want(w.invoke(payload), "InvalidEvent", "")
	}
}

func TestSecretsThatCannotBeRotated(t *testing.T) {
	for _, step := range allSteps {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.want(w.invoke(event(step, "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf")),
				"SecretsManagerFailed", "exists in the region")

			arn := w.secret(value)
			before := w.labels(arn)
			w.want(w.invoke(event(step, arn)), "RotationDisabled", "not enabled")
			w.begin(arn)
			other := strings.ReplaceAll(event(step, arn), token, "99999999-e29b-41d4-a716-446655440000")
			w.want(w.invoke(other), "VersionNotStaged", "AWSPENDING is on version "+token)
			if _, err := w.client.UpdateSecretVersionStage(t.Context(),
				&secretsmanager.UpdateSecretVersionStageInput{SecretId: &arn, VersionStage: aws.String("AWSPENDING"),
					RemoveFromVersionId: aws.String(token)}); err != nil {
				t.Fatal(err)
			}
			w.want(w.invoke(event(step, arn)), "VersionNotStaged", "not staged")
			if after := w.labels(arn); after != before {
				t.Errorf("labels were %s and are %s", before, after)
			}
			if _, err := w.client.DeleteSecret(t.Context(),
				&secretsmanager.DeleteSecretInput{SecretId: &arn}); err != nil {
				t.Fatal(err)
			}
			err := w.invoke(event(step, arn))
			if err == nil {
				t.Error("a secret that is scheduled for deletion was rotated")
			}
		})
	}
}

func TestSecretWithoutAValue(t *testing.T) {
	w := newWorld(t)
	arn := w.secret("")
	w.begin(arn)
	w.want(w.invoke(event("createSecret", arn)), "InvalidSecret", "no current value")
	w.want(w.invoke(event("setSecret", arn)), "VersionNotStaged", "has no value")
}

func TestStepsOfAVersionThatIsCurrentSucceed(t *testing.T) {
	w := newWorld(t)
	arn := w.secret(value)
	w.begin(arn)
	if _, err := w.client.PutSecretValue(t.Context(),
		&secretsmanager.PutSecretValueInput{SecretId: &arn, ClientRequestToken: aws.String(token),
			SecretString: aws.String(value), VersionStages: []string{"AWSCURRENT"}}); err != nil {
		t.Fatal(err)
	}
	before := w.labels(arn)
	for _, step := range append(allSteps, allSteps...) {
		if err := w.invoke(event(step, arn)); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	if after := w.labels(arn); after != before {
		t.Errorf("labels were %s and are %s", before, after)
	}
}

func TestNoPermission(t *testing.T) {
	w := newWorld(t)
	arn := w.secret(value)
	w.begin(arn)
	for _, operation := range []string{"DescribeSecret", "GetSecretValue"} {
		w.wire = func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+operation) {
				return false
			}
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(rw, `{"__type":"AccessDeniedException","message":"User is not authorized"}`)
			return true
		}
		w.want(w.invoke(event("createSecret", arn)), "SecretsManagerFailed",
			"allow the function's role secretsmanager:"+operation)
	}
}

func TestInvalidConfigurationFailsEveryEvent(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"impossible password":    {"EXCLUDE_CHARACTERS": "0123456789"},
		"length is a word":       {"PASSWORD_LENGTH": "long"},
		"role is not an ARN":     {"ROTATION_ROLE_ARN": "rotation"},
		"external ID alone":      {"ROTATION_ROLE_EXTERNAL_ID": "x"},
		"bundle is not PEM":      {"CA_BUNDLE": "-----BEGIN nothing"},
		"bundle is not a file":   {"CA_BUNDLE": "/does/not/exist"},
		"fallback unclear":       {"ALLOW_PLAINTEXT_FALLBACK": "maybe"},
		"endpoint is not a URL":  {"SECRETS_MANAGER_ENDPOINT": "nonsense"},
		"recipes are not a file": {"HTTP_RECIPES": "/does/not/exist"},
		"recipes are not JSON":   {"HTTP_RECIPES": "{nonsense"},
		"strategy unclear":       {"STRATEGY": "singel"},
		"exclusion unclear":      {"EXCLUDE_NUMBERS": "ture"},
		"recovery unclear":       {"RECOVER_BY_SUPERUSER": "maybe"},
		"IAM unclear":            {"IAM_BY_ROLE": "maybe"},
		"metrics unclear":        {"METRICS": "maybe"},
	} {
		w := newWorld(t)
		w.env = env
		err := w.invoke(event("createSecret", "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf"))
		t.Log(name)
		w.want(err, "InvalidConfiguration", "")
	}
}

func TestRoleNeedsARotationToken(t *testing.T) {
	w := newWorld(t)
	w.env["ROTATION_ROLE_ARN"] = "arn:{partition}:iam::{account}:role/rotation"
	arn := "arn:aws:secretsmanager:us-east-1:444455556666:secret:none-AbCdEf"
	w.want(w.invoke(strings.ReplaceAll(event("createSecret", arn), rotationToken, "")), "InvalidEvent", "RotationToken")
}

// TestRoleIsTheOperatorsAlone: the role's name comes from the configuration and the account in the secret's ARN. No
// other role is requested, whatever the secret contains.
func TestRoleIsTheOperatorsAlone(t *testing.T) {
	w := newWorld(t)
	w.env["ROTATION_ROLE_ARN"] = "arn:{partition}:iam::{account}:role/rotation"
	w.env["ROTATION_ROLE_EXTERNAL_ID"] = "external-1"
	var asked []string
	w.wire = func(rw http.ResponseWriter, r *http.Request) bool {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("Action") != "AssumeRole" {
			return false
		}
		asked = append(asked, r.PostForm.Get("RoleArn")+" "+r.PostForm.Get("ExternalId"))
		fmt.Fprint(rw, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`+
			`<Credentials><AccessKeyId>assumed</AccessKeyId><SecretAccessKey>x</SecretAccessKey>`+
			`<SessionToken>y</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>`+
			`</AssumeRoleResult></AssumeRoleResponse>`)
		return true
	}
	t.Setenv("AWS_REGION", "us-gov-west-1")
	err := w.invoke(event("createSecret",
		"arn:aws-us-gov:secretsmanager:us-gov-east-1:444455556666:secret:none-AbCdEf"))
	w.want(err, "SecretsManagerFailed", "")
	if len(asked) != 1 || asked[0] != "arn:aws-us-gov:iam::444455556666:role/rotation external-1" {
		t.Errorf("roles asked for: %q", asked)
	}
}

// TestNoExclusions: AWS's templates exclude nothing if EXCLUDE_CHARACTERS is set and empty.
func TestNoExclusions(t *testing.T) {
	for name, c := range map[string]struct{ value, local, want string }{
		"empty":              {"", "", " "},
		"empty in sam local": {"", "true", ""},
		"some":               {"@", "", "@"},
	} {
		t.Setenv("EXCLUDE_CHARACTERS", c.value)
		t.Setenv("AWS_SAM_LOCAL", c.local)
		if got := Getenv("EXCLUDE_CHARACTERS"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := os.Unsetenv("EXCLUDE_CHARACTERS"); err != nil { // t.Setenv restores it
		t.Fatal(err)
	}
	if got := Getenv("EXCLUDE_CHARACTERS"); got != "" {
		t.Errorf("not set: %q", got)
	}
}

// TestManagedSecretsAreRefused, because a service or a partner's integration rotates them.
func TestManagedSecretsAreRefused(t *testing.T) {
	w := newWorld(t)
	arn := w.secret(`{"username": "postgres", "password": "of-rds"}`)
	w.begin(arn)
	w.sim.Own(arn, "rds")
	w.want(w.invoke(event("createSecret", arn)), "InvalidSecret", "is managed by rds (leave its rotation to rds")
	value := `{"consumerKey": "k", "consumerSecret": "s"}`
	in := &secretsmanager.CreateSecretInput{Name: aws.String("partner"), SecretString: &value,
		Type: aws.String("SalesforceClientSecret")}
	out, err := w.client.CreateSecret(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	w.begin(*out.ARN)
	w.want(w.invoke(event("createSecret", *out.ARN)), "InvalidSecret", "is managed by SalesforceClientSecret")
}

// TestAnOwnEngineReplacesOneOfTheSameName: in a program that adds an engine, the added one wins.
func TestAnOwnEngineReplacesOneOfTheSameName(t *testing.T) {
	w := newWorld(t)
	own := func(engine.TLSPolicy) engine.Engine {
		return refused{[]string{"postgres"}, engine.Errorf(engine.InvalidSecret, "see its page", "the own engine answers")}
	}
	arn := w.secret(value)
	w.begin(arn)
	h := NewHandler(func(name string) string { return w.env[name] }, slog.New(slog.DiscardHandler), &w.metrics, "test",
		own)
	_, err := h.Invoke(t.Context(), []byte(event("createSecret", arn)))
	w.want(err, "InvalidSecret", "the own engine answers")
}
