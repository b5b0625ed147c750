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

	"example.com/rotator/rotation/operator"
)

func TestFindings(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	for _, c := range []struct {
		name   string
		s      secret
		begun  time.Duration
		check  string
		state  operator.State
		says   string
		advice string
	}{
		{"nothing", secret{Enabled: true, Current: "c"}, 0, "rotation", operator.OK, "no rotation is under way", ""},
		{"began", secret{Enabled: true, Current: "c", Pending: "p"}, time.Minute,
			"rotation", operator.OK, "AWSPENDING has been on version p since 20", ""},
		{"fails", secret{Enabled: true, Current: "c", Pending: "p"}, time.Hour,
			"rotation", operator.Failed, "AWSPENDING has been on version p since 20", "rotatorctl check"},
		{"canceled", secret{Current: "c", Pending: "p"}, time.Minute,
			"rotation", operator.Failed, "rotation was switched off", "recover"},
		{"no value", secret{}, 0, "labels", operator.Failed, "no version is AWSCURRENT", "put-secret-value"},
		{"never a value", secret{Enabled: true}, 0, "rotation", operator.Failed, "has no value", "put-secret-value"},
		{"canceled without a value", secret{Pending: "p"}, time.Minute,
			"rotation", operator.Failed, "switched off", "put-secret-value"},
		{"one second late", secret{Enabled: true, Next: at(time.Second), Current: "c"}, 0,
			"rotation", operator.Failed, "the rotation was due at", "rotatorctl check"},
		{"on time", secret{Enabled: true, Next: at(-time.Hour), Current: "c"}, 0,
			"rotation", operator.OK, "no rotation is under way", ""},
		{"off", secret{Current: "c"}, 0, "rotation", operator.Skipped, "rotation is off", ""},
		{"to be deleted", secret{Deletion: at(-time.Hour), Current: "c"}, 0,
			"rotation", operator.Failed, "scheduled for deletion at", "restore-secret"},
		{"managed", secret{Manager: "rds", Current: "c"}, 0,
			"rotation", operator.Skipped, "managed by rds", ""},
	} {
		c.s.judge(now.Add(-c.begun), now)
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
	s := secret{Enabled: true, Current: "c", Pending: "p", Labels: map[string][]string{"p": {"AWSPENDING"}}}
	s.judge(time.Now(), time.Now())
	if _, err := v.versions(t.Context(), &s); err != nil || s.State != stateFailing {
		t.Errorf("%v, %v; want failing", s.State, err)
	}
}
