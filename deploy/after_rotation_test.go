package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/uuid"

	"example.com/rotator/sim"
)

// eventOf returns what Secrets Manager sends to EventBridge for an event.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieve-ct-entries.html
func eventOf(p sim.Progress) map[string]any {
	when := p.Time.UTC().Format(time.RFC3339)
	return map[string]any{
		"version": "0", "id": uuid.NewString(), "detail-type": "AWS Service Event via CloudTrail",
		"source": "aws.secretsmanager", "account": "123456789012", "time": when, "region": "us-east-1",
		"resources": []any{}, "detail": map[string]any{
			"eventVersion": "1.08", "eventType": "AwsServiceEvent", "eventSource": "secretsmanager.amazonaws.com",
			"eventName": p.Event, "eventTime": when, "awsRegion": "us-east-1",
			"sourceIPAddress": "secretsmanager.amazonaws.com", "userAgent": "secretsmanager.amazonaws.com",
			"userIdentity": map[string]any{
				"accountId": "123456789012", "invokedBy": "secretsmanager.amazonaws.com",
			},
			"requestParameters": nil, "responseElements": nil,
			"additionalEventData": map[string]any{"SecretId": p.Secret},
			"requestID":           "Rotation-" + p.Secret + "-" + p.Version, "eventID": uuid.NewString(),
			"readOnly": false, "managementEvent": true, "recipientAccountId": "123456789012",
			"eventCategory": "Management",
		},
	}
}

// occurred returns what Secrets Manager sends to EventBridge when two secrets are rotated and the
// rotation of a third fails: the events by name and secret, and the secrets' ARNs.
func occurred(t *testing.T) (events map[string]map[string]any, arns map[string]string) {
	t.Helper()
	events = make(map[string]map[string]any)
	simulator := sim.New(sim.Options{MaxAttempts: 1, Trace: func(p sim.Progress) {
		if p.Event != "" {
			events[p.Event+" "+p.Name] = eventOf(p)
		}
	}})
	server := httptest.NewServer(simulator.Handler())
	defer server.Close()
	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: &server.URL, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	const function = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
	fail := false
	simulator.RegisterFunction(function,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			var e struct{ Step, SecretId, ClientRequestToken string }
			err := json.Unmarshal(payload, &e)
			switch {
			case err != nil:
			case fail:
				err = errors.New("the function fails")
			case e.Step == "createSecret":
				_, err = client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
					SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken, SecretString: aws.String("two"),
					VersionStages: []string{"AWSPENDING"},
				})
			case e.Step == "finishSecret":
				var d *secretsmanager.DescribeSecretOutput
				if d, err = client.DescribeSecret(ctx,
					&secretsmanager.DescribeSecretInput{SecretId: &e.SecretId}); err != nil {
					break
				}
				for id, labels := range d.VersionIdsToStages {
					if slices.Contains(labels, "AWSCURRENT") {
						_, err = client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
							SecretId: &e.SecretId, VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: &id,
							MoveToVersionId: &e.ClientRequestToken,
						})
					}
				}
			}
			if err != nil {
				return []byte(`{"errorMessage": "failed", "errorType": "Failed"}`), "Unhandled", nil
			}
			return []byte("null"), "", nil
		}))
	arns = make(map[string]string)
	for _, name := range []string{"watched", "other", "failing"} {
		created, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: &name, SecretString: aws.String("one"),
		})
		if err != nil {
			t.Fatal(err)
		}
		arns[name] = *created.ARN
		fail = name == "failing"
		if _, err := client.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: &name, RotationLambdaARN: aws.String(function),
		}); err != nil {
			t.Fatal(err)
		}
		if err := simulator.WaitRotation(t.Context(), name); (err != nil) != fail {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return events, arns
}

// matches evaluates an event pattern as EventBridge does, but only exact values; any other operator is an error.
// Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
func matches(pattern, event any) (bool, error) {
	switch p := pattern.(type) {
	case map[string]any:
		e, ok := event.(map[string]any)
		for key, below := range p {
			if !ok {
				return false, nil
			}
			if yes, err := matches(below, e[key]); err != nil || !yes {
				return false, err
			}
		}
		return true, nil
	case []any:
		for _, v := range p {
			text, ok := v.(string)
			if !ok {
				return false, fmt.Errorf("%v is not supported", v)
			}
			if event == text {
				return true, nil
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("%v is not a pattern", pattern)
}

// TestRulesMatchTheirEvents: after-rotation.yaml matches successful rotations of its own secrets,
// and template.yaml's rule failed ones.
func TestRulesMatchTheirEvents(t *testing.T) {
	events, arns := occurred(t)
	if len(events) != 6 {
		t.Fatalf("events: %v", events)
	}
	after := resource(t, "RotationSucceeded")["EventPattern"].(map[string]any)
	data := after["detail"].(map[string]any)["additionalEventData"].(map[string]any)
	if data["SecretId"] != "SecretArns" {
		t.Fatalf("the pattern is for %v", data)
	}
	data["SecretId"] = []any{"arn:aws:secretsmanager:us-east-1:123456789012:secret:another-AbCdEf", arns["watched"]}
	for name, rule := range map[string]struct {
		pattern any
		want    string
	}{
		"after-rotation.yaml": {after, "RotationSucceeded watched"},
		"template.yaml":       {resource(t, "RotationFailedRule")["EventPattern"], "RotationFailed failing"},
	} {
		for which, event := range events {
			got, err := matches(rule.pattern, event)
			if err != nil {
				t.Fatal(err)
			}
			if want := which == rule.want; got != want {
				t.Errorf("%s matches %s: %v", name, which, got)
			}
		}
	}
}

// TestWebhookGetsOnlyWhichSecret: the transformed event is JSON and contains what the page says.
func TestWebhookGetsOnlyWhichSecret(t *testing.T) {
	events, arns := occurred(t)
	event := events["RotationSucceeded watched"]
	var transformer map[string]any
	for _, target := range resource(t, "RotationSucceeded")["Targets"].([]any) {
		choice := target.([]any) // of Fn::If
		properties := choice[1].(map[string]any)
		for _, needed := range []string{"RoleArn", "DeadLetterConfig", "RetryPolicy"} {
			if properties[needed] == nil {
				t.Errorf("target %v has no %s", properties["Id"], needed)
			}
		}
		if properties["Id"] == "webhook" {
			transformer = properties["InputTransformer"].(map[string]any)
		}
	}
	text := fmt.Sprint(transformer["InputTemplate"])
	for name, path := range transformer["InputPathsMap"].(map[string]any) {
		var at any = event
		for part := range strings.SplitSeq(strings.TrimPrefix(fmt.Sprint(path), "$."), ".") {
			at = at.(map[string]any)[part]
		}
		value, err := json.Marshal(at)
		if err != nil || at == nil {
			t.Fatalf("%v is not in the event (%v)", path, err)
		}
		text = strings.ReplaceAll(text, "<"+name+">", string(value))
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if len(got) != 4 || got["event"] != "RotationSucceeded" || got["secret"] != arns["watched"] ||
		got["time"] != event["time"] || got["id"] != event["id"] {
		t.Errorf("the webhook receives %s", text)
	}
}

// TestWorkflowsMayDoWhatTheyDo: the definitions are valid JSON for one ARN and for several, they name only states that
// exist, and each workflow's role allows exactly its calls.
func TestWorkflowsMayDoWhatTheyDo(t *testing.T) {
	resources := load(t, "after-rotation.yaml")["Resources"].(map[string]any)
	for name, arns := range map[string][]string{
		"RestartServices": {"arn:aws:ecs:us-east-1:123456789012:service/shop/web",
			"arn:aws:ecs:us-east-1:123456789012:service/shop/api"},
		"RestartFunctions": {"arn:aws:lambda:us-east-1:123456789012:function:orders"},
	} {
		properties := resources[name].(map[string]any)["Properties"].(map[string]any)
		if properties["StateMachineType"] != "EXPRESS" {
			t.Errorf("%s keeps a history, with the environments of functions", name)
		}
		text := strings.NewReplacer("${Arns}", strings.Join(arns, `","`), "${DeadLetters}",
			"https://queue.example").Replace(fmt.Sprint(properties["DefinitionString"]))
		var definition struct {
			StartAt string
			States  map[string]any
		}
		if err := json.Unmarshal([]byte(text), &definition); err != nil || strings.Contains(text, "${") {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if list := definition.States["List"].(map[string]any)["Result"].([]any); len(list) != len(arns) ||
			list[0] != arns[0] {
			t.Errorf("%s works on %v", name, list)
		}
		for _, m := range regexp.MustCompile(`"(?:StartAt|Next)": "(\w+)"`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(text, `"`+m[1]+`": {"Type"`) &&
				!regexp.MustCompile(`"`+m[1]+`": \{\s+"Type"`).MatchString(text) {
				t.Errorf("%s goes to %s, which does not exist", name, m[1])
			}
		}
		var does, may []string
		calls := regexp.MustCompile(`"arn:aws:states:::(?:aws-sdk:)?(\w+):(\w+)"`)
		for _, m := range calls.FindAllStringSubmatch(text, -1) {
			does = append(does, m[1]+":"+strings.ToUpper(m[2][:1])+m[2][1:])
		}
		for _, s := range statements(
			resources[name+"Role"].(map[string]any)["Properties"].(map[string]any)["Policies"]) {
			may = append(may, list(s["Action"])...)
		}
		slices.Sort(does)
		slices.Sort(may)
		if len(does) != 2 || !slices.Equal(does, may) {
			t.Errorf("%s does %v and may do %v", name, does, may)
		}
	}
	for name, r := range resources {
		if r.(map[string]any)["Condition"] == nil {
			t.Errorf("%s exists although no part is enabled", name)
		}
	}
}
