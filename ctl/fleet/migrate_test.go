package fleet

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/sim"
)

func TestTemplateOfFunction(t *testing.T) {
	const handler = "lambda_function.lambda_handler"
	endpoint := map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://x"}
	python := func(name, description string) Function {
		return Function{ARN: arnHead + name, Runtime: "python3.9", Handler: handler, Description: description}
	}
	node, custom := python("RDSMySQLRotationSingleUser", ""), python("RDSMySQLRotationSingleUser", "")
	set := python("x", "")
	node.Runtime, custom.Handler, set.Settings = "nodejs22.x", "app.handler", endpoint
	for _, c := range []struct {
		f    Function
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
		{set, unknownTemplate},
		{python("x", ""), ""},
		{custom, ""},
		{node, ""},
	} {
		if got := c.f.template().Name; got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
	if (*Function)(nil).template().Name != "" {
		t.Error("no function has a template")
	}
}

// TestTemplates: a template cannot be replaced if and only if no engine accepts its secrets.
func TestTemplates(t *testing.T) {
	var keep []string
	for _, x := range templates {
		if x.Keep != "" {
			keep = append(keep, x.Name)
		} else if awstemplate.Forms[x.Name] == "" {
			t.Errorf("no engine is known to take secrets of %s", x.Name)
		}
	}
	slices.Sort(keep)
	if want := slices.Sorted(slices.Values(awstemplate.NoDropIn)); !slices.Equal(keep, want) {
		t.Errorf("%q are kept, want %q", keep, want)
	}
	if want := len(awstemplate.Forms) + len(awstemplate.NoDropIn); len(templates) != want {
		t.Errorf("%d templates, want %d", len(templates), want)
	}
}

// TestMigrate checks what each secret and the new function need, with the real SDK.
func TestMigrate(t *testing.T) {
	w := newWorld(t, sim.Options{MaxAttempts: 1})
	python := func(c sim.Configuration) sim.Configuration {
		c.Runtime, c.Handler = "python3.9", "lambda_function.lambda_handler"
		return c
	}
	env := func(kv ...string) map[string]string {
		m := map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://x"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	const (
		pg     = "SecretsManagerRDSPostgreSQLRotationSingleUser"
		multi  = "SecretsManagerRDSPostgreSQLRotationMultiUser"
		oracle = "SecretsManagerRDSOracleRotationSingleUser"
		db2    = "SecretsManagerRDSDb2RotationSingleUser"
		odd    = "odd"
		gen    = "SecretsManagerRotationTemplate"
	)
	w.function(pg, python(sim.Configuration{
		Environment: env("EXCLUDE_CHARACTERS", "", "PASSWORD_LENGTH", "40"),
		Subnets:     []string{"subnet-1", "subnet-2"}, SecurityGroups: []string{"sg-1"},
	}), nothing)
	w.function(multi, python(sim.Configuration{Environment: env()}), func(e step) error {
		if e.Step == "setSecret" {
			return errors.New("down")
		}
		return w.rotates(e)
	})
	w.function(oracle, python(sim.Configuration{}), nothing)
	w.function(db2, python(sim.Configuration{}), nothing)
	w.function(odd, python(sim.Configuration{Environment: env()}), nothing)
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
	w.schedule(w.secret("ora", "x"), oracle)
	w.schedule(w.secret("db2", "x"), db2)
	oddARN := w.secret("odd", "x")
	w.schedule(oddARN, odd)
	w.schedule(w.secret("gen", "x"), gen)
	w.schedule(w.secret("gen2", "x", "rotator:engine", "generic"), gen)
	off := w.secret("off", "x")
	w.schedule(off, pg)
	w.cancel(off)
	w.schedule(w.secret("theirs", "x"), "mine")
	w.schedule(w.secret("switched", "x"), "new")
	w.secret("unrotated", "x")

	l := w.list(Filter{})
	m := l.Migrate(false)
	got := make(map[string]Move)
	var order []string
	for _, x := range m.Moves {
		got[x.Secret] = x
		order = append(order, x.Secret)
	}
	if want := "gen2 ora plain!one mid clone gen off db2 odd"; strings.Join(order, " ") != want {
		t.Errorf("%q, want %q", order, want)
	}
	if m.Others != 3 {
		t.Errorf("%d others", m.Others)
	}
	if want := (Move{
		Secret: "plain!one", ARN: plainARN, Template: "RDSPostgreSQLRotationSingleUser",
		Engine: "postgres", Strategy: single, Verdict: Ready,
		Switch: []string{`rotatorctl rotate 'plain!one' --function "$NEW" --test`, "rotatorctl rotate 'plain!one'"},
		Back: []string{"aws secretsmanager rotate-secret --secret-id 'plain!one' --rotation-lambda-arn " +
			arnHead + pg + " --no-rotate-immediately"},
	}); !reflect.DeepEqual(got["plain!one"], want) {
		t.Errorf("%+v\nwant %+v", got["plain!one"], want)
	}
	for name, want := range map[string][]string{
		"gen2":  nil,
		"ora":   nil,
		"clone": {"adopt the second user: rotatorctl adopt clone shows the plan, and --yes applies it"},
		"mid": {"wait until the rotation under way has ended",
			"adopt the second user: rotatorctl adopt mid shows the plan, and --yes applies it"},
		"gen": {"the tag rotator:engine=generic; if the template's setSecret was filled in, write an engine instead"},
		"off": {"decide whether to rotate it: rotation is off, and the switch turns it on"},
		"db2": {"Db2 is not supported"},
		"odd": {"the function's name and description do not name its template"},
	} {
		if !slices.Equal(got[name].Needs, want) {
			t.Errorf("%s needs %q, want %q", name, got[name].Needs, want)
		}
	}
	if len(got["db2"].Switch) > 0 || got["db2"].Verdict != Keep || got["odd"].Verdict != Unknown {
		t.Errorf("%+v, %+v", got["db2"], got["odd"])
	}
	if want := map[string]int{
		"a build with the engine: make build-RotatorFunction TAGS=with_oracle":                        1,
		"a route to the network of the old function: subnets subnet-1,subnet-2, security groups sg-1": 2,
		"the old function's setting, unless it is the default: PASSWORD_LENGTH=40":                    2,
	}; !reflect.DeepEqual(m.Needs, want) {
		t.Errorf("%+v, want %+v", m.Needs, want)
	}

	for _, x := range l.Migrate(true).Moves {
		if x.Secret == "odd" && x.Switch[1] != "rotatorctl rotate "+oddARN {
			t.Errorf("%+v", x)
		}
	}
}

func TestMigrateReportsUnreadFunctions(t *testing.T) {
	l := Listing{
		Secrets:   []Secret{{Name: "s", State: OK, Function: arnHead + "f", Key: "arn:aws:kms:x"}},
		functions: map[string]*Function{arnHead + "f": {ARN: arnHead + "f", Err: errors.New("denied")}},
	}
	m := l.Migrate(false)
	if x := m.Moves[0]; x.Verdict != Unknown || x.Switch != nil ||
		x.Needs[0] != "cannot read the function's configuration: denied" {
		t.Errorf("%+v", x)
	}
	l.functions[arnHead+"f"] = &Function{
		ARN: arnHead + "f", Runtime: "python3.9", Handler: "lambda_function.lambda_handler",
		Description: "RDSMySQLRotationSingleUser",
	}
	if m = l.Migrate(false); m.Needs["permission to use the key arn:aws:kms:x (KmsKeyArns)"] != 1 {
		t.Errorf("%+v", m)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"shop/db": "shop/db", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'",
	} {
		if got := Quote(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
