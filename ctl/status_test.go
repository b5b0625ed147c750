package ctl

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/ctl/fleet"
	"example.com/rotator/rotation/operator"
)

func TestFindings(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	for _, c := range []struct {
		name   string
		s      fleet.Secret
		begun  time.Duration
		check  string
		state  operator.State
		says   string
		advice string
	}{
		{"nothing", fleet.Secret{Enabled: true, Current: "c"}, 0, "rotation", operator.OK, "no rotation is under way", ""},
		{"began", fleet.Secret{Enabled: true, Current: "c", Pending: "p"}, time.Minute,
			"rotation", operator.OK, "AWSPENDING has been on version p since 20", ""},
		{"fails", fleet.Secret{Enabled: true, Current: "c", Pending: "p"}, time.Hour,
			"rotation", operator.Failed, "AWSPENDING has been on version p since 20", "rotatorctl check"},
		{"canceled", fleet.Secret{Current: "c", Pending: "p"}, time.Minute,
			"rotation", operator.Failed, "rotation was switched off", "recover"},
		{"no value", fleet.Secret{}, 0, "labels", operator.Failed, "no version is AWSCURRENT", "put-secret-value"},
		{"never a value", fleet.Secret{Enabled: true}, 0, "rotation", operator.Failed, "has no value", "put-secret-value"},
		{"canceled without a value", fleet.Secret{Pending: "p"}, time.Minute,
			"rotation", operator.Failed, "switched off", "put-secret-value"},
		{"one second late", fleet.Secret{Enabled: true, Next: at(time.Second), Current: "c"}, 0,
			"rotation", operator.Failed, "the rotation was due at", "rotatorctl check"},
		{"on time", fleet.Secret{Enabled: true, Next: at(-time.Hour), Current: "c"}, 0,
			"rotation", operator.OK, "no rotation is under way", ""},
		{"off", fleet.Secret{Current: "c"}, 0, "rotation", operator.Skipped, "rotation is off", ""},
		{"to be deleted", fleet.Secret{Deletion: at(-time.Hour), Current: "c"}, 0,
			"rotation", operator.Failed, "scheduled for deletion at", "restore-secret"},
		{"managed", fleet.Secret{Manager: "rds", Current: "c"}, 0,
			"rotation", operator.Skipped, "managed by rds", ""},
	} {
		c.s.Judge(now.Add(-c.begun), now)
		for _, f := range findings(&c.s, "shop/db") {
			if f.Check != c.check {
				continue
			}
			if f.State != c.state || !strings.Contains(f.Message, c.says) || !strings.Contains(f.Advice, c.advice) {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
}

// TestRotationIsJudgedByItsVersion: the secret may have changed since, for example because of a new tag.
func TestRotationIsJudgedByItsVersion(t *testing.T) {
	began := time.Now().Add(-time.Hour)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), `"NextToken"`) {
			fmt.Fprint(w, `{"NextToken":"n"}`) // a page may be empty
			return
		}
		fmt.Fprintf(w, `{"Versions":[{"VersionId":"p","VersionStages":["AWSPENDING"],"CreatedDate":%d}]}`, began.Unix())
	}))
	defer server.Close()
	v := &view{secrets: secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &server.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})}
	s := fleet.Secret{Enabled: true, Current: "c", Pending: "p", Labels: map[string][]string{"p": {"AWSPENDING"}}}
	s.Judge(time.Now(), time.Now())
	if _, err := v.versions(t.Context(), &s); err != nil || s.State != fleet.Failing {
		t.Errorf("%v, %v; want failing", s.State, err)
	}
}
