package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

const (
	evaluatedFile = "testdata/evaluated.json"
	superuserARN  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:superuser-AbCdEf"
	keyOfSecrets  = "arn:aws:kms:us-east-1:123456789012:key/of-the-secrets"
	otherKey      = "arn:aws:kms:us-east-1:123456789012:key/of-the-superusers"
)

// evaluations are the resources in testdata/evaluated.json. The tests of internal/function rotate secrets with them.
func evaluations(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := make(map[string]map[string]any)
	add := func(name, template string, values map[string]string, resources ...string) {
		all, err := evaluate(template, values)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = make(map[string]any)
		for _, r := range resources {
			out[name][r] = all[r].Properties
		}
	}
	add("function", "../template.yaml", map[string]string{
		"FunctionName": "shop-rotator", "KmsKeyArns": keyOfSecrets + "," + otherKey,
		"SuperuserSecretArns": superuserARN, "RotatorFunctionRole.Arn": "arn:aws:iam::123456789012:role/of-the-stack",
		"RotatorFunctionRole": "role", "RotatorLogGroup": "/aws/lambda/shop-rotator", "RotatorFunction": "shop-rotator",
	}, "RotatorFunction", "RotatorFunctionRole")
	for name, more := range map[string]map[string]string{
		"role":                 {},
		"role with superusers": {"SuperuserSecretArns": superuserARN},
		"role with a key":      {"KmsKeyArns": "arn:aws:kms:us-east-1:777788889999:key/1"},
	} {
		more["AWS::AccountId"], more["FunctionRoleArn"] = "444455556666", "arn:aws:iam::123456789012:role/rotator"
		more["FunctionArn"] = "arn:aws:lambda:us-east-1:123456789012:function:rotator"
		more["ExternalId"], more["OrganizationId"] = "external", "o-exampleorg1"
		add(name, "cross-account-role.yaml", more, "RotationRole")
	}
	for name, more := range map[string]map[string]string{
		"secret":                  {},
		"secret with a superuser": {"SuperuserSecretArn": superuserARN, "KmsKeyArn": keyOfSecrets},
	} {
		more["FunctionArn"] = "arn:aws:lambda:us-east-1:123456789012:function:shop-rotator"
		more["Host"], more["InitialPassword"], more["Secret"] = "db.example.com", "first-password", "secret"
		add(name, "example-secret.yaml", more, "Secret", "Schedule")
	}
	return out
}

// TestEvaluatedTemplates: testdata/evaluated.json has what the templates create. ROTATOR_UPDATE writes it.
func TestEvaluatedTemplates(t *testing.T) {
	var want bytes.Buffer
	to := json.NewEncoder(&want)
	to.SetEscapeHTML(false)
	to.SetIndent("", "  ")
	if err := to.Encode(evaluations(t)); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("ROTATOR_UPDATE") != "" {
		if err := os.WriteFile(evaluatedFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(evaluatedFile); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is out of date (%v): ROTATOR_UPDATE=1 go test -run TestEvaluatedTemplates ./deploy", evaluatedFile, err)
	}
}

// TestInitialPasswordsThatAreRejected, because JSON would change them.
func TestInitialPasswordsThatAreRejected(t *testing.T) {
	for _, password := range []string{`a"b`, `a\b`, ""} {
		if _, err := evaluate("example-secret.yaml", map[string]string{"InitialPassword": password, "Secret": "secret",
			"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:rotator", "Host": "db.example.com",
		}); err == nil {
			t.Errorf("the password %q is accepted", password)
		}
	}
}
