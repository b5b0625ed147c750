package function

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestRegionOfAnARNChoosesNoHost: anyone who can write a value can choose the masterarn, whose region becomes part of
// a host name.
func TestRegionOfAnARNChoosesNoHost(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "simulated")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "simulated")
	t.Setenv("AWS_REGION", "us-east-1")
	for _, role := range []string{"", "arn:{partition}:iam::{account}:role/rotation"} {
		c, err := newClients(func(n string) string { return map[string]string{"ROTATION_ROLE_ARN": role}[n] })
		if err != nil {
			t.Fatal(err)
		}
		for place, ok := range map[string]bool{
			"aws:us-east-1": true, "aws:mx-central-1": true, "aws:ap-southeast-7": true,
			"aws:": false, "aws:evil.example": false, "aws:a.b": false, "aws:us-east-1.evil.example": false,
			"aws:evil.example/x?": false, "aws:evil.example#": false, "aws:x@evil.example/": false,
			"aws:us-east-1\n": false, "aws:US-EAST-1": false, "aws:us-east-1/": false,
			"aws:fips-us-east-1": false, "aws:us-gov-west-1": false, "aws-cn:us-east-1": false, "evil:us-east-1": false,
			"aws-cn:cn-north-1": false, "aws-us-gov:us-gov-west-1": false,
			// real regions, but not in the function's partition
		} {
			secret := "arn:" + strings.Replace(place, ":", ":secretsmanager:", 1) + ":123456789012:secret:x-AbCdEf"
			cfg, err := c.settings(t.Context(), secret)
			if ok && (err != nil || !strings.HasSuffix(place, cfg.Region)) {
				t.Errorf("%q: region %q, %v", place, cfg.Region, err)
			}
			if !ok {
				enginetest.WantCause(t, err, engine.InvalidSecret, "x-AbCdEf")
			}
		}
	}
}

func TestPartitionOfARegion(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "aws", "me-central-1": "aws", "cn-northwest-1": "aws-cn", "us-gov-east-1": "aws-us-gov",
		"us-iso-west-1": "aws-iso", "us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e",
		"us-isof-south-1": "aws-iso-f", "eusc-de-east-1": "aws-eusc", "us-east": "", "": "",
	} {
		if got := Partition(region); got != want {
			t.Errorf("%q is in %q, want %q", region, got, want)
		}
	}
}

// TestRoleIsRequestedInTheRegionOfTheSecret: the order of the secrets does not matter.
func TestRoleIsRequestedInTheRegionOfTheSecret(t *testing.T) {
	var regions []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		auth := r.Header.Get("Authorization")
		scope := strings.Split(auth[strings.Index(auth, "Credential=")+11:], "/")
		regions = append(regions, scope[2])
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>`+
			`<SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/rotator</Arn>`+
			`<AssumedRoleId>a:b</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
			time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)) // expired already
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
		t.Errorf("the role of a secret in us-east-1 is requested in %s", regions[2])
	}
}
