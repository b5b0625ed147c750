package sim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// FuzzWire sends arbitrary bodies to every operation of a service with one secret. Every response
// is complete, no operation breaks the service, and labels stay consistent.
func FuzzWire(f *testing.F) {
	for op := range operations {
		f.Add(op, `{"SecretId":"s","ClientRequestToken":"`+id(2)+`"}`)
	}
	f.Add("PutSecretValue", `{"SecretId":"s","ClientRequestToken":"`+
		id(2)+`","SecretString":"x","VersionStages":["AWSCURRENT","AWSPENDING"]}`)
	f.Add("UpdateSecretVersionStage", `{"SecretId":"s","VersionStage":"AWSCURRENT","MoveToVersionId":"`+
		id(2)+`","RemoveFromVersionId":"`+id(1)+`"}`)
	f.Add("RotateSecret", `{"SecretId":"s","ClientRequestToken":"`+
		id(3)+`","RotationLambdaARN":"f","RotationRules":{"ScheduleExpression":"cron(0 1 ? 1/3 SUN#1 *)","Duration":"2h"}}`)
	f.Add("ListSecrets", `{"Filters":[{"Key":"all","Values":["!x y"]}],"SortBy":"name","NextToken":"cGFnZTox"}`)
	f.Add("PutResourcePolicy",
		`{"SecretId":"s","ResourcePolicy":"{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"*\",\"Resource\":\"*\"}}"}`)
	f.Add("ReplicateSecretToRegions", `{"SecretId":"s","AddReplicaRegions":[{"Region":"eu-west-1"}]}`)
	f.Fuzz(func(t *testing.T, op, body string) {
		s := New(Options{Clock: NewManualClock(begin), MaxAttempts: 1})
		if _, code := ask(s, "CreateSecret", map[string]any{
			"Name": "s", "ClientRequestToken": id(1), "SecretString": "one",
		}); code != "" {
			t.Fatal(code)
		}
		if _, code := ask(s, "PutSecretValue", map[string]any{
			"SecretId": "s", "ClientRequestToken": id(2), "SecretString": "two",
			"VersionStages": []string{"AWSPENDING"},
		}); code != "" {
			t.Fatal(code)
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header["X-Amz-Target"] = []string{"secretsmanager." + op}
		r.Header.Set("Authorization",
			"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, "+
				"Signature="+strings.Repeat("0", 64))
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		var out map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%s %s: the answer %q is not a JSON object", op, body, w.Body)
		}
		if (w.Code == 200) == (out["__type"] != nil) || w.Code >= 500 {
			t.Fatalf("%s %s: %d %s", op, body, w.Code, w.Body)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, sec := range s.secrets {
			for l, v := range sec.Labels {
				if sec.Versions[v] == nil {
					t.Fatalf("label %s is on no version", l)
				}
			}
			if sec.Labels[current] == "" {
				t.Fatal("AWSCURRENT is on no version")
			}
		}
	})
}

func TestErrorsOnTheWireAreExact(t *testing.T) {
	b := newBench(t, Options{})
	for _, c := range []struct{ op, in, want string }{
		{"GetSecretValue", `{"SecretId":"none"}`,
			`{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`},
		{"DescribeSecret", `{"SecretId":"a b"}`,
			`{"__type":"ValidationException","message":"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}`},
		{"GetRandomPassword", `{"PasswordLength":5555}`,
			`{"__type":"ValidationException","message":"1 validation error detected: Value '5555' at 'passwordLength' failed to satisfy constraint: Member must have value less than or equal to 4096"}`},
		{"ListSecrets", `{"SortOrder":"up","MaxResults":0}`,
			`{"__type":"ValidationException","message":"2 validation errors detected: Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1; Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]"}`},
		{"Nonsense", `{}`,
			`{"__type":"UnknownOperationException","message":"The simulator does not support the operation Nonsense."}`},
	} {
		code, body := raw(t, b.url, c.op, c.in)
		if code != 400 || body != c.want {
			t.Errorf("%s %s: %d\n%s\nnot\n%s", c.op, c.in, code, body, c.want)
		}
	}
	for _, in := range []string{`[`, `[]`, `"x"`, `{"SecretId":3}`, strings.Repeat(" ", maxRequest+1)} {
		if code, body := raw(t, b.url, "GetSecretValue", in); code != 400 ||
			!strings.HasPrefix(body, `{"__type":"SerializationException"`) {
			t.Errorf("%.20s: %d %s", in, code, body)
		}
	}
}

func TestPatternsMatchTheWholeTextAndNamesAreExactAtEveryDepth(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	const one = `{"__type":"ValidationException","message":"1 validation error detected: `
	b.answers([][3]string{
		{"RotateSecret", `{"SecretId":"db","ClientRequestToken":"T2","RotationRules":{"AutomaticallyAfterDays":1,"Duration":"x3h"}}`, one + `Value 'x3h' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h"}`},
		{"RotateSecret", `{"SecretId":"db","ClientRequestToken":"T2","RotationRules":{"ScheduleExpression":"rate(1 day)!"}}`, one + `Value 'rate(1 day)!' at 'rotationRules.scheduleExpression' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9A-Za-z\\(\\)#\\?\\*\\-\\/, ]+"}`},
		{"TagResource", `{"SecretId":"db","Tags":[{"key":"k","Value":"v"}]}`,
			one + `Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null"}`},
		{"TagResource", `{"SecretId":"db","Tags":[null]}`,
			one + `Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null"}`},
		{"TagResource", `{"SecretId":"db","Tags":[{"Key":"","Value":"v"}]}`,
			one + `Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1"}`},
		{"TagResource", `{"SecretId":"db","Tags":[{"Key":3}]}`,
			`{"__type":"SerializationException","message":"the member Key has another type"}`},
		{"UntagResource", `{"SecretId":"db","TagKeys":[""]}`,
			one + `Value '[]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"}`},
		{"TagResource", `{"SecretId":"db","Tags":[{"Key":"k","Value":null}]}`, `{}`},
	})
}

// The race detector fails the test if a response is encoded outside the lock.
func TestAnswersAreWholeWhileTheStateChanges(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				switch {
				case g > 0:
					raw(t, b.url, "DescribeSecret", `{"SecretId":"db"}`)
				case i%2 == 0:
					raw(t, b.url, "ReplicateSecretToRegions",
						`{"SecretId":"db","AddReplicaRegions":[{"Region":"eu-west-1"},{"Region":"eu-west-2"}]}`)
				default:
					raw(t, b.url, "RemoveRegionsFromReplication",
						`{"SecretId":"db","RemoveReplicaRegions":["eu-west-1","eu-west-2"]}`)
				}
			}
		})
	}
	wg.Wait()
}

func TestEveryResponseHasItsTypeAndAUniqueRequestId(t *testing.T) {
	b := newBench(t, Options{})
	seen := map[string]bool{}
	for in, status := range map[string]int{`{}`: 200, `[`: 400, `{"MaxResults":0}`: 400} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
		req.Header.Set("Authorization",
			"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, "+
				"Signature="+strings.Repeat("0", 64))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		id := resp.Header.Get("X-Amzn-RequestId")
		if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/x-amz-json-1.1" ||
			len(id) != 36 || seen[id] {
			t.Errorf("%s: %d %v", in, resp.StatusCode, resp.Header)
		}
		seen[id] = true
	}
}
