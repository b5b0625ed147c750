package function

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim"
)

const (
	keyOfSecrets    = "arn:aws:kms:us-east-1:123456789012:key/of-the-secrets"
	keyOfSuperusers = "arn:aws:kms:us-east-1:123456789012:key/of-the-superusers"
)

// deployed is the function with the role that template.yaml gives it, and the resources in the role's policy: secrets
// with customer managed keys, of a user of a real PostgreSQL and of the superuser that alternates it.
type deployed struct {
	*world
	role, function string
	superuser      string
	server         *testserver.PostgresServer
	failed         error
}

func newDeployed(t *testing.T) *deployed {
	t.Helper()
	d := &deployed{world: newWorld(t), server: testserver.SharedPostgres(t, testserver.PostgresOptions{}),
		role: "arn:aws:iam::123456789012:role/of-the-stack"}
	d.superuser = d.keyed("superuser", keyOfSuperusers,
		map[string]any{"username": d.server.User, "password": d.server.Password})
	d.env["CA_BUNDLE"] = d.server.CAFile
	var properties struct{ FunctionName string }
	evaluated(t, "function", "RotatorFunction", &properties)
	d.function = "arn:aws:lambda:us-east-1:123456789012:function:" + properties.FunctionName
	out, err := sts.New(sts.Options{BaseEndpoint: d.client.Options().BaseEndpoint, Region: "us-east-1",
		Credentials: d.client.Options().Credentials}).
		AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &d.role, RoleSessionName: aws.String("rotator")})
	if err != nil {
		t.Fatal(err)
	}
	// Lambda passes credentials to the function this way.
	t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
	h := NewHandler(func(name string) string { return d.env[name] }, slog.New(slog.NewJSONHandler(&d.log, nil)),
		io.Discard, "test")
	d.sim.RegisterFunction(d.function,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			body, err := h.Invoke(ctx, payload)
			if err != nil {
				d.failed = err
				body, _ = json.Marshal(err)
				return body, "Unhandled", nil
			}
			return body, "", nil
		}))
	return d
}

// policy returns the statements in the role's policy.
func (d *deployed) policy() []statement {
	d.t.Helper()
	var properties struct {
		Policies []struct {
			PolicyDocument struct{ Statement []statement }
		}
	}
	evaluated(d.t, "function", "RotatorFunctionRole", &properties, evaluatedSuperuser, d.superuser)
	if len(properties.Policies) != 1 {
		d.t.Fatalf("%d policies", len(properties.Policies))
	}
	return properties.Policies[0].PolicyDocument.Statement
}

func (d *deployed) keyed(name, key string, value map[string]any) string {
	d.t.Helper()
	value["engine"], value["dbname"] = "postgres", "postgres"
	value["host"], value["port"] = d.server.Host, d.server.Port
	text, err := json.Marshal(value)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := d.client.CreateSecret(d.t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique(name)),
			SecretString: aws.String(string(text)), KmsKeyId: &key})
	if err != nil {
		d.t.Fatal(err)
	}
	return *out.ARN
}

// grant gives the function's role a policy.
func (d *deployed) grant(statements []statement) {
	d.t.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err == nil {
		err = d.sim.PutPolicy(d.role, string(text))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// user creates a user whose password is first-password.
func (d *deployed) user() string {
	d.t.Helper()
	user := testserver.Unique("app_")
	conn := d.server.Connect(d.t, "postgres")
	if _, err := conn.Exec(d.t.Context(), "CREATE ROLE "+user+" LOGIN PASSWORD 'first-password'"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { // before the connection is closed
		_, _ = conn.Exec(context.Background(), fmt.Sprintf("DROP ROLE %[1]s; DROP ROLE IF EXISTS %[1]s_clone", user))
	})
	return user
}

// end waits for a rotation and returns the function's error.
func (d *deployed) end(arn string) error {
	d.t.Helper()
	if err := d.sim.WaitRotation(d.t.Context(), arn); (err == nil) != (d.failed == nil) {
		d.t.Fatalf("Secrets Manager says %v, the function %v", err, d.failed)
	}
	return d.failed
}

// rotate rotates a new user's secret with a function that has these permissions, and returns the function's error.
func (d *deployed) rotate(statements []statement) error {
	d.t.Helper()
	d.grant(statements)
	arn := d.keyed("app", keyOfSecrets,
		map[string]any{"username": d.user(), "password": "first-password", "masterarn": d.superuser})
	d.failed = nil
	if _, err := d.client.RotateSecret(d.t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: &d.function}); err != nil {
		d.t.Fatal(err)
	}
	return d.end(arn)
}

// TestRoleOfTheTemplate: a rotation succeeds with the role of template.yaml. It fails without any one action, with
// another resource in a statement or another value in a condition, except for permissions that only other secrets need.
func TestRoleOfTheTemplate(t *testing.T) {
	d := newDeployed(t)
	if err := d.rotate(d.policy()); err != nil {
		t.Fatal(err)
	}
	needless := map[string]bool{
		"SecretsThatNameThisFunction secretsmanager:ListSecretVersionIds": true, // for versions that lost their label
		"SuperuserSecrets secretsmanager:DescribeSecret":                  true, // for superusers that RDS manages
	}
	spoilt := 0
	spoil := func(name string, change func(*statement), i int) {
		d.t = t
		all := d.policy()
		change(&all[i])
		err := d.rotate(all)
		if needless[name] != (err == nil) {
			t.Errorf("without %s: %v", name, err)
		}
		if err != nil && !needless[name] {
			d.want(err, "SecretsManagerFailed", "")
		}
		spoilt++
	}
	for i, s := range d.policy() {
		if s.Sid == "HostsOfSuperusers" || s.Sid == "Log" {
			continue // for superusers that RDS manages, and for Lambda
		}
		for _, action := range s.actions() {
			spoil(s.Sid+" "+action, func(s *statement) {
				s.Action = slices.DeleteFunc(s.actions(), func(a string) bool { return a == action })
				if len(s.Action.([]string)) == 0 {
					s.Action = "secretsmanager:GetRandomPassword"
				}
			}, i)
		}
		spoil(s.Sid+": its resource", func(s *statement) {
			s.Resource = strings.ReplaceAll(fmt.Sprint(s.Resource), ":123456789012:", ":210987654321:")
		}, i)
		for operator, keys := range s.Condition {
			for key := range keys {
				spoil(s.Sid+": "+key, func(s *statement) { s.Condition[operator][key] = "another" }, i)
			}
		}
	}
	if spoilt < 15 {
		t.Errorf("only %d parts of the policy were changed", spoilt)
	}
}

// TestTimeoutIsEnoughForTheEngines: a step of the template's function has enough time for the slowest change that the
// engine waits for, after two refused credentials, plus the reserve for the labels. For any other engine, its page
// recommends a Timeout of 900.
func TestTimeoutIsEnoughForTheEngines(t *testing.T) {
	const patience, kept, longest = 15 * time.Second, 3 * time.Second, 900 * time.Second
	list, err := engines(engine.TLSPolicy{}, &clients{}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var properties struct {
		Timeout int `json:",string"`
	}
	evaluated(t, "function", "RotatorFunction", &properties)
	for _, e := range list {
		k := e.Kind()
		need := 2*patience + cmp.Or(k.Patience, patience) + kept
		if need <= time.Duration(properties.Timeout)*time.Second {
			continue
		}
		page, err := os.ReadFile("../../docs/engines/" + k.Names[0] + ".md")
		if err != nil || need > longest || !strings.Contains(string(page), "`Timeout` to 900") {
			t.Errorf("%s takes up to %s, has %d seconds, and its page does not say so (%v)", k.Names[0], need,
				properties.Timeout, err)
		}
	}
}

// TestExampleSecret: deploy/example-secret.yaml creates a secret that the function rotates, with one user and with two,
// on a schedule that Secrets Manager accepts.
func TestExampleSecret(t *testing.T) {
	d := newDeployed(t)
	for template, users := range map[string]int{"secret": 1, "secret with a superuser": 2} {
		t.Run(template, func(t *testing.T) {
			d.t = t
			var secret struct {
				SecretString, KmsKeyId string
				Tags                   []types.Tag
			}
			var schedule struct {
				RotationLambdaARN         string
				RotateImmediatelyOnUpdate *bool
				RotationRules             types.RotationRulesType
			}
			evaluated(t, template, "Secret", &secret, evaluatedSuperuser, d.superuser)
			evaluated(t, template, "Schedule", &schedule)
			var value map[string]any
			if err := json.Unmarshal([]byte(secret.SecretString), &value); err != nil {
				t.Fatal(err)
			}
			// This test's database replaces the example's.
			user := d.user()
			value["host"], value["port"] = d.server.Host, d.server.Port
			value["username"], value["dbname"] = user, "postgres"
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			in := &secretsmanager.CreateSecretInput{Name: aws.String(testserver.Unique("app")),
				SecretString: aws.String(string(text)), Tags: secret.Tags}
			if secret.KmsKeyId != "" {
				in.KmsKeyId = &secret.KmsKeyId
			}
			made, err := d.client.CreateSecret(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			d.grant(d.policy())
			if _, err := d.client.RotateSecret(t.Context(),
				&secretsmanager.RotateSecretInput{SecretId: made.ARN, RotationLambdaARN: &schedule.RotationLambdaARN,
					RotationRules:     &schedule.RotationRules,
					RotateImmediately: schedule.RotateImmediatelyOnUpdate}); err != nil {
				t.Fatal(err)
			}
			if err := d.end(*made.ARN); err != nil {
				t.Fatalf("the test: %v", err)
			}
			if _, err := d.client.RotateSecret(t.Context(),
				&secretsmanager.RotateSecretInput{SecretId: made.ARN}); err != nil {
				t.Fatal(err)
			}
			if err := d.end(*made.ARN); err != nil {
				t.Fatal(err)
			}
			out, err := d.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: made.ARN})
			if err != nil {
				t.Fatal(err)
			}
			var now struct{ Username, Password string }
			if err := json.Unmarshal([]byte(*out.SecretString), &now); err != nil {
				t.Fatal("the value is no JSON")
			}
			if (now.Username == user) != (users == 1) || now.Password == "first-password" || len(now.Password) != 40 {
				t.Errorf("the user is %s, the password of %d characters", now.Username, len(now.Password))
			}
		})
	}
}
