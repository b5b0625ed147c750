package iam_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// iamWorld is a fake with a stopped clock and a user who may do everything.
type iamWorld struct {
	*fakeIAM
	now   time.Time
	url   string
	first aws.Credentials
}

func newIAMWorld(t *testing.T) *iamWorld {
	t.Helper()
	w := &iamWorld{now: time.Now()}
	now := func() time.Time { return w.now }
	w.fakeIAM = newFake(fakeOptions{Now: now, LoginDelay: 10 * time.Second, ListDelay: 3 * time.Second})
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	w.first = w.AddUser("ci", "iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey",
		"iam:TagUser", "iam:ListUserTags")
	return w
}

func (w *iamWorld) config(c aws.Credentials) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.url, Credentials: credentials.StaticCredentialsProvider{Value: c},
		RetryMaxAttempts: 1,
	}
}

// who calls STS with a key and returns the error code.
func (w *iamWorld) who(c aws.Credentials) string {
	_, err := sts.NewFromConfig(w.config(c)).GetCallerIdentity(context.Background(), nil)
	return codeOf(err)
}

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestIAMRefusesKeysAsAWSDoesAndLate(t *testing.T) {
	w := newIAMWorld(t)
	client := iam.NewFromConfig(w.config(w.first))
	out, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	key := aws.Credentials{AccessKeyID: *out.AccessKey.AccessKeyId, SecretAccessKey: *out.AccessKey.SecretAccessKey}
	wrong := key
	wrong.SecretAccessKey = "wrong"
	if _, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{}); codeOf(err) != "LimitExceeded" {
		t.Errorf("a third key: %v", err)
	}
	listed := func() int {
		list, err := client.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.AccessKeyMetadata)
	}
	expect := func(when, code string, n int) {
		t.Helper()
		if got := w.who(key); got != code {
			t.Errorf("%s: %q, want %q", when, got, code)
		}
		if got := listed(); got != n {
			t.Errorf("%s: %d keys are listed, want %d", when, got, n)
		}
	}
	expect("just created", "InvalidClientTokenId", 1)
	w.now = w.now.Add(5 * time.Second)
	expect("after 5 s", "InvalidClientTokenId", 2)
	w.now = w.now.Add(5 * time.Second)
	expect("after 10 s", "", 2)
	if got := w.who(wrong); got != "SignatureDoesNotMatch" {
		t.Errorf("a wrong secret key: %q", got)
	}
	if _, err := client.DeleteAccessKey(t.Context(),
		&iam.DeleteAccessKeyInput{AccessKeyId: &key.AccessKeyID}); err != nil {
		t.Fatal(err)
	}
	expect("just deleted", "", 2)
	w.now = w.now.Add(10 * time.Second)
	expect("deleted", "InvalidClientTokenId", 1)
	if _, err := client.DeleteAccessKey(t.Context(),
		&iam.DeleteAccessKeyInput{AccessKeyId: &key.AccessKeyID}); codeOf(err) != "NoSuchEntity" {
		t.Errorf("deleted again: %v", err)
	}
}

func TestIAMAsksForPermissionsAndTheRightForms(t *testing.T) {
	w := newIAMWorld(t)
	poor := w.AddUser("poor")
	if _, err := iam.NewFromConfig(w.config(poor)).ListAccessKeys(t.Context(),
		&iam.ListAccessKeysInput{}); codeOf(err) != "AccessDenied" {
		t.Errorf("without permission: %v", err)
	}
	client := iam.NewFromConfig(w.config(w.first))
	if _, err := client.ListAccessKeys(t.Context(),
		&iam.ListAccessKeysInput{UserName: aws.String("poor")}); codeOf(err) != "AccessDenied" {
		t.Errorf("another user: %v", err)
	}
	for value, want := range map[string]string{"a b": "", "a!": "ValidationError"} {
		_, err := client.TagUser(t.Context(), &iam.TagUserInput{
			UserName: aws.String("ci"), Tags: []types.Tag{{Key: aws.String("k"), Value: &value}},
		})
		if codeOf(err) != want {
			t.Errorf("tag %q: %v", value, err)
		}
	}
	role := w.AddRole("rotator", "iam:ListAccessKeys")
	client = iam.NewFromConfig(w.config(role))
	if _, err := client.ListAccessKeys(t.Context(),
		&iam.ListAccessKeysInput{UserName: aws.String("poor")}); err != nil {
		t.Errorf("a role: %v", err)
	}
	role.SessionToken = ""
	if got := w.who(role); got != "InvalidClientTokenId" {
		t.Errorf("a role without its token: %q", got)
	}
}
