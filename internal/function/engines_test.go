package function

import (
	"slices"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

// TestEveryEngineOfAWSTemplatesIsKnown: a secret that one of AWS's templates rotates is rotated, or refused with the
// reason.
func TestEveryEngineOfAWSTemplatesIsKnown(t *testing.T) {
	var names []string
	list, err := engines(engine.TLSPolicy{}, nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		for _, n := range e.Kind().Names {
			if slices.Contains(names, n) && e.Kind().MarkField == "" {
				t.Errorf("two engines serve %s", n)
			}
			names = append(names, n)
		}
	}
	for _, want := range []string{"postgres", "aurora-postgresql", "mysql", "aurora-mysql", "mariadb", "oracle",
		"oracle-ee", "oracle-ee-cdb", "oracle-se2", "sqlserver", "sqlserver-ee", "sqlserver-se", "sqlserver-ex",
		"sqlserver-web", "redshift", "db2", "db2-ae", "db2-se", "mongo", "timestream-influxdb"} {
		if !slices.ContainsFunc(names, func(n string) bool {
			prefix, ok := strings.CutSuffix(n, "*")
			return n == want || ok && strings.HasPrefix(want, prefix)
		}) {
			t.Errorf("no engine serves %s", want)
		}
	}
}

func TestRefusedEnginesSayWhy(t *testing.T) {
	const db2 = "IBM's client library"
	for engine, text := range map[string]string{"db2": db2, "db2-se": db2, "db2-ae": db2,
		"sybase": `the engine "sybase" is not known`} {
		w := newWorld(t)
		super := `"masterarn":"arn:aws:secretsmanager:us-east-1:123456789012:secret:m-AbCdEf"`
		arn := w.secret(strings.NewReplacer("postgres", engine, `"port":1`, super).Replace(value))
		w.begin(arn)
		w.want(w.invoke(event("createSecret", arn)), "InvalidSecret", text)
		w.want(w.invoke(event("testSecret", arn)), "VersionNotStaged", "")
	}
}

// recipeX returns the variables of an environment with a recipe for an HTTP API named x.
func recipeX(name string) string {
	return map[string]string{"HTTP_RECIPES": `{"x":{"fields":{"token":"/t"},"id":"id",` +
		`"issue":{"method":"POST","url":"https://h/","form":{"name":"{{rotation.name}}"}},` +
		`"verify":{"url":"https://h/?{{token}}"},` +
		`"list":{"url":"https://h/","name":"/n","token_id":"/id"},"revoke":{"method":"POST",` +
		`"url":"https://h/{{rotation.id}}"}}}`}[name]
}

// TestEnginesWithoutASuperuser: if an engine never changes the credential of another user, its secrets cannot make the
// machine use the credential of another secret.
func TestEnginesWithoutASuperuser(t *testing.T) {
	list, err := engines(engine.TLSPolicy{}, nil, recipeX)
	if err != nil {
		t.Fatal(err)
	}
	var without []string
	for _, e := range list {
		if k := e.Kind(); k.Superusers() == "" {
			without = append(without, k.Names[0])
		}
	}
	slices.Sort(without)
	want := []string{"aws-directory", "elasticache", "generic", "http:x", "iam", "memorydb", "timestream-influxdb"}
	if !slices.Equal(without, want) {
		t.Errorf("%q, want %q", without, want)
	}
}

// TestAbilitiesOfEngines: an optional ability is detected by its methods alone, so changing one would remove it
// silently.
func TestAbilitiesOfEngines(t *testing.T) {
	want := map[string]string{
		"postgres":                  "rehearses, adopts, has needs",
		"mysql":                     "rehearses, has needs",
		"redshift":                  "rehearses, has needs",
		"sqlserver":                 "rehearses, has needs",
		"oracle":                    abilitiesOfOracle,
		"redis":                     "rehearses, has needs",
		"mongodb":                   "rehearses, has needs",
		"rabbitmq":                  "rehearses, has needs",
		"ldap":                      "rehearses, has needs",
		"ad":                        "rehearses, has needs",
		"influxdb":                  "rehearses, has needs",
		"timestream-influxdb":       "has needs",
		"timestream-influxdb token": "mints, rehearses, has needs",
		"elasticache user_arn":      "rehearses, has needs",
		"aws-directory awsSeamlessDomainDirectoryId": "has needs",
		"memorydb": "rehearses, has needs", "iam AccessKeyId": "mints, rehearses, has needs",
		"http:x": "mints, has needs", "generic": "rehearses, checks options",
	}
	list, err := engines(engine.TLSPolicy{}, nil, recipeX)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		var has []string
		add := func(ok bool, what string) {
			if ok {
				has = append(has, what)
			}
		}
		_, ok := e.(engine.Minter)
		add(ok, "mints")
		_, ok = e.(engine.DryRunner)
		add(ok, "rehearses")
		_, ok = e.(engine.Adopter)
		add(ok, "adopts")
		_, ok = e.(engine.OptionChecker)
		add(ok, "checks options")
		_, ok = e.(engine.Needer)
		add(ok, "has needs")
		name := strings.TrimSuffix(e.Kind().Names[0]+" "+e.Kind().MarkField, " ")
		if strings.Join(has, ", ") != want[name] {
			t.Errorf("%s: %q", name, strings.Join(has, ", "))
		}
	}
}
