package iam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/iam"
)

// permissions are the actions that a user's keys need to create their successors.
var permissions = []string{"iam:ListAccessKeys", "iam:ListUserTags", "iam:TagUser", "iam:CreateAccessKey",
	"iam:DeleteAccessKey"}

// harness is a fake IAM with a fast clock, on which delays of seconds, and the engine's minute, pass during a test.
type harness struct {
	fake     *fakeIAM
	server   *httptest.Server
	endpoint string
	byRole   bool
	role     aws.Credentials
}

func newHarness(t testing.TB, byRole bool) *harness {
	// On this clock, an attempt's 15 s last 0.3 s, which is far longer than an attempt takes.
	begin, speed := time.Now(), time.Duration(50)
	if strings.HasSuffix(t.Name(), "/Late") {
		// That test delays a call by a second, which must be less than a minute on this clock: a real call ends
		// within 15 s.
		speed = 10
	}
	h := &harness{byRole: byRole, fake: newFake(fakeOptions{
		Now:        func() time.Time { return begin.Add(speed * time.Since(begin)) },
		LoginDelay: speed * 100 * time.Millisecond,
		ListDelay:  speed * 30 * time.Millisecond,
		Path:       "people/",
	})}
	h.server = httptest.NewServer(h.fake.Handler())
	t.Cleanup(h.server.Close)
	h.endpoint = h.server.URL
	h.role = h.fake.AddRole("rotator", permissions...)
	return h
}

func TestEngineActingByTheKey(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, false) })
}

func TestEngineActingByTheRole(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, true) })
}

func (h *harness) Engine() engine.Engine { return h.engine() }

func (h *harness) engine() *iam.Engine {
	return newEngine(h.endpoint, h.role, h.byRole)
}

func config(endpoint string, c aws.Credentials) aws.Config {
	return aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint,
		Credentials: credentials.StaticCredentialsProvider{Value: c}}
}

func (h *harness) Target() string { return strings.TrimPrefix(h.server.URL, "http://") }

func (h *harness) Traits() enginetest.Traits {
	return enginetest.Traits{Overlap: true, Public: []string{"AccessKeyId"}}
}

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	h.endpoint = fmt.Sprintf("http://%s:%d", host, port)
	user := testserver.Unique("suite-")
	allowed := permissions
	if h.byRole {
		allowed = nil
	}
	return secretOf(user, h.fake.AddUser(user, allowed...)), superuser, nil
}

func secretOf(user string, c aws.Credentials) engine.Value {
	return engine.StringValue(fmt.Sprintf(
		`{"engine":"iam","Version":1,"username":%q,"AccessKeyId":%q,"SecretAccessKey":%q}`, user,
		c.AccessKeyID, c.SecretAccessKey))
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	id, _ := v.Text("AccessKeyId")
	secret, _ := v.Text("SecretAccessKey")
	_, err := sts.NewFromConfig(config(h.server.URL, aws.Credentials{AccessKeyID: id, SecretAccessKey: secret})).
		GetCallerIdentity(ctx, nil)
	if api, ok := errors.AsType[smithy.APIError](err); ok && (api.ErrorCode() == "InvalidClientTokenId" ||
		api.ErrorCode() == "SignatureDoesNotMatch") {
		return fmt.Errorf("%w: %w", engine.LoginRefused, err)
	}
	return err
}

func (h *harness) Restore(context.Context, engine.Value) error { return errors.ErrUnsupported }

func (h *harness) Strays(_ context.Context, versions []engine.Value) (strays []string, err error) {
	var known []string
	user := ""
	for _, v := range versions {
		id, _ := v.Text("AccessKeyId")
		known = append(known, id)
		user, _ = v.Text("username")
	}
	for id := range h.fake.Keys(user) {
		if !slices.Contains(known, id) {
			strays = append(strays, id)
		}
	}
	return strays, nil
}
