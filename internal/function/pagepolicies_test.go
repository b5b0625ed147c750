package function

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/sim"
)

// pageStatement is a statement of a policy in docs/cross-account.md.
type pageStatement struct {
	Effect, Resource string
	Principal        map[string]string `json:",omitempty"`
	Action           []string
	Condition        map[string]map[string]string `json:",omitempty"`
}

// pagePolicies reads the policies in a section of docs/cross-account.md, and replaces the page's names with those of
// the tests. A bare statement is a policy with only that statement.
func pagePolicies(t *testing.T, heading string) [][]pageStatement {
	t.Helper()
	page, err := os.ReadFile("../../docs/cross-account.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("the page has no section %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var all [][]pageStatement
	names := strings.NewReplacer("arn:aws:iam::111122223333:role/rotator-role", functionRole,
		"arn:aws:lambda:eu-central-1:111122223333:function:rotator", functionARN, "eu-central-1", "us-east-1")
	for _, m := range regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		body := names.Replace(m[1])
		var whole struct{ Statement []pageStatement }
		if !strings.Contains(body, `"Statement"`) {
			body = `{"Statement": [` + body + `]}`
		}
		if err := json.Unmarshal([]byte(body), &whole); err != nil || len(whole.Statement) == 0 {
			t.Fatalf("%v in %s", err, body)
		}
		all = append(all, whole.Statement)
	}
	return all
}

func document(t *testing.T, statements []pageStatement) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// actAs gives the function the credentials of its role, as Lambda does.
func (c *crossing) actAs(role string) {
	c.t.Helper()
	client := sts.New(sts.Options{BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_STS")), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", "")})
	out, err := client.AssumeRole(c.t.Context(),
		&sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("rotator")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	c.t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	c.t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
}

// withoutARole sets up the page's identity, resource and key policies.
func withoutARole(t *testing.T, policies [][]pageStatement, organization string) *crossing {
	t.Helper()
	c := newCrossing(t)
	c.noRole()
	c.wire = nil
	c.actAs(functionRole)
	c.sim.SetOrganization("123456789012", organization)
	if err := c.sim.PutPolicy(functionRole, document(t, policies[0])); err != nil {
		t.Fatal(err)
	}
	if len(policies[1]) > 0 {
		if _, err := c.theirs.PutResourcePolicy(t.Context(),
			&secretsmanager.PutResourcePolicyInput{SecretId: &c.arn,
				ResourcePolicy: aws.String(document(t, policies[1]))}); err != nil {
			t.Fatal(err)
		}
	}
	// A key also has a statement for its own account.
	own := pageStatement{Effect: "Allow",
		Principal: map[string]string{"AWS": "arn:aws:iam::" + secretsAccount + ":root"}, Action: []string{"kms:*"},
		Resource: "*"}
	if err := c.sim.PutPolicy(secretsKey, document(t, append([]pageStatement{own}, policies[2]...))); err != nil {
		t.Fatal(err)
	}
	c.key()
	return c
}

// TestPoliciesOfThePageWithoutARole: a rotation succeeds with the policies as printed. It fails without any one of
// their statements or actions, except the one for recovery, and outside the organization.
func TestPoliciesOfThePageWithoutARole(t *testing.T) {
	read := func() [][]pageStatement { return pagePolicies(t, "Without a role") }
	whole := read()
	if len(whole) != 3 {
		t.Fatalf("%d policies", len(whole))
	}
	t.Run("as printed", func(t *testing.T) {
		c := withoutARole(t, whole, organization)
		c.rotated(c.rotate())
	})
	t.Run("another organization", func(t *testing.T) {
		c := withoutARole(t, whole, "o-stranger12")
		c.kept(c.rotate())
		c.want(c.failed, "SecretsManagerFailed", "no resource-based policy allows")
	})
	for i, policy := range whole {
		for j, s := range policy {
			for k, action := range s.Action {
				switch action {
				case "secretsmanager:ListSecretVersionIds", // for recovery
					// TestPromotionThatTheRoleMayNotMake covers this: the database has changed by then.
					"secretsmanager:UpdateSecretVersionStage":
					continue
				}
				t.Run(strings.Join([]string{[]string{"role", "secret", "key"}[i], action}, " without "),
					func(t *testing.T) {
						less := read()
						less[i][j].Action = slices.Delete(less[i][j].Action, k, k+1)
						c := withoutARole(t, less, organization)
						c.kept(c.rotate())
						c.want(c.failed, "SecretsManagerFailed", "")
					})
			}
		}
	}
}

// TestPolicyOfThePageForAKeyOfAThirdAccount: the role of deploy/cross-account-role.yaml may use such a key only if the
// key's policy has the page's statement.
func TestPolicyOfThePageForAKeyOfAThirdAccount(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:777788889999:key/1"
	policies := pagePolicies(t, "Keys")
	if len(policies) != 1 {
		t.Fatalf("%d policies", len(policies))
	}
	for _, admitted := range []bool{true, false} {
		c := newCrossing(t)
		c.role = readCrossRole(t, "role with a key")
		own := pageStatement{Effect: "Allow", Principal: map[string]string{"AWS": "arn:aws:iam::777788889999:root"},
			Action: []string{"kms:*"}, Resource: "*"}
		statements := []pageStatement{own}
		if admitted {
			statements = append(statements, policies[0]...)
		}
		if err := c.sim.PutPolicy(key, document(t, statements)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.theirs.UpdateSecret(t.Context(),
			&secretsmanager.UpdateSecretInput{SecretId: &c.arn, KmsKeyId: aws.String(key)}); err != nil {
			t.Fatal(err)
		}
		if err := c.rotate(); admitted {
			c.rotated(err)
		} else {
			c.kept(err)
			c.want(c.failed, "SecretsManagerFailed", "Access to KMS is not allowed")
		}
	}
}

// TestKeyPoliciesThatAreNotEvaluatedAreRefused: no condition is ignored.
func TestKeyPoliciesThatAreNotEvaluatedAreRefused(t *testing.T) {
	s := sim.New(sim.Options{})
	for arn, statement := range map[string]string{
		secretsKey: `{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*",` +
			`"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`,
		secretsKey + "2":    `{"Effect":"Allow","Principal":"*","Actions":"kms:*","Resource":"*"}`,
		"alias/mine":        `{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}`,
		secretsKey + "/bad": `{"Effect":"Allow","Action":"kms:*","Resource":"*"}`,
	} {
		if s.PutPolicy(arn, `{"Statement":`+statement+`}`) == nil {
			t.Errorf("%s for %s is accepted", statement, arn)
		}
	}
}
