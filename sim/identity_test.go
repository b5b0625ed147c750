package sim

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	mine   = "123456789012"
	theirs = "210987654321"
	role   = "arn:aws:iam::" + mine + ":role/path/rotation"
)

// tokens returns an STS client with an access key.
func (b *bench) tokens(p aws.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{}, Credentials: p})
}

func static(key string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(key, "secret", "")
}

// assume returns a Secrets Manager client with a role in account mine that account theirs has assumed.
func (b *bench) assume(externalID string) (*sm.Client, aws.CredentialsProvider, error) {
	in := &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("rotator")}
	if externalID != "" {
		in.ExternalId = &externalID
	}
	out, err := b.tokens(static(theirs)).AssumeRole(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	p := credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey,
		*out.Credentials.SessionToken)
	return sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{}, Credentials: p,
	}), p, nil
}

func TestTheAccessKeyDecidesTheAccount(t *testing.T) {
	b := newBench(t, Options{})
	for key, want := range map[string]string{theirs: theirs, "anything": mine, "AKIAIOSFODNN7EXAMPLE": mine} {
		out, err := b.tokens(static(key)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil || *out.Account != want || !strings.Contains(*out.Arn, want) {
			t.Errorf("%s: %+v, %v", key, out, err)
		}
	}
	// The same name means another secret in another account.
	arn := b.create("db")
	_, err := b.as(theirs).GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")})
	refused(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	out, err := b.as(theirs).CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("db")})
	if err != nil || !strings.Contains(*out.ARN, ":"+theirs+":secret:db-") || *out.ARN == arn {
		t.Errorf("%+v, %v", out, err)
	}
	list, err := b.as(theirs).ListSecrets(ctx, &sm.ListSecretsInput{})
	if err != nil || len(list.SecretList) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAnAssumedRoleActsInItsAccount(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	client, p, err := b.assume("")
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.tokens(p).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *out.Arn != "arn:aws:sts::"+mine+":assumed-role/rotation/rotator" ||
		!strings.HasSuffix(*out.UserId, ":rotator") {
		t.Errorf("%+v, %v", out, err)
	}
	if v, err := client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil ||
		*v.SecretString != "one" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAssumeRoleRequiresAnExistingRoleAndItsExternalID(t *testing.T) {
	b := newBench(t, Options{})
	if err := b.RegisterRole("rotation", ""); err == nil {
		t.Error("a name was taken for an ARN")
	}
	if err := b.RegisterRole(role, "open sesame"); err != nil {
		t.Fatal(err)
	}
	for _, external := range []string{"", "wrong"} {
		_, _, err := b.assume(external)
		refused(t, err, "AccessDenied",
			"User: arn:aws:iam::"+theirs+":root is not authorized to perform: sts:AssumeRole on resource: "+role)
	}
	if _, _, err := b.assume("open sesame"); err != nil {
		t.Error(err)
	}
	_, err := b.tokens(static(theirs)).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + mine + ":role/other"), RoleSessionName: aws.String("rotator"),
	})
	refused(t, err, "AccessDenied", "")
	_, err = b.tokens(static(theirs)).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::1:role/other"), RoleSessionName: aws.String("rotator"),
	})
	refused(t, err, "ValidationError", "")
}

func TestCredentialsThatWereNotIssuedAreRefused(t *testing.T) {
	b := newBench(t, Options{})
	_, p, err := b.assume("")
	if err != nil {
		t.Fatal(err)
	}
	good, err := p.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	describe := func(key, secret, token string) error {
		_, err := sm.New(sm.Options{
			BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
		}).ListSecrets(ctx, &sm.ListSecretsInput{})
		return err
	}
	if err := describe(good.AccessKeyID, good.SecretAccessKey, good.SessionToken); err != nil {
		t.Error(err)
	}
	refused(t, describe(good.AccessKeyID, good.SecretAccessKey, "another"), "UnrecognizedClientException",
		"The security token included in the request is invalid.")
}

func TestKeysThatLookRealAndUnsignedRequestsAreRefused(t *testing.T) {
	b := newBench(t, Options{})
	// Concatenated, to keep scanners from reporting a leak.
	for _, key := range []string{"AKIA" + "Q3EGRHZXLB5VWY2M", "ASIA" + "Q3EGRHZXLB5VWY2M"} {
		_, err := b.as(key).ListSecrets(ctx, &sm.ListSecretsInput{})
		refused(t, err, "UnrecognizedClientException", "The simulator refuses access keys that look like real ones.")
	}
	for _, key := range []string{"AKIA" + "XXXXXXXXXXXXXXXX", "AKIA" + "TESTQ3EGRHZXLB5V", "test"} {
		if _, err := b.as(key).ListSecrets(ctx, &sm.ListSecretsInput{}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	_, err := sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{}, Credentials: aws.AnonymousCredentials{},
	}).ListSecrets(ctx, &sm.ListSecretsInput{})
	refused(t, err, "MissingAuthenticationTokenException", "Missing Authentication Token")
}

const key = "arn:aws:kms:us-east-1:" + mine + ":key/1"

func TestAnotherAccountNeedsThePolicyAndACustomerManagedKey(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	get := func() error {
		_, err := b.as(theirs).GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &arn})
		return err
	}
	refused(t, get(), "AccessDeniedException",
		"User: arn:aws:iam::"+theirs+":root is not authorized to perform: secretsmanager:GetSecretValue on resource: "+
			arn+" because no resource-based policy allows the secretsmanager:GetSecretValue action")
	policy := func(text string) error {
		_, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: &arn, ResourcePolicy: &text})
		return err
	}
	if err := policy(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` +
		theirs + `:root"},"Action":"secretsmanager:Get*","Resource":"*"}}`); err != nil {
		t.Fatal(err)
	}
	refused(t, get(), "InvalidRequestException",
		"You can't access a secret from a different AWS account if you encrypt the secret with the default KMS "+
			"service key.")
	if _, err := b.client.UpdateSecret(ctx, &sm.UpdateSecretInput{
		SecretId: &arn, KmsKeyId: aws.String(key),
	}); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Error(err)
	}
	_, err := b.as(theirs).PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("x")})
	refused(t, err, "AccessDeniedException", "")
	// A deny wins, and also applies to the secret's own account.
	if err := policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Deny","Principal":"*","Action":["secretsmanager:GetSecretValue"],"Resource":"*"}]}`); err != nil {
		t.Fatal(err)
	}
	refused(t, get(), "AccessDeniedException", "")
	_, err = b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &arn})
	refused(t, err, "AccessDeniedException",
		"User: arn:aws:iam::"+mine+":root is not authorized to perform: secretsmanager:GetSecretValue on resource: "+
			arn+" with an explicit deny in a resource-based policy")
	for _, text := range []string{
		"no", "{}", `{"Statement":[{"Effect":"Maybe","Principal":"*","Action":"*","Resource":"*"}]}`,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	} {
		refused(t, policy(text), "MalformedPolicyDocumentException", "")
	}
	open := `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"*","Resource":"*"}]}`
	_, err = b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
		SecretId: &arn, ResourcePolicy: &open, BlockPublicPolicy: aws.Bool(true),
	})
	refused(t, err, "PublicPolicyException", "")
	checked, err := b.client.ValidateResourcePolicy(ctx, &sm.ValidateResourcePolicyInput{ResourcePolicy: &open})
	if err != nil || checked.PolicyValidationPassed || len(checked.ValidationErrors) != 1 {
		t.Errorf("%+v, %v", checked, err)
	}
	if _, err := b.client.DeleteResourcePolicy(ctx, &sm.DeleteResourcePolicyInput{SecretId: &arn}); err != nil {
		t.Fatal(err)
	}
	got, err := b.client.GetResourcePolicy(ctx, &sm.GetResourcePolicyInput{SecretId: &arn})
	if err != nil || got.ResourcePolicy != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnAssumedRoleMustPassOnTheRotationToken(t *testing.T) {
	for _, c := range []struct {
		name  string
		proof func(request) string
		good  bool
	}{
		{"the token of its invocation", func(r request) string { return r.RotationToken }, true},
		{"no token", func(request) string { return "" }, false},
		{"a made-up token", func(request) string { return id(9) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Options{MaxAttempts: 1})
			arn := b.create("db")
			client, _, err := b.assume("")
			if err != nil {
				t.Fatal(err)
			}
			far := "arn:aws:lambda:us-east-1:" + theirs + ":function:rotator"
			b.RegisterFunction(far, InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
				var failed error
				body, e, err := b.function(func(r request) error {
					failed = b.template(ctx, client, r, c.proof(r))
					return failed
				})(ctx, payload)
				return body, e, errors.Join(err, failed)
			}))
			if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) { in.RotationLambdaARN = &far }); err != nil {
				t.Fatal(err)
			}
			b.settle(0)
			err = b.WaitRotation(ctx, "db")
			if c.good {
				if err != nil {
					t.Error(err)
				}
				b.wantStages("db", "1:[AWSPREVIOUS] 2:[AWSCURRENT]")
				return
			}
			want := "Pending secret version " + id(2) + " for Secret " + arn + " was not created by Lambda " + far +
				". Remove the AWSPENDING staging label and restart rotation"
			if err == nil || err.Error() != want || !strings.Contains(b.trace(), want) {
				t.Errorf("got %v, not %s", err, want)
			}
			// The Put itself was accepted.
			if v, err := b.client.GetSecretValue(ctx, &sm.GetSecretValueInput{
				SecretId: &arn, VersionStage: aws.String(pending),
			}); err != nil || v.SecretString == nil {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// foreign returns a function in another account that uses an assumed role for the secret and passes
// on its rotation token. fail may make it fail.
func (b *bench) foreign(fail func(request) bool) InvokerFunc {
	b.Helper()
	client, _, err := b.assume("")
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, payload []byte) ([]byte, string, error) {
		var r request
		if err := json.Unmarshal(payload, &r); err != nil {
			return nil, "", err
		}
		if fail(r) {
			return nil, "", errors.New("down")
		}
		return []byte("null"), "", b.template(ctx, client, r, r.RotationToken)
	}
}

func TestAFailedRotationAcrossAccountsSucceedsInTheNextWindow(t *testing.T) {
	b := newBench(t, Options{MaxAttempts: 1})
	b.create("db")
	down := true
	b.RegisterFunction(lambda, b.foreign(func(r request) bool { return r.Step == "setSecret" && down }))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1)}
	}); err != nil {
		t.Fatal(err)
	}
	b.settle(time.Hour)
	down = false
	b.settle(2 * day) // the next window ends by then, at any time of day
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Succeeded == 0 {
		t.Errorf("%+v", s)
	}
}

func TestTheSessionOfAnEarlierRunIsRefused(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	c := sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(simulated+"OLD", "secret", "token"),
	})
	_, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")})
	refused(t, err, "UnrecognizedClientException", "The security token included in the request is invalid.")
	// SAM passes on the host's own session, which the simulator did not issue.
	c = sm.New(sm.Options{
		BaseEndpoint: &b.url, Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "secret", "token"),
	})
	if _, err := c.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: aws.String("db")}); err != nil {
		t.Error(err)
	}
}
