package sim

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

// Version ids that are easy to distinguish.
const (
	v1 = "11111111-1111-1111-1111-111111111111"
	v2 = "22222222-2222-2222-2222-222222222222"
	v3 = "33333333-3333-3333-3333-333333333333"
)

// serve returns a simulator and the real SDK's client for it.
func serve(t *testing.T, o Options) (*Sim, *sm.Client, string) {
	t.Helper()
	s := New(o)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return s, sm.New(sm.Options{BaseEndpoint: aws.String(server.URL), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")}), server.URL
}

func create(t *testing.T, c *sm.Client, name string) string {
	t.Helper()
	out, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{
		Name: &name, SecretString: aws.String("one"), ClientRequestToken: aws.String(v1),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

func put(t *testing.T, c *sm.Client, id, token, value string, stages ...string) {
	t.Helper()
	if _, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{
		SecretId: &id, ClientRequestToken: &token, SecretString: &value, VersionStages: stages,
	}); err != nil {
		t.Fatal(err)
	}
}

// labels fails the test unless DescribeSecret shows these labels.
func labels(t *testing.T, c *sm.Client, id string, want map[string][]string) {
	t.Helper()
	out, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out.VersionIdsToStages, want) {
		t.Errorf("labels are %v, want %v", out.VersionIdsToStages, want)
	}
}

// wantError fails the test unless the error has the code and the text.
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("error %v, want %s %q", err, code, text)
	}
}

// raw posts a request unchanged.
func raw(t *testing.T, url, operation, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("Authorization",
		"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, "+
			"Signature="+strings.Repeat("0", 64))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func TestSecretIdFormsAndErrors(t *testing.T) {
	_, c, url := serve(t, Options{})
	arn := create(t, c, "a/b-name")
	for _, id := range []string{"a/b-name", arn, arn[:len(arn)-7]} {
		if _, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("none")})
	wantError(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	_, err = c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("no$name")})
	wantError(t, err, "ValidationException", "Invalid name.")
	if code, body := raw(t, url, "GetSecretValue", `{"SecretId":"none","Unknown":1}`); code != 400 ||
		body != `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}` {
		t.Errorf("on the wire: %d %s", code, body)
	}
	if code, body := raw(t, url, "Nonsense", `{}`); code != 400 ||
		!strings.Contains(body, "UnknownOperationException") {
		t.Errorf("an unknown operation: %d %s", code, body)
	}
	if code, _ := raw(t, url, "GetSecretValue", `[`); code != 400 {
		t.Errorf("a body that is not JSON: %d", code)
	}
	create(t, c, "ends-in-a1b2c3")
	described, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("ends-in-a1b2c3")})
	if err != nil {
		t.Fatal(err)
	}
	partial := (*described.ARN)[:len(*described.ARN)-7]
	_, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &partial})
	wantError(t, err, "ResourceNotFoundException", "")
}

func TestGetSecretValueErrors(t *testing.T) {
	_, c, _ := serve(t, Options{})
	create(t, c, "s")
	get := func(id, stage string) error {
		in := &sm.GetSecretValueInput{SecretId: aws.String("s")}
		if id != "" {
			in.VersionId = &id
		}
		if stage != "" {
			in.VersionStage = &stage
		}
		_, err := c.GetSecretValue(t.Context(), in)
		return err
	}
	wantError(t, get("", "AWSPENDING"), "ResourceNotFoundException",
		"Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
	wantError(t, get(v2, ""), "ResourceNotFoundException",
		"Secrets Manager can't find the specified secret value for VersionId: "+v2)
	wantError(t, get(v1, "AWSPENDING"), "InvalidRequestException",
		"You provided a VersionStage that is not associated to the provided VersionId.")
	if _, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("empty")}); err != nil {
		t.Fatal(err)
	}
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("empty")})
	wantError(t, err, "ResourceNotFoundException", "staging label: AWSCURRENT")
}

// TestUpdateSecretVersionStage follows recordings of AWS.
func TestUpdateSecretVersionStage(t *testing.T) {
	_, c, _ := serve(t, Options{})
	create(t, c, "s")
	put(t, c, "s", v2, "two", "AWSPENDING", "custom")
	move := func(label, from, to string) error {
		in := &sm.UpdateSecretVersionStageInput{SecretId: aws.String("s"), VersionStage: &label}
		if from != "" {
			in.RemoveFromVersionId = &from
		}
		if to != "" {
			in.MoveToVersionId = &to
		}
		_, err := c.UpdateSecretVersionStage(t.Context(), in)
		return err
	}
	wantError(t, move("AWSCURRENT", "", v2), "InvalidParameterException",
		"The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+
			v1)
	wantError(t, move("AWSCURRENT", v2, v2), "InvalidParameterException",
		"must be set to the version that currently has")
	wantError(t, move("AWSCURRENT", v1, ""), "InvalidParameterException", "can’t be completely removed")
	wantError(t, move("AWSCURRENT", v1, v3), "ResourceNotFoundException", "")
	if err := move("AWSCURRENT", v1, v2); err != nil {
		t.Fatal(err)
	}
	labels(t, c, "s", map[string][]string{v1: {"AWSPREVIOUS"}, v2: {"AWSCURRENT", "AWSPENDING", "custom"}})
	if err := move("AWSCURRENT", v1, v2); err != nil {
		t.Errorf("a label that is there already: %v", err)
	}
	if err := errors.Join(move("AWSPENDING", v2, ""), move("free", "", v1), move("custom", v2, v1)); err != nil {
		t.Fatal(err)
	}
	labels(t, c, "s", map[string][]string{v1: {"AWSPREVIOUS", "custom", "free"}, v2: {"AWSCURRENT"}})
	if err := move("AWSCURRENT", v2, v1); err != nil {
		t.Fatal(err)
	}
	labels(t, c, "s", map[string][]string{v1: {"AWSCURRENT", "custom", "free"}, v2: {"AWSPREVIOUS"}})
}

func TestVersionsWithoutALabelAreHiddenAndReadable(t *testing.T) {
	_, c, _ := serve(t, Options{})
	create(t, c, "s")
	put(t, c, "s", v2, "two")
	put(t, c, "s", v3, "three")
	out, err := c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: aws.String("s")})
	if err != nil || len(out.Versions) != 2 {
		t.Errorf("listed %v, %v", out, err)
	}
	out, err = c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{
		SecretId: aws.String("s"), IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(2),
	})
	if err != nil || len(out.Versions) != 2 || out.NextToken == nil {
		t.Fatalf("the first page is %v, %v", out, err)
	}
	out, err = c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{
		SecretId: aws.String("s"), IncludeDeprecated: aws.Bool(true), NextToken: out.NextToken,
	})
	if err != nil || len(out.Versions) != 1 || aws.ToString(out.Versions[0].VersionId) != v1 ||
		out.Versions[0].VersionStages != nil {
		t.Errorf("the second page is %v, %v", out, err)
	}
	if v, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{
		SecretId: aws.String("s"), VersionId: aws.String(v1),
	}); err != nil || *v.SecretString != "one" {
		t.Errorf("the version without a label: %v, %v", v, err)
	}
}

func TestDeleteAndRestore(t *testing.T) {
	_, c, _ := serve(t, Options{})
	create(t, c, "s")
	if _, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	const marked = "You can't perform this operation on the secret because it was marked for deletion."
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")})
	wantError(t, err, "InvalidRequestException", marked)
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{
		SecretId: aws.String("s"), SecretString: aws.String("x"),
	})
	wantError(t, err, "InvalidRequestException", marked)
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("x")})
	wantError(t, err, "InvalidRequestException", "already scheduled for deletion")
	d, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || d.DeletedDate == nil {
		t.Errorf("Describe of a deleted secret: %v, %v", d, err)
	}
	if _, err := c.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s")}); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteSecret(t.Context(), &sm.DeleteSecretInput{
		SecretId: aws.String("s"), ForceDeleteWithoutRecovery: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	create(t, c, "s")
}

func TestCreateIsIdempotent(t *testing.T) {
	_, c, _ := serve(t, Options{})
	arn := create(t, c, "s")
	if again := create(t, c, "s"); again != arn {
		t.Errorf("the second ARN is %s, the first %s", again, arn)
	}
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{
		Name: aws.String("s"), SecretString: aws.String("other"), ClientRequestToken: aws.String(v1),
	})
	wantError(t, err, "ResourceExistsException", "because that value is already in use")
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("one")})
	wantError(t, err, "ResourceExistsException", "The operation failed because the secret s already exists.")
}

func TestUpdateSecretAndTags(t *testing.T) {
	_, c, _ := serve(t, Options{})
	create(t, c, "s")
	out, err := c.UpdateSecret(t.Context(), &sm.UpdateSecretInput{
		SecretId: aws.String("s"), Description: aws.String("words"),
	})
	if err != nil || out.VersionId != nil {
		t.Errorf("an update without a value: %v, %v", out, err)
	}
	if _, err := c.UpdateSecret(t.Context(), &sm.UpdateSecretInput{
		SecretId: aws.String("s"), SecretString: aws.String("two"), ClientRequestToken: aws.String(v2),
	}); err != nil {
		t.Fatal(err)
	}
	labels(t, c, "s", map[string][]string{v1: {"AWSPREVIOUS"}, v2: {"AWSCURRENT"}})
	for _, value := range []string{"x", "y"} {
		if _, err := c.TagResource(t.Context(), &sm.TagResourceInput{
			SecretId: aws.String("s"), Tags: []types.Tag{{Key: aws.String("k"), Value: &value}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil || len(d.Tags) != 1 || *d.Tags[0].Value != "y" || *d.Description != "words" {
		t.Errorf("described %v, %v", d, err)
	}
	if _, err := c.UntagResource(t.Context(), &sm.UntagResourceInput{
		SecretId: aws.String("s"), TagKeys: []string{"k"},
	}); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListSecrets(t.Context(), &sm.ListSecretsInput{})
	if err != nil || len(list.SecretList) != 1 || len(list.SecretList[0].Tags) != 0 ||
		len(list.SecretList[0].SecretVersionsToStages) != 2 {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestGetRandomPassword(t *testing.T) {
	_, c, _ := serve(t, Options{})
	out, err := c.GetRandomPassword(t.Context(), &sm.GetRandomPasswordInput{
		PasswordLength: aws.Int64(120), ExcludeCharacters: aws.String("xyzDje@?!."),
	})
	if err != nil || len(*out.RandomPassword) != 120 || strings.ContainsAny(*out.RandomPassword, "xyzDje@?!.") {
		t.Errorf("%v, %v", out, err)
	}
	_, err = c.GetRandomPassword(t.Context(), &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(3)})
	wantError(t, err, "InvalidParameterException", "too short")
	_, err = c.GetRandomPassword(t.Context(), &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(5555)})
	wantError(t, err, "ValidationException", "Value '5555' at 'passwordLength'")
}
