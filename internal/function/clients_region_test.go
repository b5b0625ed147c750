package function

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRoleIsRequestedInTheRegionOfTheSecret, whichever secret came first.
func TestRoleIsRequestedInTheRegionOfTheSecret(t *testing.T) {
	var regions []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		auth := r.Header.Get("Authorization")
		scope := strings.Split(auth[strings.Index(auth, "Credential=")+11:], "/")
		regions = append(regions, scope[2])
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken><Expiration>%s</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/rotator</Arn><AssumedRoleId>a:b</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
			time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)) // over already
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "simulated")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "simulated")
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	c, err := newClients(func(n string) string {
		return map[string]string{"ROTATION_ROLE_ARN": "arn:aws:iam::{account}:role/rotation"}[n]
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"ap-south-2", "us-east-1", "us-east-1"} {
		cfg, err := c.settings(t.Context(), "arn:aws:secretsmanager:"+region+":210987654321:secret:x-AbCdEf")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Credentials.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("secrets of ap-south-2, us-east-1, us-east-1; STS asked in %v", regions)
	if regions[2] != "us-east-1" {
		t.Errorf("the role of a secret of us-east-1 is asked for in %s", regions[2])
	}
}
