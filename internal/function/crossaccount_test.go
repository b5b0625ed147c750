package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/sim"
)

const (
	// functionARN's account is the simulator's default, which is also that of the handler's credentials.
	functionRole   = "arn:aws:iam::123456789012:role/rotator"
	secretsAccount = "444455556666"
	secretsKey     = "arn:aws:kms:us-east-1:" + secretsAccount + ":key/1"
	organization   = "o-exampleorg1"
	// externalID has the minimum length that the template allows.
	externalID = "external"
)

// statement is a statement in a policy of the template.
type statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    any
	Resource  any                       `json:",omitempty"`
	Condition map[string]map[string]any `json:",omitempty"`
}

func (s statement) actions() []string {
	if one, ok := s.Action.(string); ok {
		return []string{one}
	}
	var all []string
	for _, a := range s.Action.([]any) {
		all = append(all, a.(string))
	}
	return all
}

// trusts evaluates a statement about who may assume the role. An unknown operator or key is an error, so none is
// ignored.
func (s statement) trusts(context map[string]string) (bool, error) {
	if s.Effect != "Allow" {
		return false, fmt.Errorf("effect %s is not evaluated", s.Effect)
	}
	if !slices.Contains(s.actions(), "sts:AssumeRole") {
		return false, nil
	}
	for operator, keys := range s.Condition {
		for key, want := range keys {
			have, known := context[key]
			if operator != "StringEquals" || !known {
				return false, fmt.Errorf("condition %s %s is not evaluated", operator, key)
			}
			if have != want {
				return false, nil
			}
		}
	}
	return true, nil
}

// crossRole is the role of deploy/cross-account-role.yaml.
type crossRole struct {
	name               string
	trust, permissions []statement
}

// evaluated decodes the properties of a resource that a template creates, after replacing texts in them. The tests of
// deploy evaluate the templates.
func evaluated(t *testing.T, template, resource string, into any, replace ...string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/testdata/evaluated.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.NewReplacer(replace...).Replace(string(text))), &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(all[template][resource], into); err != nil {
		t.Fatalf("%s of %s: %v", resource, template, err)
	}
}

// evaluatedSuperuser is the ARN of the superuser secret in deploy/testdata/evaluated.json.
const evaluatedSuperuser = "arn:aws:secretsmanager:us-east-1:123456789012:secret:superuser-AbCdEf"

// readCrossRole returns the role that a template creates, after replacing texts in it.
func readCrossRole(t *testing.T, template string, replace ...string) crossRole {
	t.Helper()
	type document struct{ Statement []statement }
	var properties struct {
		RoleName                 string
		AssumeRolePolicyDocument document
		Policies                 []struct{ PolicyDocument document }
	}
	evaluated(t, template, "RotationRole", &properties, replace...)
	role := crossRole{name: properties.RoleName, trust: properties.AssumeRolePolicyDocument.Statement}
	for _, p := range properties.Policies {
		role.permissions = append(role.permissions, p.PolicyDocument.Statement...)
	}
	if role.name == "" || len(role.trust) != 1 || len(role.permissions) == 0 ||
		role.trust[0].Principal["AWS"] != functionRole {
		t.Fatalf("the template was not understood: %+v", role)
	}
	return role
}

func (r crossRole) arn() string { return "arn:aws:iam::" + secretsAccount + ":role/" + r.name }

// crossing is a function in one account and a secret in another, whose user exists in a real PostgreSQL.
type crossing struct {
	*world
	theirs *secretsmanager.Client
	server *testserver.PostgresServer
	arn    string
	user   string
	first  string // password
	// role is the template's. The simulator enforces its permissions, and police its trust policy, which the simulator
	// does not support.
	role crossRole
	// organization is the function's.
	organization string
	// noToken keeps the rotation token from the function.
	noToken bool
	// calls are those made by the role, and failed is the handler's last error.
	calls  map[string]bool
	failed error
}

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	c := &crossing{
		world: newWorld(t), server: testserver.SharedPostgres(t, testserver.PostgresOptions{}),
		user: testserver.Unique("app_"), first: testserver.Unique("First-Passw0rd-"),
		organization: organization, calls: map[string]bool{},
		role: readCrossRole(t, "role"),
	}
	conn := c.server.Connect(t, "postgres")
	if _, err := conn.Exec(t.Context(),
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", c.user, c.first)); err != nil {
		t.Fatal(err)
	}
	drop := fmt.Sprintf("DROP ROLE %[1]s; DROP ROLE IF EXISTS %[1]s_clone", c.user)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), drop); err != nil {
			t.Error(err)
		}
	})
	c.theirs = secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")),
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider(secretsAccount, "simulated", "")})
	value, err := json.Marshal(map[string]any{"engine": "postgres", "host": c.server.Host, "port": c.server.Port,
		"username": c.user, "password": c.first, "dbname": "postgres"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.theirs.CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String("app/db"), SecretString: aws.String(string(value))})
	if err != nil {
		t.Fatal(err)
	}
	c.arn = *out.ARN
	c.env["CA_BUNDLE"] = c.server.CAFile
	c.env["ROTATION_ROLE_ARN"] = "arn:{partition}:iam::{account}:role/" + c.role.name
	c.env["ROTATION_ROLE_EXTERNAL_ID"] = externalID
	if err := c.sim.RegisterRole(c.role.arn(), ""); err != nil {
		t.Fatal(err)
	}
	c.wire = c.police
	return c
}

// grant gives the role its permissions.
func (c *crossing) grant() {
	c.t.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": c.role.permissions})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.sim.PutPolicy(c.role.arn(), string(text)); err != nil {
		c.t.Fatal(err)
	}
}

// police refuses the role to callers that its template does not trust, and records the calls that it makes.
func (c *crossing) police(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	defer func() { r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body)) }()
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") == "AssumeRole" {
		// A key that was not sent is absent from the context, and fails StringEquals.
		context := map[string]string{"sts:ExternalId": form.Get("ExternalId"), "aws:PrincipalOrgID": c.organization}
		for _, s := range c.role.trust {
			ok, err := s.trusts(context)
			if err != nil {
				c.t.Error(err)
			}
			if ok {
				return false
			}
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to `+
			`perform: sts:AssumeRole</Message></Error></ErrorResponse>`)
		return true
	}
	if strings.Contains(r.Header.Get("Authorization"), "Credential=ASIA") {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		c.calls["secretsmanager:"+operation] = true
	}
	return false
}

// rotate makes Secrets Manager in the secret's account rotate it with the function, and returns the result.
func (c *crossing) rotate() error {
	c.t.Helper()
	c.grant()
	h := NewHandler(func(name string) string { return c.env[name] }, slog.New(slog.NewJSONHandler(&c.log, nil)),
		&c.metrics, "test")
	c.sim.RegisterFunction(functionARN,
		sim.InvokerFunc(func(ctx context.Context, payload []byte) ([]byte, string, error) {
			if c.noToken {
				var e map[string]string
				if err := json.Unmarshal(payload, &e); err != nil {
					return nil, "", err
				}
				delete(e, "RotationToken")
				payload, _ = json.Marshal(e)
			}
			body, err := h.Invoke(lambdacontext.NewContext(ctx,
				&lambdacontext.LambdaContext{InvokedFunctionArn: functionARN}), payload)
			if err != nil {
				c.failed = err
				body, _ = json.Marshal(err)
				return body, "Unhandled", nil
			}
			return body, "", nil
		}))
	if _, err := c.theirs.RotateSecret(c.t.Context(),
		&secretsmanager.RotateSecretInput{SecretId: &c.arn, ClientRequestToken: aws.String(token),
			RotationLambdaARN: aws.String(functionARN)}); err != nil {
		c.t.Fatal(err)
	}
	return c.sim.WaitRotation(c.t.Context(), c.arn)
}

// password returns AWSCURRENT's password, as the secret's account reads it.
func (c *crossing) password() string {
	c.t.Helper()
	out, err := c.theirs.GetSecretValue(c.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &c.arn})
	if err != nil {
		c.t.Fatal(err)
	}
	var v struct{ Password string }
	if err := json.Unmarshal([]byte(*out.SecretString), &v); err != nil {
		c.t.Fatal("the value is not JSON")
	}
	return v.Password
}

func (c *crossing) login(password string) error {
	conn, err := pgx.Connect(c.t.Context(), c.server.URLFor(c.user, password, "postgres"))
	if err != nil {
		return errors.New("the login was refused")
	}
	return conn.Close(c.t.Context())
}

// rotated fails the test unless the rotation succeeded and only the new password opens the database.
func (c *crossing) rotated(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.log.String())
	}
	now := c.password()
	if now == c.first {
		c.t.Error("the password is the old one")
	}
	if err := c.login(now); err != nil {
		c.t.Errorf("AWSCURRENT: %v", err)
	}
	if c.login(c.first) == nil {
		c.t.Error("the old password still opens the database")
	}
}

// kept fails the test unless the rotation failed and nothing changed for readers of AWSCURRENT.
func (c *crossing) kept(err error) {
	c.t.Helper()
	if err == nil {
		c.t.Fatal("the rotation succeeded")
	}
	if c.password() != c.first {
		c.t.Error("AWSCURRENT moved")
	}
	if err := c.login(c.first); err != nil {
		c.t.Errorf("AWSCURRENT: %v", err)
	}
}

// noRole makes the function use its own credentials.
func (c *crossing) noRole() {
	delete(c.env, "ROTATION_ROLE_ARN")
	delete(c.env, "ROTATION_ROLE_EXTERNAL_ID")
}

// policy gives the function's account access without a role in the secret's account.
func (c *crossing) policy() {
	c.t.Helper()
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` +
		`"Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":["secretsmanager:DescribeSecret",` +
		`"secretsmanager:GetSecretValue","secretsmanager:PutSecretValue",` +
		`"secretsmanager:UpdateSecretVersionStage","secretsmanager:ListSecretVersionIds"],"Resource":"*"}]}`
	if _, err := c.theirs.PutResourcePolicy(c.t.Context(),
		&secretsmanager.PutResourcePolicyInput{SecretId: &c.arn, ResourcePolicy: &text}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crossing) key() {
	c.t.Helper()
	if _, err := c.theirs.UpdateSecret(c.t.Context(),
		&secretsmanager.UpdateSecretInput{SecretId: &c.arn, KmsKeyId: aws.String(secretsKey)}); err != nil {
		c.t.Fatal(err)
	}
}

// TestRotationAcrossAccounts: a function in one account rotates a secret in another with the role of
// deploy/cross-account-role.yaml, in all four steps. The secret may then have the default key, and needs no policy.
func TestRotationAcrossAccounts(t *testing.T) {
	c := newCrossing(t)
	c.rotated(c.rotate())
	for _, action := range []string{"DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"} {
		if !c.calls["secretsmanager:"+action] {
			t.Errorf("the role was not used for %s", action)
		}
	}
}

// superuser gives the secret a superuser, whose secret is in the same account, and returns that secret's ARN.
func (c *crossing) superuser() string {
	c.t.Helper()
	put := func(value map[string]any, as func(text *string) error) {
		value["engine"], value["host"], value["port"] = "postgres", c.server.Host, c.server.Port
		text, err := json.Marshal(value)
		if err == nil {
			err = as(aws.String(string(text)))
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	superuser := ""
	put(map[string]any{"username": c.server.User, "password": c.server.Password}, func(text *string) error {
		out, err := c.theirs.CreateSecret(c.t.Context(),
			&secretsmanager.CreateSecretInput{Name: aws.String("superuser"), SecretString: text})
		superuser = aws.ToString(out.ARN)
		return err
	})
	put(map[string]any{"username": c.user, "password": c.first, "dbname": "postgres", "masterarn": superuser},
		func(text *string) error {
			_, err := c.theirs.PutSecretValue(c.t.Context(),
				&secretsmanager.PutSecretValueInput{SecretId: &c.arn, SecretString: text})
			return err
		})
	return superuser
}

// TestAlternatingUsersAcrossAccounts: the role may read the superuser's secret if the role's stack has the ARN. The
// secret does not need to name the function.
func TestAlternatingUsersAcrossAccounts(t *testing.T) {
	c := newCrossing(t)
	c.role = readCrossRole(t, "role with superusers", evaluatedSuperuser, c.superuser())
	if err := c.rotate(); err != nil {
		t.Fatalf("%v\n%s", err, c.log.String())
	}
	if err := c.login(c.first); err != nil {
		t.Errorf("the first user: %v", err)
	}
	c.user += "_clone"
	if err := c.login(c.password()); err != nil {
		t.Errorf("AWSCURRENT: %v", err)
	}
}

// TestDatabasesOfAnotherAccountAreAskedForByTheRole: a managed superuser's host is known only in its account.
func TestDatabasesOfAnotherAccountAreAskedForByTheRole(t *testing.T) {
	c := newCrossing(t)
	h := NewHandler(func(name string) string { return c.env[name] }, slog.New(slog.DiscardHandler), io.Discard, "test")
	cfg, err := h.clients.databases(t.Context(), c.arn)
	if err != nil {
		t.Fatal(err)
	}
	client := sts.NewFromConfig(cfg, func(o *sts.Options) {
		o.BaseEndpoint = aws.String(os.Getenv("AWS_ENDPOINT_URL_STS"))
	})
	who, err := client.GetCallerIdentity(t.Context(), nil)
	if want := "arn:aws:sts::" + secretsAccount + ":assumed-role/rotation/rotator"; err != nil || *who.Arn != want {
		t.Errorf("asked by %v, %v, want %s", who, err, want)
	}
}

// TestRotationAcrossAccountsByThePolicyAlone: without a role, the secret's own policy must give the function's account
// access, and its key must be customer managed.
func TestRotationAcrossAccountsByThePolicyAlone(t *testing.T) {
	c := newCrossing(t)
	c.noRole()
	c.policy()
	c.key()
	c.rotated(c.rotate())
	if len(c.calls) > 0 {
		t.Errorf("a role was used for %v", c.calls)
	}
}

// TestWhatKeepsAnotherAccountsSecretFromRotating: if any part of the path is missing, the rotation ends with an error
// that names it, and AWSCURRENT keeps working.
func TestWhatKeepsAnotherAccountsSecretFromRotating(t *testing.T) {
	for name, test := range map[string]struct {
		spoil       func(*crossing)
		cause, text string
	}{
		"wrong external ID": {func(c *crossing) { c.env["ROTATION_ROLE_EXTERNAL_ID"] = "another" },
			"SecretsManagerFailed", "sts:AssumeRole"},
		"no external ID": {func(c *crossing) { delete(c.env, "ROTATION_ROLE_EXTERNAL_ID") },
			"SecretsManagerFailed", "sts:AssumeRole"},
		"another organization": {func(c *crossing) { c.organization = "o-stranger12" }, "SecretsManagerFailed",
			"sts:AssumeRole"},
		"no such role": {
			func(c *crossing) { c.env["ROTATION_ROLE_ARN"] = "arn:aws:iam::{account}:role/another" },
			"SecretsManagerFailed", "sts:AssumeRole"},
		"no role, no policy": {func(c *crossing) { c.noRole(); c.key() }, "SecretsManagerFailed",
			"no resource-based policy allows"},
		"no role, the default key": {func(c *crossing) { c.noRole(); c.policy() }, "SecretsManagerFailed",
			"default KMS service key"},
		"an event without a token": {func(c *crossing) { c.noToken = true }, "InvalidEvent", "RotationToken"},
		"no role, no token": {func(c *crossing) { c.noRole(); c.policy(); c.key(); c.noToken = true },
			"InvalidEvent", "RotationToken"},
		"a secret of another function": {
			func(c *crossing) { c.role = readCrossRole(c.t, "role", functionARN, functionARN+"-of-others") }, "SecretsManagerFailed",
			"secretsmanager:DescribeSecret"},
		"no superuser": {func(c *crossing) { c.superuser() }, "SecretsManagerFailed",
			"secretsmanager:GetSecretValue"},
		"no DescribeSecret": {without("DescribeSecret"), "SecretsManagerFailed",
			"secretsmanager:DescribeSecret"},
		"no GetSecretValue": {without("GetSecretValue"), "SecretsManagerFailed",
			"secretsmanager:GetSecretValue"},
		"no PutSecretValue": {without("PutSecretValue"), "SecretsManagerFailed",
			"secretsmanager:PutSecretValue"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrossing(t)
			test.spoil(c)
			c.kept(c.rotate())
			c.want(c.failed, test.cause, test.text)
		})
	}
}

// without removes one action from the role.
func without(action string) func(*crossing) {
	return func(c *crossing) {
		for i, s := range c.role.permissions {
			var left []any
			for _, a := range s.actions() {
				if a != "secretsmanager:"+action {
					left = append(left, a)
				}
			}
			c.role.permissions[i].Action = left
		}
	}
}

// TestPromotionThatTheRoleMayNotMake: by then the database has the new password, so AWSPENDING opens it, and a retry
// with the permission finishes.
func TestPromotionThatTheRoleMayNotMake(t *testing.T) {
	c := newCrossing(t)
	without("UpdateSecretVersionStage")(c)
	if c.rotate() == nil {
		t.Fatal("the rotation succeeded")
	}
	c.want(c.failed, "SecretsManagerFailed", "secretsmanager:UpdateSecretVersionStage")
	c.role = readCrossRole(t, "role")
	c.grant()
	for _, step := range allSteps {
		if err := c.invoke(event(step, c.arn)); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	c.rotated(nil)
}

// TestPutWithoutARotationTokenIsNoRotation: Secrets Manager stores the value and ends the rotation with its own error
// before the database is touched. The handler sends the token, and the test removes it on the way.
func TestPutWithoutARotationTokenIsNoRotation(t *testing.T) {
	c := newCrossing(t)
	// A session's signature would not survive the change, so the policy gives the function access.
	c.noRole()
	c.policy()
	c.key()
	c.wire = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".PutSecretValue") {
			return false
		}
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if in["RotationToken"] == nil {
			t.Error("the function did not send the token")
		}
		delete(in, "RotationToken")
		body, _ := json.Marshal(in)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return false
	}
	err := c.rotate()
	c.kept(err)
	want := "was not created by Lambda " + functionARN + ". Remove the AWSPENDING staging label and restart rotation"
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
}

// TestSecretThatTheOldFunctionLeftMidRotation: if a function that stores no notes, such as an AWS template's, dies
// between two steps, no other function takes over its rotation. Once AWSPENDING is abandoned, the next rotation finds
// the password that works, although no label leads to it anymore.
func TestSecretThatTheOldFunctionLeftMidRotation(t *testing.T) {
	for _, died := range []string{"setSecret", "testSecret"} {
		t.Run(died, func(t *testing.T) {
			c := newCrossing(t)
			const old = "arn:aws:lambda:us-east-1:" + secretsAccount + ":function:old"
			const oldToken = "11111111-e29b-41d4-a716-446655440000"
			second := testserver.Unique("Second-Passw0rd-")
			conn := c.server.Connect(t, "postgres")
			answer := func(ctx context.Context, payload []byte) ([]byte, string, error) {
				var e struct{ Step string }
				err := json.Unmarshal(payload, &e)
				switch {
				case err != nil:
				case e.Step == died:
					return []byte(`{"errorMessage": "out of time"}`), "Unhandled", nil
				case e.Step == "createSecret":
					value, _ := json.Marshal(map[string]any{"engine": "postgres", "host": c.server.Host,
						"port": c.server.Port, "username": c.user, "password": second, "dbname": "postgres"})
					_, err = c.theirs.PutSecretValue(ctx,
						&secretsmanager.PutSecretValueInput{SecretId: &c.arn, ClientRequestToken: aws.String(oldToken),
							SecretString: aws.String(string(value)), VersionStages: []string{"AWSPENDING"}})
				case e.Step == "setSecret":
					_, err = conn.Exec(ctx, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", c.user, second))
				}
				return []byte("null"), "", err
			}
			c.sim.RegisterFunction(old, sim.InvokerFunc(answer))
			rotate := func(function, token string) error {
				_, err := c.theirs.RotateSecret(t.Context(),
					&secretsmanager.RotateSecretInput{SecretId: &c.arn, ClientRequestToken: &token,
						RotationLambdaARN: &function})
				return err
			}
			if err := rotate(old, oldToken); err != nil {
				t.Fatal(err)
			}
			if c.sim.WaitRotation(t.Context(), c.arn) == nil {
				t.Fatal("the old function did not die")
			}
			if opens := c.login(second) == nil; opens != (died == "testSecret") {
				t.Fatalf("the second password opens the database: %v", opens)
			}
			idle := func(context.Context, []byte) ([]byte, string, error) { return []byte("null"), "", nil }
			c.sim.RegisterFunction(functionARN, sim.InvokerFunc(idle))
			if err := rotate(functionARN, token); err == nil ||
				!strings.Contains(err.Error(), "A previous rotation isn't complete") {
				t.Fatalf("another function took over the rotation: %v", err)
			}
			if _, err := c.theirs.UpdateSecretVersionStage(t.Context(),
				&secretsmanager.UpdateSecretVersionStageInput{SecretId: &c.arn, VersionStage: aws.String("AWSPENDING"),
					RemoveFromVersionId: aws.String(oldToken)}); err != nil {
				t.Fatal(err)
			}
			c.rotated(c.rotate())
			if c.login(second) == nil {
				t.Error("the old function's password still opens the database")
			}
			if died == "testSecret" && !c.calls["secretsmanager:ListSecretVersionIds"] {
				t.Error("the role was not used for ListSecretVersionIds")
			}
		})
	}
}

// TestSecretDoesNotChooseTheAccount: a masterarn in a stranger's account does not make the function assume a role
// there, which would reveal the external ID.
func TestSecretDoesNotChooseTheAccount(t *testing.T) {
	c := newCrossing(t)
	value, err := json.Marshal(map[string]any{"engine": "postgres", "host": c.server.Host, "port": c.server.Port,
		"username": c.user, "password": c.first,
		"masterarn": "arn:aws:secretsmanager:us-east-1:999988887777:secret:mine-AbCdEf"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.theirs.PutSecretValue(t.Context(),
		&secretsmanager.PutSecretValueInput{SecretId: &c.arn, SecretString: aws.String(string(value))}); err != nil {
		t.Fatal(err)
	}
	police := c.wire
	c.wire = func(w http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") == "AssumeRole" &&
			strings.Contains(form.Get("RoleArn"), "999988887777") {
			t.Errorf("assumed %s", form.Get("RoleArn"))
		}
		return police(w, r)
	}
	c.kept(c.rotate())
	c.want(c.failed, "InvalidSecret", "in another account")
}

// TestSecretDoesNotBorrowASuperuserByName: without a role, a bare name is looked up in the function's account, whose
// superusers the secret's account must not use.
func TestSecretDoesNotBorrowASuperuserByName(t *testing.T) {
	w := newWorld(t)
	ours := w.secret(`{"engine": "postgres", "host": "127.0.0.1", "port": 1, "username": "master", "password": ` +
		`"of-the-function-s-account"}`)
	theirs := secretsmanager.New(secretsmanager.Options{Region: "us-east-1",
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")),
		Credentials:  credentials.NewStaticCredentialsProvider(secretsAccount, "simulated", "")})
	d, err := w.client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &ours})
	if err != nil {
		t.Fatal(err)
	}
	value := fmt.Sprintf(`{"engine": "postgres", "host": "127.0.0.1", "port": 1, "username": "app", "password": `+
		`"first", "masterarn": %q}`, *d.Name)
	out, err := theirs.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("shop/app"), KmsKeyId: aws.String(secretsKey), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version": "2012-10-17", "Statement":
		{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "secretsmanager:*", "Resource": "*"}}`
	if _, err := theirs.PutResourcePolicy(t.Context(),
		&secretsmanager.PutResourcePolicyInput{SecretId: out.ARN, ResourcePolicy: &policy}); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: out.ARN, ClientRequestToken: aws.String(token),
		RotationLambdaARN: aws.String(functionARN)}); err != nil {
		t.Fatal(err)
	}
	_ = w.sim.WaitRotation(t.Context(), *out.ARN) // its function does nothing
	err = w.invoke(event("createSecret", *out.ARN))
	if err == nil || !strings.Contains(err.Error(), "in another account") {
		t.Errorf("createSecret: %v", err)
	}
}
