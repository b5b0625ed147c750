package function

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/internal/testing/awsfake"
	"example.com/rotator/internal/testing/awstemplate"
	"example.com/rotator/internal/testing/built"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/sim/lambdasim"
)

const first = "First-Passw0rd-1"

// dropIn is a world that rotates a secret of one of AWS's templates.
type dropIn struct {
	*world
	template string
	multi    bool
	user     string
}

// at returns the template's secret, and stores a superuser's secret in the same format.
func (d *dropIn) at(s testserver.Server, dbname string) string {
	values := []string{"host", s.Host, "port", strconv.Itoa(s.Port), "dbname", dbname}
	single := strings.Replace(d.template, "MultiUser", "SingleUser", 1)
	if d.multi {
		superuser := d.secretOf("superuser",
			awstemplate.Secret(single, append(values, "username", s.User, "password", s.Password)...))
		values = append(values, "superuser", superuser)
	}
	return awstemplate.Secret(d.template, append(values, "username", d.user, "password", first)...)
}

func (d *dropIn) secretOf(name, value string) string {
	d.t.Helper()
	out, err := d.client.CreateSecret(d.t.Context(),
		&secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		d.t.Fatal(err)
	}
	return *out.ARN
}

// credentialsOf gives the function credentials that a fake accepts, and makes it call the fake.
func (d *dropIn) credentialsOf(c aws.Credentials, service string, f *httptest.Server) {
	d.t.Cleanup(f.Close)
	d.t.Setenv("AWS_ACCESS_KEY_ID", c.AccessKeyID)
	d.t.Setenv("AWS_SECRET_ACCESS_KEY", c.SecretAccessKey)
	d.t.Setenv("AWS_SESSION_TOKEN", c.SessionToken)
	d.t.Setenv("AWS_ENDPOINT_URL_"+service, f.URL)
}

// dropIns create the user of a template's secret on the most similar server, and return the secret. Templates for which
// only an engine's suite has a (fake) server are rotated there: see elsewhere.
var dropIns = map[string]func(t *testing.T, d *dropIn) string{
	"RDSPostgreSQLRotation": func(t *testing.T, d *dropIn) string {
		pg := testserver.SharedPostgres(t, testserver.PostgresOptions{})
		d.env["CA_BUNDLE"] = pg.CAFile
		create := fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", d.user, first)
		if _, err := pg.Connect(t, "postgres").Exec(t.Context(), create); err != nil {
			t.Fatal(err)
		}
		return d.at(pg.Server, "postgres")
	},
	"RDSMySQLRotation": func(t *testing.T, d *dropIn) string {
		return d.mysql(testserver.SharedMySQL(t, testserver.MySQLOptions{}))
	},
	"RDSMariaDBRotation": func(t *testing.T, d *dropIn) string {
		return d.mysql(testserver.SharedMariaDB(t, testserver.MySQLOptions{}))
	},
	"MongoDBRotation": func(t *testing.T, d *dropIn) string {
		s := testserver.FerretDB(t, testserver.FerretDBOptions{})
		d.env["CA_BUNDLE"] = s.CAFile
		create := bson.D{{Key: "createUser", Value: d.user}, {Key: "pwd", Value: first},
			{Key: "roles", Value: bson.A{}}}
		if err := s.Connect(t).Database("admin").RunCommand(t.Context(), create).Err(); err != nil {
			t.Fatal(err)
		}
		return d.at(s.Server, "admin")
	},
	"RotationTemplate": func(_ *testing.T, d *dropIn) string {
		d.env["ENGINE"] = "generic"
		return awstemplate.Secret(d.template, "password", first)
	},
	"ElasticacheUserRotation": func(t *testing.T, d *dropIn) string {
		apply := func(string, []string) error { return nil } // without a host there is no login
		f := awsfake.NewCaches(awsfake.CachesOptions{Delay: 10 * time.Millisecond, Apply: apply})
		d.credentialsOf(f.Credentials(), "ELASTICACHE", httptest.NewServer(f.Handler()))
		arn := f.Add("elasticache", awsfake.CacheUser{ID: d.user, Name: d.user, Passwords: []string{first}})
		d.env["USER_NAME"], d.env["WAITING_RETRY_INTERVAL_IN_SECONDS"] = d.user, "1"
		return awstemplate.Secret(d.template, "username", d.user, "password", first, "user_arn", arn)
	},
	"ActiveDirectoryRotation": func(t *testing.T, d *dropIn) string {
		s := testserver.SharedSamba(t, testserver.SambaOptions{})
		s.Person(t, d.user, first)
		f := awsfake.NewDirectories(s.ResetPassword)
		f.Put("d-0123456789", awsfake.Directory{Name: strings.ToLower(testserver.ADRealm), Addresses: []string{s.Host}})
		d.credentialsOf(f.Credentials(), "DIRECTORY_SERVICE", httptest.NewServer(f.Handler()))
		return awstemplate.Secret(d.template, "directory", "d-0123456789", "username", d.user, "password", first)
	},
	"InfluxDBRotation": func(t *testing.T, d *dropIn) string {
		s := testserver.SharedInfluxDB2(t)
		d.env["CA_BUNDLE"] = s.CAFile
		call := func(path string, body, out any) {
			status, text, err := s.Call(t.Context(), s.Token, "POST", "/api/v2/"+path, body)
			if err != nil || status > 299 || out != nil && json.Unmarshal(text, out) != nil {
				t.Fatalf("%s: %d %s, %v", path, status, text, err)
			}
		}
		var user, org struct{ ID, Token string }
		call("users", map[string]string{"name": d.user}, &user)
		call("users/"+user.ID+"/password", map[string]string{"password": first}, nil)
		call("orgs", map[string]string{"name": d.user}, &org)
		call("orgs/"+org.ID+"/members", map[string]string{"id": user.ID}, nil)
		f := awsfake.NewTimestream()
		d.credentialsOf(f.Credentials(), "TIMESTREAM_INFLUXDB", httptest.NewServer(f.Handler()))
		f.Put(d.user, awsfake.Instance{Endpoint: s.Host, Port: s.Port})
		if !d.multi {
			return awstemplate.Secret(d.template, "username", d.user, "password", first, "instance", d.user)
		}
		admin := d.secretOf("admin",
			awstemplate.Secret("InfluxDBRotationSingleUser",
				"username", s.User, "password", s.Password, "instance", d.user))
		read := map[string]any{"action": "read", "resource": map[string]string{"type": "buckets", "orgID": org.ID}}
		var token struct{ Token string }
		call("authorizations", map[string]any{"orgID": org.ID, "userID": user.ID, "permissions": []any{read}}, &token)
		return awstemplate.Secret(d.template,
			"org", d.user, "superuser", admin, "instance", d.user, "token", token.Token)
	},
}

func (d *dropIn) mysql(s *testserver.MySQLServer) string {
	d.env["CA_BUNDLE"] = s.CAFile
	create := fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", d.user, first)
	if _, err := s.Connect(d.t, "").ExecContext(d.t.Context(), create); err != nil {
		d.t.Fatal(err)
	}
	return d.at(s.Server, "")
}

// elsewhere lists the templates whose secrets an engine's TestSecretOfAWSTemplate rotates.
var elsewhere = []string{"RDSOracleRotation", "RDSSQLServerRotation", "RedshiftRotation"}

// environment returns the variables of the function's process: the template's and AWS's.
func (d *dropIn) environment() []string {
	var all []string
	for name, value := range d.env {
		all = append(all, name+"="+value)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "AWS_") {
			all = append(all, v)
		}
	}
	return all
}

// newDropIn returns a world for a template, with the variables that it and AWS's documentation require.
func newDropIn(t *testing.T, template string) *dropIn {
	user := strings.ReplaceAll(testserver.Unique("app"), "_", "")
	d := &dropIn{newWorld(t), template, strings.HasSuffix(template, "MultiUser"), user}
	d.env["SECRETS_MANAGER_ENDPOINT"] = os.Getenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")
	d.env["EXCLUDE_CHARACTERS"], d.env["PASSWORD_LENGTH"] = `/@"'\,:`, "24"
	return d
}

// rotated returns a value after the binary has rotated it twice, which makes it the first user's again.
func (d *dropIn) rotated(t *testing.T, binary, before string) string {
	t.Helper()
	arn := d.secretOf("secret", before)
	if d.env["USER_NAME"] != "" {
		d.env["SECRET_ARN"] = arn
	}
	f, err := lambdasim.New(binary, lambdasim.Options{ARN: functionARN, Env: d.environment(), Log: &d.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	d.sim.RegisterFunction(functionARN, f)
	for range 2 {
		token := uuid.NewString()
		in := &secretsmanager.RotateSecretInput{SecretId: &arn, ClientRequestToken: &token,
			RotationLambdaARN: aws.String(functionARN)}
		if _, err := d.client.RotateSecret(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if err := d.sim.WaitRotation(t.Context(), arn); err != nil {
			t.Fatalf("%v\n%s", err, d.log.String())
		}
	}
	out, err := d.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		t.Fatal(err)
	}
	return *out.SecretString
}

// changed fails the test unless only one field has changed. A password must be new and follow the policy.
func changed(t *testing.T, before, after, field string) {
	t.Helper()
	old, now := engine.StringValue(before), engine.StringValue(after)
	was, _ := old.Text(field)
	is, _ := now.Text(field)
	if is == was || field != "token" && (len(is) != 24 || strings.ContainsAny(is, `/@"'\,:`)) {
		t.Errorf("%s is not new or does not follow the policy", field)
	}
	if !now.EqualBut(old, field, "tokenId") {
		t.Errorf("more than %s has changed", field)
	}
}

// TestSecretsOfAWSTemplates: the function's binary rotates every template's secret with that template's events and
// variables, and changes only the fields that a rotation may change.
func TestSecretsOfAWSTemplates(t *testing.T) {
	binary := built.Function(t)
	for template := range awstemplate.Forms {
		short := regexp.MustCompile(`(Single|Multi)User$`).ReplaceAllString(template, "")
		if slices.Contains(elsewhere, short) {
			continue
		}
		t.Run(template, func(t *testing.T) {
			d := newDropIn(t, template)
			before := dropIns[short](t, d)
			after := d.rotated(t, binary, before)
			old := engine.StringValue(before)
			if !old.IsObject() {
				if after == before || len(after) != 24 {
					t.Error("the bare string was not rotated")
				}
				return
			}
			for _, field := range []string{"password", "awsSeamlessDomainPassword", "token"} {
				if old.JSON(field) != nil {
					changed(t, before, after, field)
					return
				}
			}
			t.Error("the secret has no credential")
		})
	}
	t.Run("ActiveDirectory by DICT_KEY", func(t *testing.T) {
		d := newDropIn(t, "ActiveDirectoryRotationSingleUser")
		names := strings.NewReplacer("awsSeamlessDomainDirectoryId", "DirectoryId", "awsSeamlessDomain", "")
		before := names.Replace(dropIns["ActiveDirectoryRotation"](t, d))
		d.env["DICT_KEY_DIRECTORY"] = "DirectoryId"
		d.env["DICT_KEY_USERNAME"], d.env["DICT_KEY_PASSWORD"] = "Username", "Password"
		changed(t, before, d.rotated(t, binary, before), "Password")
	})
}

// TestSecretOfMSK follows the recipe in docs/engines/generic.md.
func TestSecretOfMSK(t *testing.T) {
	w := newWorld(t)
	out, err := w.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("AmazonMSK_alice"), KmsKeyId: aws.String(keyOfSecrets),
		SecretString: aws.String(`{"username": "alice", "password": "alice-secret"}`),
		Tags: []types.Tag{{Key: aws.String("rotator:engine"), Value: aws.String("generic")},
			{Key: aws.String("rotator:generic-field"), Value: aws.String("password")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.begin(*out.ARN)
	for _, step := range allSteps {
		if err := w.invoke(event(step, *out.ARN)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := w.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: out.ARN})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\{"username": "alice", "password": ".{32,}"\}$`).MatchString(*v.SecretString) {
		t.Error("the value has another format")
	}
}

// TestMigrationKnowsEveryTemplate: docs/migration.md has a row for each.
func TestMigrationKnowsEveryTemplate(t *testing.T) {
	text, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(slices.Collect(maps.Keys(awstemplate.Forms)), awstemplate.NoDropIn)
	if len(all) != 22 {
		t.Errorf("AWS has 22 templates, not %d", len(all))
	}
	for _, name := range all {
		row := regexp.MustCompile(`(?m)^\| ` + name + ` \| (.*)$`).FindStringSubmatch(string(text))
		if row == nil {
			t.Errorf("no row for %s", name)
		} else if refused := strings.Contains(row[1], "not a drop-in"); refused !=
			slices.Contains(awstemplate.NoDropIn, name) {
			t.Errorf("%s is not a drop-in: %v", name, refused)
		}
	}
}
