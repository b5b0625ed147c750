package sim

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const policedRole = "arn:aws:iam::123456789012:role/policed"

// TestUnsupportedPolicyIsRejected: ignoring a condition would allow what AWS denies.
func TestUnsupportedPolicyIsRejected(t *testing.T) {
	s := New(Options{})
	for _, statement := range []string{
		`{"Effect":"Perhaps","Action":"a:B","Resource":"*"}`,
		`{"Effect":"Allow","Principal":"*","Action":"a:B","Resource":"*"}`,
		`{"Effect":"Allow","Action":"a:B","Resource":"*","Conditions":{}}`,
		`{"Effect":"Allow","Action":"a:B"}`,
		`{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`,
		`{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/x":"y"}}}`,
		`{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":true}}}`,
	} {
		if err := s.PutPolicy(policedRole, `{"Version":"2012-10-17","Statement":`+statement+`}`); err == nil {
			t.Errorf("%s is accepted", statement)
		}
	}
	if err := s.PutPolicy("rotation", `{"Statement":[]}`); err == nil {
		t.Error("a name is accepted as an ARN")
	}
}

// TestRolePolicyDecides: effects, wildcards, case and conditions.
func TestRolePolicyDecides(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:Shop-aaaaaa"
	for _, c := range []struct {
		statements string
		want       bool
	}{
		{``, false},
		{`{"Effect":"Allow","Action":"SecretsManager:get*","Resource":"arn:aws:secretsmanager:*:secret:Sh?p-*"}`, true},
		{`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:secret:shop-*"}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*:GetSecretValue","Resource":["x","*Shop*"]}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:resource/AllowRotationLambdaArn":["x","f-1"]}}}`, true},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:resource/AllowRotationLambdaArn":"f-*"}}}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"secretsmanager:resource/AllowRotationLambdaArn":"f-*"}}}`, true},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"x"}}}`, false},
		{`{"Effect":"Allow","NotAction":"kms:*","NotResource":"*:secret:shop-*"}`, true},
		{`{"Effect":"Allow","NotAction":["kms:*","SecretsManager:Get*"],"Resource":"*"}`, false},
		{`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","NotResource":"x"}`, false},
	} {
		s := New(Options{})
		if err := s.PutPolicy(policedRole, `{"Statement":[`+c.statements+`]}`); err != nil {
			t.Fatal(err)
		}
		if got := s.policies[policedRole].Permits("secretsmanager:GetSecretValue", arn, map[string][]string{
			"secretsmanager:resource/AllowRotationLambdaArn": {"f-1"},
		}); got != c.want {
			t.Errorf("[%s] permits: %t", c.statements, got)
		}
	}
}

// TestRoleWithAPolicyAssumesOnlyTheRolesItNames: an assumed role can give access to other accounts.
func TestRoleWithAPolicyAssumesOnlyTheRolesItNames(t *testing.T) {
	s := New(Options{})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	const other = "arn:aws:iam::444455556666:role/rotation"
	assume := func(key, secret, token, role string) (*sts.AssumeRoleOutput, error) {
		return sts.New(sts.Options{
			BaseEndpoint: aws.String(server.URL), Region: "us-east-1",
			Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
		}).
			AssumeRole(context.Background(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	}
	out, err := assume("simulated", "simulated", "", policedRole)
	if err != nil {
		t.Fatal(err)
	}
	for resource, want := range map[string]bool{other: true, other + "s": false} {
		if err := s.PutPolicy(policedRole, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+
			resource+`"}}`); err != nil {
			t.Fatal(err)
		}
		_, err := assume(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken,
			other)
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("with %s: %v", resource, err)
		}
	}
}

// TestRolesDenyOutweighsTheSecretsAllow, as an explicit denial does on AWS.
func TestRolesDenyOutweighsTheSecretsAllow(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	client, _, err := b.assume("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: &arn, ResourcePolicy: aws.String(
		`{"Statement":{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":"*","Resource":"*"}}`)}); err != nil {
		t.Fatal(err)
	}
	if err := b.PutPolicy(role, `{"Statement":[{"Effect":"Deny","Action":"*:GetSecretValue","Resource":"*"}]}`); err != nil {
		t.Fatal(err)
	}
	_, err = client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &arn})
	refused(t, err, "AccessDeniedException", "User: arn:aws:sts::"+mine+":assumed-role/rotation/rotator is not authorized "+
		"to perform: secretsmanager:GetSecretValue on resource: "+arn+" with an explicit deny in an identity-based policy")
	if _, err := client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn}); err != nil {
		t.Errorf("what neither denies: %v", err)
	}
}
