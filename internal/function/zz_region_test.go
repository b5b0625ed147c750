//go:build repro

package function

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

type recordingClient struct{ seen []*http.Request }

func (r *recordingClient) Do(req *http.Request) (*http.Response, error) {
	r.seen = append(r.seen, req)
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(`{"ARN":"x","VersionId":"v","SecretString":"{\"engine\":\"postgres\",\"host\":\"h\",\"username\":\"su\",\"password\":\"pw\"}","VersionStages":["AWSCURRENT"]}`)), Request: req}, nil
}

// A masterarn (written by whoever may write the secret) chooses the region, and so
// the host that Secrets Manager's request is signed for and sent to.
func TestZZRegionOfAnARNChoosesTheHost(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "SESSION-TOKEN-OF-THE-FUNCTION")
	t.Setenv("AWS_REGION", "us-east-1")
	for _, region := range []string{"evil.example/x?", "evil.example#", "evil.example", "us-west-2", "x@evil.example/", "a.b"} {
		for _, role := range []string{"", "arn:{partition}:iam::{account}:role/rotation"} {
			c, err := newClients(func(n string) string {
				if n == "ROTATION_ROLE_ARN" {
					return role
				}
				return ""
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			rec := &recordingClient{}
			c.cfg.HTTPClient = rec
			arn := "arn:aws:secretsmanager:" + region + ":123456789012:secret:foo-AbCdEf"
			sm, err := c.secretsManager(t.Context(), arn)
			if err != nil {
				t.Logf("%s: refused: %v", region, err)
				continue
			}
			_, err = sm.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(arn)})
			for _, r := range rec.seen {
				t.Logf("%q role=%v: %s host=%s token=%q", region, role != "", r.URL, r.URL.Host, r.Header.Get("X-Amz-Security-Token"))
			}
			t.Logf("%q role=%v err=%v", region, role != "", err)
		}
	}
}
