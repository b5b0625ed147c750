package ctl

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/sim"
)

func TestTemplateOfFunction(t *testing.T) {
	python := func(name, description string) types.FunctionConfiguration {
		return types.FunctionConfiguration{FunctionArn: aws.String(functionHead + name), Runtime: "python3.9",
			Handler: aws.String("lambda_function.lambda_handler"), Description: &description}
	}
	node, custom := python("RDSMySQLRotationSingleUser", ""), python("RDSMySQLRotationSingleUser", "")
	set := python("x", "")
	node.Runtime, custom.Handler = "nodejs22.x", aws.String("app.handler")
	set.Environment = &types.EnvironmentResponse{Variables: map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://x"}}
	for _, c := range []struct {
		f    types.FunctionConfiguration
		want string
	}{
		{python("Stack-SecretsManagerRDSPostgreSQLRotationMultiUser-X", ""), "RDSPostgreSQLRotationMultiUser"},
		{python("x", "SecretsManagerRDSDb2RotationSingleUser"), "RDSDb2RotationSingleUser"},
		{python("x", "Conducts an AWS SecretsManager secret rotation for RDS MySQL using single user rotation scheme"),
			"RDSMySQLRotationSingleUser"},
		{python("x", "secret rotation for RDS SQL Server using the multi user rotation scheme."),
			"RDSSQLServerRotationMultiUser"},
		{python("x", "secret rotation for RDS Postgres using single user rotation scheme"),
			"RDSPostgreSQLRotationSingleUser"},
		{python("x", "secret rotation for RDS Postgres using the single user rotation scheme"),
			"RDSPostgreSQLRotationSingleUser"},
		{python("x", "Renders mail using templates"), ""},
		{python("x", "secret rotation for Amazon Redshift using the multi user rotation scheme"),
			"RedshiftRotationMultiUser"},
		{python("x", "secret rotation for MongoDB using the single user rotation scheme"), "MongoDBRotationSingleUser"},
		{set, "unknown"},
		{python("x", ""), ""},
		{custom, ""},
		{node, ""},
	} {
		if got := templateOf(c.f).Name; got != c.want {
			t.Errorf("%s, %s: %q, want %q", *c.f.FunctionArn, *c.f.Description, got, c.want)
		}
	}
	if templateOf(types.FunctionConfiguration{}).Name != "" {
		t.Error("no function has a template")
	}
}

// TestTemplates: a template cannot be replaced if and only if no engine accepts its secrets.
func TestTemplates(t *testing.T) {
	var kept []string
	for _, x := range templates {
		if x.Verdict == keep {
			kept = append(kept, x.Name)
		} else if awstemplate.Forms[x.Name] == "" {
			t.Errorf("no engine is known to take secrets of %s", x.Name)
		}
	}
	slices.Sort(kept)
	if want := slices.Sorted(slices.Values(awstemplate.NoDropIn)); !slices.Equal(kept, want) {
		t.Errorf("%q are kept, want %q", kept, want)
	}
	if want := len(awstemplate.Forms) + len(awstemplate.NoDropIn); len(templates) != want {
		t.Errorf("%d templates, want %d", len(templates), want)
	}
}

// TestMigrate checks what each secret needs, with the real SDK.
func TestMigrate(t *testing.T) {
	w := newAccount(t, sim.Options{MaxAttempts: 1})
	python := func(c sim.Configuration) sim.Configuration {
		c.Runtime, c.Handler = "python3.9", "lambda_function.lambda_handler"
		return c
	}
	env := map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://x"}
	const (
		pg    = "SecretsManagerRDSPostgreSQLRotationSingleUser"
		multi = "SecretsManagerRDSPostgreSQLRotationMultiUser"
		ora   = "SecretsManagerRDSOracleRotationSingleUser"
		db2   = "SecretsManagerRDSDb2RotationSingleUser"
		odd   = "odd"
		gen   = "SecretsManagerRotationTemplate"
	)
	w.function(pg, python(sim.Configuration{}), nothing)
	w.function(multi, python(sim.Configuration{Environment: env}), func(e step) error {
		if e.Step == "setSecret" {
			return errors.New("down")
		}
		return w.rotates(e)
	})
	w.function(ora, python(sim.Configuration{}), nothing)
	w.function(db2, python(sim.Configuration{}), nothing)
	w.function(odd, python(sim.Configuration{Environment: env}), nothing)
	w.function(gen, python(sim.Configuration{}), nothing)
	w.function("mine", sim.Configuration{Runtime: "nodejs22.x", Handler: "index.handler"}, nothing)
	w.function("new", sim.Configuration{Runtime: "provided.al2023"}, nothing)

	plainARN := w.secret("plain!one", "x") // a name that a shell must not split
	w.schedule(plainARN, pg)
	clone := w.secret("clone", "x")
	w.schedule(clone, multi)
	mid := w.secret("mid", "x")
	w.schedule(mid, multi)
	w.begin(mid)
	w.schedule(w.secret("ora", "x"), ora)
	key := w.secret("key", "x")
	w.schedule(key, pg)
	in := &secretsmanager.UpdateSecretInput{SecretId: &key, KmsKeyId: aws.String("alias/mine")}
	if _, err := w.client.UpdateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	w.schedule(w.secret("db2", "x"), db2)
	w.schedule(w.secret("odd", "x"), odd)
	w.schedule(w.secret("gen", "x"), gen)
	w.schedule(w.secret("gen2", "x", "rotator:engine", "generic"), gen)
	off := w.secret("off", "x")
	w.schedule(off, pg)
	w.cancel(off)
	w.schedule(w.secret("theirs", "x"), "mine")
	w.schedule(w.secret("switched", "x"), "new")
	w.secret("unrotated", "x")

	moves, others := migrate(w.list(filter{}))
	got := make(map[string]move)
	var order []string
	for _, x := range moves {
		got[x.Secret] = x
		order = append(order, x.Secret)
	}
	if want := "gen2 plain!one mid clone gen key ora off db2 odd"; strings.Join(order, " ") != want {
		t.Errorf("%q, want %q", order, want)
	}
	if others != 3 {
		t.Errorf("%d others", others)
	}
	if want := (move{
		Secret: "plain!one", ARN: plainARN, Template: "RDSPostgreSQLRotationSingleUser", Verdict: ready,
		Switch: []string{`rotatorctl rotate 'plain!one' --function "$NEW" --test`, "rotatorctl rotate 'plain!one'"},
		Back: []string{"aws secretsmanager rotate-secret --secret-id 'plain!one' --rotation-lambda-arn " +
			functionHead + pg + " --no-rotate-immediately"},
	}); !reflect.DeepEqual(got["plain!one"], want) {
		t.Errorf("%+v\nwant %+v", got["plain!one"], want)
	}
	for name, want := range map[string][]string{
		"gen2":  nil,
		"ora":   {"a build with the engine: make build-RotatorFunction TAGS=with_oracle"},
		"clone": {"adopt the second user: rotatorctl adopt clone shows the plan, and --yes applies it"},
		"mid": {"wait until the rotation under way has ended",
			"adopt the second user: rotatorctl adopt mid shows the plan, and --yes applies it"},
		"gen": {"the tag rotator:engine=generic; if the template's setSecret was filled in, write an engine instead"},
		"off": {"decide whether to rotate it: rotation is off, and the switch turns it on"},
		"key": {"permission to use the key alias/mine (KmsKeyArns)"},
		"db2": {"Db2 is not supported"},
		"odd": {"find out what to replace: the function's name and description do not name its template"},
	} {
		if !slices.Equal(got[name].Needs, want) {
			t.Errorf("%s needs %q, want %q", name, got[name].Needs, want)
		}
	}
	if len(got["db2"].Switch) > 0 || got["db2"].Verdict != keep || got["odd"].Verdict != unknown {
		t.Errorf("%+v, %+v", got["db2"], got["odd"])
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"shop/db": "shop/db", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
