package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestListSecretsBeginsWithTheOldest(t *testing.T) {
	b := newBench(t, Options{})
	for _, name := range []string{"b", "a", "c"} {
		b.create(name)
		b.settle(time.Minute)
	}
	for _, c := range []struct {
		by    types.SortByType
		order types.SortOrderType
		want  string
	}{
		{"", "", "b a c"}, {"", "desc", "c a b"}, {"created-date", "", "b a c"}, {"name", "", "a b c"},
		{"name", "desc", "c b a"},
	} {
		if got := b.names(&sm.ListSecretsInput{SortBy: c.by, SortOrder: c.order}); got != c.want {
			t.Errorf("%q %q: %s, not %s", c.by, c.order, got, c.want)
		}
	}
}

func TestWordsOfAFilterBeginAtCapitalsDigitsAndPunctuation(t *testing.T) {
	for text, want := range map[string]string{
		"":            "",
		"test":        "test",
		"MyTest":      "My|Test",
		"myTest":      "my|Test",
		"one two":     "one|two",
		"One Two":     "One|Two",
		"foo2bar":     "foo|2bar",
		"prod/db":     "prod|db",
		"prod/AppDb":  "prod|App|Db",
		"a/b+c":       "a/b+c",
		"/":           "",
		"-":           "",
		"/prod":       "prod",
		"the_end":     "the|end",
		"my/secret/x": "my|secret|x",
	} {
		if got := strings.Join(splitWords(text), "|"); got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}

func TestFiltersByWord(t *testing.T) {
	b := newBench(t, Options{})
	for _, c := range []struct{ name, description, key, value string }{
		{"prod/AppBeta", "The main database", "team", "red"},
		{"test.cache", "cache Of main", "Team", "blueGreen"},
	} {
		if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
			Name: &c.name, Description: &c.description, Tags: []types.Tag{{Key: &c.key, Value: &c.value}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key   types.FilterNameStringType
		value string
		want  string
	}{
		{"all", "beta", "prod/AppBeta"},
		{"all", "ppBeta", ""},
		{"all", "green", "test.cache"},
		{"all", "/", ""},
		{"all", ".", ""},
		{"all", "team", "prod/AppBeta test.cache"},
		{"all", "main app", ""}, // all words must be in one attribute
		{"all", "database main", "prod/AppBeta"},
		{"all", "!green", "prod/AppBeta"},
		{"description", "-", ""},
		{"description", "of", "test.cache"},
		{"description", "DATA", "prod/AppBeta"},
	} {
		if got := b.names(&sm.ListSecretsInput{
			Filters: []types.Filter{{Key: c.key, Values: []string{c.value}}},
		}); got != c.want {
			t.Errorf("%s %q: %q, not %q", c.key, c.value, got, c.want)
		}
	}
	b.Own(b.arnOf("prod/AppBeta"), "rds")
	if got := b.names(&sm.ListSecretsInput{
		Filters: []types.Filter{{Key: "owning-service", Values: []string{"rd"}}},
	}); got != "prod/AppBeta" {
		t.Errorf("%q", got)
	}
}

// arnOf returns a secret's ARN.
func (b *bench) arnOf(name string) string {
	b.Helper()
	out, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &name})
	if err != nil {
		b.Fatal(err)
	}
	return *out.ARN
}

func TestTheDefaultKeyKeepsOtherAccountsFromValuesOnly(t *testing.T) {
	b := newBench(t, Options{})
	arn := b.create("db")
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + theirs +
		`"},"Action":"secretsmanager:*","Resource":"*"}}`
	if _, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
		SecretId: &arn, ResourcePolicy: &policy,
	}); err != nil {
		t.Fatal(err)
	}
	const text = "You can't access a secret from a different AWS account if you encrypt the secret with the default " +
		"KMS service key."
	c := b.as(theirs)
	_, err := value(c, arn)
	refused(t, err, "InvalidRequestException", text)
	_, err = c.PutSecretValue(ctx, &sm.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("x")})
	refused(t, err, "InvalidRequestException", text)
	if _, err := c.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &arn}); err != nil {
		t.Error(err)
	}
	if _, err := c.TagResource(ctx, &sm.TagResourceInput{
		SecretId: &arn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}); err != nil {
		t.Error(err)
	}
	if _, err := c.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
		SecretId: &arn, ResourcePolicy: &policy,
	}); err != nil {
		t.Error(err)
	}
}

func TestAResourcePolicyIsValidated(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	for _, arn := range []string{"arn:aws:iam::" + theirs + ":role/known"} {
		if err := b.RegisterRole(arn, ""); err != nil {
			t.Fatal(err)
		}
	}
	const (
		syntax    = "This resource policy contains a syntax error."
		version   = "This policy has invalid syntax."
		principal = "This resource policy contains an unsupported principal."
		service   = "This resource policy contains an unsupported service principal."
		lockout   = "Your requested changes will not allow you to manage this secret in the future."
	)
	statement := func(effect, principal, rest string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":` + principal +
			`,"Action":"secretsmanager:GetSecretValue","Resource":"*"` + rest + `}]}`
	}
	for _, c := range []struct{ policy, code, text string }{
		{statement("Allow", `"*"`, ""), "", ""},
		{statement("Allow", `{"AWS":"`+theirs+`"}`, ""), "", ""},
		{statement("Allow", `{"AWS":["arn:aws:iam::`+theirs+`:root","arn:aws:iam::`+mine+`:user/a/b"]}`, ""), "", ""},
		{statement("Allow", `{"AWS":"arn:aws:iam::`+theirs+`:role/known"}`, ""), "", ""},
		{statement("Allow", `{"AWS":"arn:aws:sts::`+theirs+`:assumed-role/known/session"}`, ""), "", ""},
		{statement("Allow", `{"Service":"rds.amazonaws.com"}`, ""), "", ""},
		{statement("Deny", `"*"`, ""), "", ""}, // no lockout: it denies only reading
		{`{"Version":"2008-10-17","Statement":[]}`, "MalformedPolicyDocumentException", syntax},
		{strings.Replace(statement("Allow", `"*"`, ""), "2012-10-17", "2008-10-17", 1), "", ""},
		{strings.Replace(statement("Allow", `"*"`, ""), "2012-10-17", "2019-10-19", 1),
			"MalformedPolicyDocumentException", version},
		{"no JSON", "MalformedPolicyDocumentException", syntax},
		{statement("AllowSomething", `"*"`, ""), "MalformedPolicyDocumentException", syntax},
		{statement("Allow", `"*"`, `,"Unknown":1`), "MalformedPolicyDocumentException", syntax},
		{statement("Allow", `"somebody"`, ""), "MalformedPolicyDocumentException", syntax},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
			"MalformedPolicyDocumentException", syntax},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Resource":"*"}}`,
			"MalformedPolicyDocumentException", syntax},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*"}}`,
			"MalformedPolicyDocumentException", syntax},
		{statement("Allow", `{"AWS":"somebody"}`, ""), "MalformedPolicyDocumentException", principal},
		{statement("Allow", `{"AWS":"arn:aws:iam::`+theirs+`:role/*"}`, ""), "MalformedPolicyDocumentException",
			principal},
		{statement("Allow", `{"AWS":"arn:aws:iam::`+theirs+`:role/unknown"}`, ""), "MalformedPolicyDocumentException",
			principal},
		{statement("Allow", `{"CanonicalUser":"x"}`, ""), "MalformedPolicyDocumentException", principal},
		{statement("Allow", `{"Service":"nonsense"}`, ""), "MalformedPolicyDocumentException", service},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}}`, "InvalidRequestException", lockout},
	} {
		_, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
			SecretId: aws.String("db"), ResourcePolicy: &c.policy,
		})
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.policy, err)
			}
			continue
		}
		t.Run(c.policy, func(t *testing.T) { refused(t, err, c.code, c.text) })
	}
	wide := statement("Allow", `"*"`, "")
	_, err := b.client.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{
		SecretId: aws.String("db"), ResourcePolicy: &wide, BlockPublicPolicy: aws.Bool(true),
	})
	refused(t, err, "PublicPolicyException",
		"You can't attach a resource-based policy that allows broad access to the secret.")
}

func TestADisabledRotationHasNoDates(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	if err := b.rotate("db", 2, func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(10)}
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitRotation(ctx, "db"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: aws.String("db")}); err != nil {
		t.Fatal(err)
	}
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || d.LastRotatedDate != nil || d.NextRotationDate != nil || d.RotationEnabled == nil ||
		*d.RotationEnabled || d.RotationRules == nil {
		t.Errorf("%+v, %v", d, err)
	}
	l, err := b.client.ListSecrets(ctx, &sm.ListSecretsInput{})
	if err != nil || l.SecretList[0].LastRotatedDate == nil || l.SecretList[0].NextRotationDate != nil {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestSystemTagsAreReserved(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	const text = "You can't modify system tags. Tag key: 'aws:cloudformation:stack-name'."
	tags := []types.Tag{
		{Key: aws.String("mine"), Value: aws.String("x")},
		{Key: aws.String("aws:cloudformation:stack-name"), Value: aws.String("x")},
	}
	_, err := b.client.TagResource(ctx, &sm.TagResourceInput{SecretId: aws.String("db"), Tags: tags})
	refused(t, err, "InvalidParameterException", text)
	_, err = b.client.UntagResource(ctx, &sm.UntagResourceInput{
		SecretId: aws.String("db"), TagKeys: []string{"aws:cloudformation:stack-name"},
	})
	refused(t, err, "InvalidParameterException", text)
	_, err = b.client.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("new"), Tags: tags})
	refused(t, err, "InvalidParameterException", text)
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")})
	if err != nil || d.Tags != nil {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestExternalSecretsAreDescribed(t *testing.T) {
	b := newBench(t, Options{})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("partner"), SecretString: aws.String("one"), Type: aws.String("SalesforceClientSecret"),
	}); err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::123456789012:role/partner"
	if _, err := b.client.RotateSecret(ctx, &sm.RotateSecretInput{
		SecretId: aws.String("partner"), ExternalSecretRotationRoleArn: aws.String(role),
		ExternalSecretRotationMetadata: []types.ExternalSecretRotationMetadataItem{
			{Key: aws.String("apiVersion"), Value: aws.String("v65.0")},
		},
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
	}); err != nil {
		t.Fatal(err)
	}
	b.answers([][3]string{
		{"UpdateSecret", `{"SecretId":"partner","ClientRequestToken":"T2","Type":"SnowflakeKeyPairAuthentication"}`,
			`{"ARN":"ARN","Name":"partner"}`},
	})
	d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("partner")})
	if err != nil || aws.ToString(d.Type) != "SnowflakeKeyPairAuthentication" ||
		aws.ToString(d.ExternalSecretRotationRoleArn) != role || len(d.ExternalSecretRotationMetadata) != 1 ||
		*d.ExternalSecretRotationMetadata[0].Value != "v65.0" || !aws.ToBool(d.RotationEnabled) ||
		d.RotationLambdaARN != nil {
		t.Errorf("%+v, %v", d, err)
	}
	l, err := b.client.ListSecrets(ctx, &sm.ListSecretsInput{})
	if err != nil || aws.ToString(l.SecretList[0].ExternalSecretRotationRoleArn) != role ||
		len(l.SecretList[0].ExternalSecretRotationMetadata) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestTheDefaultKeyIsNotDescribed(t *testing.T) {
	b := newBench(t, Options{})
	if _, err := b.client.CreateSecret(ctx, &sm.CreateSecretInput{
		Name: aws.String("db"), KmsKeyId: aws.String("alias/aws/secretsmanager"),
	}); err != nil {
		t.Fatal(err)
	}
	if d, err := b.client.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: aws.String("db")}); err != nil ||
		d.KmsKeyId != nil {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestTextsOfBrokenConstraints(t *testing.T) {
	b := newBench(t, Options{})
	b.create("db")
	b.RegisterFunction(lambda, b.function(func(request) error { return nil }))
	one := func(rule string) string {
		return `{"__type":"ValidationException","message":"1 validation error detected: ` + rule + `"}`
	}
	const pattern = `^\\!?[a-zA-Z0-9 :_@\\/\\+\\=\\.\\-\\!]*$`
	b.answers([][3]string{
		{"CreateSecret", `{"Name":"x","ClientRequestToken":"T1","SecretString":""}`,
			one("Value at 'secretString' failed to satisfy constraint: Member must have length greater than or equal " +
				"to 1")},
		{"PutSecretValue", `{"SecretId":"db","ClientRequestToken":"T2","SecretString":""}`,
			one("Value at 'secretString' failed to satisfy constraint: Member must have length greater than or equal " +
				"to 1")},
		{"PutSecretValue", `{"SecretId":"db","ClientRequestToken":"T2","SecretBinary":""}`,
			one("Value at 'secretBinary' failed to satisfy constraint: Member must have length greater than or equal " +
				"to 1")},
		{"PutSecretValue", `{"SecretId":"db","ClientRequestToken":"T2"}`,
			`{"__type":"InvalidRequestException","Message":"You must provide either SecretString or SecretBinary."}`},
		{"ListSecrets", `{"Filters":[{"Key":"name","Values":["ok","a*b"]}]}`,
			one("Value '[ok, a*b]' at 'filters.1.member.values' failed to satisfy constraint: Member must satisfy " +
				"constraint: [Member must have length less than or equal to 512, Member must satisfy regular " +
				"expression pattern: " + pattern + "]")},
		{"ListSecrets", `{"Filters":[{},{},{},{},{},{},{},{},{},{},{}]}`,
			one("Value at 'filters' failed to satisfy constraint: Member must have length less than or equal to 10")},
		{"ReplicateSecretToRegions", `{"SecretId":"db","AddReplicaRegions":[]}`,
			one("Value at 'addReplicaRegions' failed to satisfy constraint: Member must have length greater than or " +
				"equal to 1")},
		{"PutSecretValue", `{"SecretId":"db","ClientRequestToken":"T2","SecretString":"x","VersionStages":["a",""]}`,
			one("Value '[a, ]' at 'versionStages' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length less than or equal to 256, Member must have length greater than or equal " +
				"to 1]")},
		{"RotateSecret", `{"SecretId":"db","ClientRequestToken":"T2","RotationLambdaARN":"` + lambda +
			`","RotationRules":{"ScheduleExpression":"rate(1 hour)"}}`,
			`{"__type":"InvalidParameterException","Message":"Invalid rotation rules: rate(1 hour) is more often than every four hours."}`},
		{"RotateSecret", `{"SecretId":"db","ClientRequestToken":"T2","RotationLambdaARN":"` + lambda +
			`","RotationRules":{"ScheduleExpression":"rate(4 hours)","Duration":"5h"}}`,
			`{"__type":"InvalidParameterException","Message":"Invalid rotation rules: a window of 5 hours would reach beyond its limit of 4 hours."}`},
	})
}
