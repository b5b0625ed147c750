package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/mysql"
	"example.com/rotator/rotation/operator"
	"example.com/rotator/rotation/postgres"
	"example.com/rotator/sim"
)

const roleARN = "arn:aws:iam::123456789012:role/rotator"

// world is a database, and a simulator whose function has a role.
type world struct {
	sim    *sim.Sim
	url    string
	engine engine.Engine
	env    map[string]string
	last   error
	// value builds a secret's value, and exec runs a statement.
	value func(user, password, master string) string
	exec  func(string)
}

func newWorld(t *testing.T) *world {
	w := &world{sim: sim.New(sim.Options{MaxAttempts: 1}), env: map[string]string{}}
	server := httptest.NewServer(w.sim.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	tokens := sts.New(sts.Options{
		BaseEndpoint: &w.url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("simulated", "simulated", ""),
	})
	in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("rotator")}
	out, err := tokens.AssumeRole(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	k := out.Credentials
	role := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &w.url, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken),
	})
	invoke := func(ctx context.Context, payload []byte) ([]byte, string, error) {
		var e rotation.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return nil, "", err
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if w.last = w.rotator(role).Handle(ctx, e); w.last != nil {
			return []byte(w.last.Error()), "Unhandled", nil
		}
		return []byte("null"), "", nil
	}
	w.sim.RegisterFunction(functionARN, sim.InvokerFunc(invoke))
	return w
}

func (w *world) rotator(c *secretsmanager.Client) *rotation.Rotator {
	r, err := rotation.New(rotation.Config{Engines: []engine.Engine{w.engine}, Log: slog.New(slog.DiscardHandler),
		Secrets: func(context.Context, string) (*secretsmanager.Client, error) { return c, nil },
		Getenv:  func(name string) string { return w.env[name] }})
	if err != nil {
		panic(err) // the test's configuration is valid
	}
	return r
}

func (w *world) secret(t *testing.T, value string) string {
	t.Helper()
	out, err := clientAt(w.url).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String(testserver.Unique("s")), SecretString: &value,
		KmsKeyId: aws.String("arn:aws:kms:us-east-1:123456789012:key/1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

func (w *world) rotate(t *testing.T, arn string) error {
	t.Helper()
	in := &secretsmanager.RotateSecretInput{SecretId: &arn, RotationLambdaARN: aws.String(functionARN)}
	if _, err := clientAt(w.url).RotateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	_ = w.sim.WaitRotation(t.Context(), arn)
	return w.last
}

func (w *world) put(t *testing.T, d document) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.PutPolicy(roleARN, string(text)); err != nil {
		t.Fatal(err)
	}
}

// needed is what a rotation needs.
type needed struct {
	engine.Needs
	Policies []principalPolicy
}

func (w *world) needs(t *testing.T, arn string) needed {
	t.Helper()
	n, err := operator.Needs(t.Context(), w.rotator(clientAt(w.url)), arn)
	if err != nil {
		t.Fatal(err)
	}
	return needed{n, policiesOf(n, "")}
}

func postgresWorld(t *testing.T, o testserver.PostgresOptions) (*world, *testserver.PostgresServer) {
	w, pg := newWorld(t), testserver.SharedPostgres(t, o)
	w.engine = postgres.New(engine.TLSPolicy{ExtraCAs: pg.CA.PEM})
	conn := pg.Connect(t, "postgres")
	w.exec = func(s string) {
		t.Helper()
		if _, err := conn.Exec(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	w.value = func(user, password, master string) string {
		return fmt.Sprintf(`{"engine":"postgres","host":%q,"port":%d,"username":%q,"password":%q,"masterarn":%q}`,
			pg.Host, pg.Port, user, password, master)
	}
	return w, pg
}

// TestPolicyIsMinimal: a rotation succeeds with the printed policy, and fails if any one action that is not optional is
// missing.
func TestPolicyIsMinimal(t *testing.T) {
	w, pg := postgresWorld(t, testserver.PostgresOptions{})
	fresh := func() (string, document) {
		user := testserver.Unique("u_")
		w.exec("CREATE ROLE " + user + " LOGIN PASSWORD 'first-password'")
		master := w.secret(t, w.value(pg.User, pg.Password, ""))
		arn := w.secret(t, w.value(user, "first-password", master))
		p := w.needs(t, arn)
		if len(p.Policies) != 1 || p.Policies[0].Principal != functionsRole {
			t.Fatalf("the principals are %+v", p.Policies)
		}
		return arn, p.Policies[0].Policy
	}
	arn, whole := fresh()
	w.put(t, whole)
	if err := w.rotate(t, arn); err != nil {
		t.Fatalf("with the whole policy: %v", err)
	}
	removed := 0
	for i, s := range whole.Statement {
		for j, action := range s.Action {
			t.Run(s.Sid+"/"+action, func(t *testing.T) {
				arn, d := fresh()
				d.Statement[i].Action = slices.Delete(d.Statement[i].Action, j, j+1)
				if len(d.Statement[i].Action) == 0 {
					d.Statement = slices.Delete(d.Statement, i, i+1)
				}
				w.put(t, d)
				err := w.rotate(t, arn)
				switch optional := strings.HasPrefix(s.Sid, "Optional"); {
				case optional && err != nil:
					t.Errorf("it is needed: %v", err)
				case !optional && !errors.Is(err, engine.SecretsManagerFailed):
					t.Errorf("without it: %v, want SecretsManagerFailed", err)
				}
			})
			removed++
		}
	}
	if removed < 9 {
		t.Errorf("the policy has only %d actions", removed)
	}
}

// privileges matches the global privileges in one GRANT, and commands the commands in one line of Redis.
var (
	privileges = regexp.MustCompile(`^GRANT (.+, .+) ON \*\.\* `)
	commands   = regexp.MustCompile(` \+\S+`)
)

// less returns all variants of the grants with one line, or one privilege of a line, removed.
func less(grants []string) (all [][]string) {
	for i, line := range grants {
		if strings.HasPrefix(line, "ACL SETUSER ") {
			for _, at := range commands.FindAllStringIndex(line, -1) {
				shorter := slices.Clone(grants)
				shorter[i] = line[:at[0]] + line[at[1]:]
				all = append(all, shorter)
			}
			continue
		}
		all = append(all, slices.Delete(slices.Clone(grants), i, i+1))
		if m := privileges.FindStringSubmatch(line); m != nil {
			list := strings.Split(m[1], ", ")
			for j := range list {
				shorter := slices.Clone(grants)
				rest := slices.Delete(slices.Clone(list), j, j+1)
				shorter[i] = strings.Replace(line, m[1], strings.Join(rest, ", "), 1)
				all = append(all, shorter)
			}
		}
	}
	return all
}

// proveGrants checks that a rotation succeeds with the printed grants, and fails for lack of a privilege if any line,
// or any privilege of a line, is missing. fresh creates a secret with a new user and a new login that has no rights.
// before runs just before the rotation.
func proveGrants(t *testing.T, w *world, least int, fresh func() (arn string, before func())) {
	t.Helper()
	arn, before := fresh()
	whole := w.needs(t, arn).Grants
	if len(whole) < least {
		t.Fatalf("the grants are only %q", whole)
	}
	for i := range len(less(whole)) + 1 {
		if i > 0 {
			arn, before = fresh()
		}
		lines := w.needs(t, arn).Grants
		if len(lines) != len(whole) {
			t.Fatalf("%q and %q differ", lines, whole)
		}
		if i > 0 {
			lines = less(lines)[i-1]
		}
		for _, line := range lines {
			w.exec(strings.TrimSuffix(line, ";"))
		}
		before()
		err := w.rotate(t, arn)
		switch {
		case i == 0 && err != nil:
			t.Errorf("with all of %q: %v", lines, err)
		case i > 0 && !errors.Is(err, engine.PrivilegeMissing):
			t.Errorf("with no more than %q of %q: %v, want PrivilegeMissing", lines, whole, err)
		}
	}
}

func TestGrantsOfPostgreSQL(t *testing.T) {
	// From 16 on, CREATEROLE alone cannot change any user.
	for _, c := range []struct {
		major    int
		strategy string
		least    int
	}{{0, "alternating", 1}, {0, "single", 1}, {18, "alternating", 3}, {18, "single", 2}} {
		t.Run(fmt.Sprintf("%s/%d", c.strategy, c.major), func(t *testing.T) {
			w, _ := postgresWorld(t, testserver.PostgresOptions{Major: c.major})
			strategy := c.strategy
			w.env = map[string]string{"STRATEGY": strategy, "RECOVER_BY_SUPERUSER": "true"}
			proveGrants(t, w, c.least, func() (string, func()) {
				user, master := testserver.Unique("u_"), testserver.Unique("m_")
				w.exec("CREATE ROLE " + user + " LOGIN CREATEDB PASSWORD 'first-password'")
				w.exec("CREATE ROLE " + master + " LOGIN PASSWORD 'master-password'")
				arn := w.secret(t, w.value(user, "first-password", w.secret(t, w.value(master, "master-password", ""))))
				return arn, func() {
					if strategy == "single" { // the superuser acts only if no version opens the server
						w.exec("ALTER ROLE " + user + " PASSWORD 'by-hand'")
					}
				}
			})
		})
	}
}

func TestGrantsOfMariaDB(t *testing.T) {
	grantsOfMySQL(t, "mariadb", testserver.SharedMariaDB(t, testserver.MySQLOptions{}))
}

// grantsOfMySQL checks the grants for a single user, and for alternating users with the grants that the note adds.
func grantsOfMySQL(t *testing.T, name string, server *testserver.MySQLServer) {
	w := newWorld(t)
	db := server.Connect(t, "")
	shop := server.Database(t) // the secret's: without the right on it, a rotation stops
	w.engine = mysql.New(engine.TLSPolicy{ExtraCAs: server.CA.PEM})
	w.exec = func(s string) {
		t.Helper()
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	w.value = func(user, password, master string) string {
		return fmt.Sprintf(`{"engine":%q,"host":%q,"port":%d,"dbname":%q,"username":%q,"password":%q,"masterarn":%q}`,
			name, server.Host, server.Port, shop, user, password, master)
	}
	customary := testserver.Unique("r_")
	w.exec("CREATE ROLE " + customary)
	for _, c := range []struct {
		name     string
		strategy engine.Strategy
		role     bool
	}{
		{"alternating", engine.AlternatingUsers, false},
		{"alternating, a default role", engine.AlternatingUsers, true},
		{"single", engine.SingleUser, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.env = map[string]string{"STRATEGY": string(c.strategy), "RECOVER_BY_SUPERUSER": "true"}
			proveGrants(t, w, 3, func() (string, func()) {
				user, master := testserver.Unique("u_"), testserver.Unique("m_")
				w.exec("CREATE USER " + user + "@'%' IDENTIFIED BY 'First-passw0rd'")
				w.exec("CREATE USER " + master + "@'%' IDENTIFIED BY 'Master-passw0rd'")
				w.exec("GRANT SELECT ON " + shop + ".* TO " + user + "@'%'")
				if c.strategy == engine.AlternatingUsers {
					w.exec("GRANT SELECT ON " + shop + ".* TO " + master + "@'%' WITH GRANT OPTION")
				}
				if c.role {
					w.exec("GRANT " + customary + " TO " + user + "@'%'")
					if name == "mariadb" {
						w.exec("SET DEFAULT ROLE " + customary + " FOR " + user + "@'%'")
						w.exec("GRANT " + customary + " TO " + master + "@'%' WITH ADMIN OPTION")
						w.exec("GRANT UPDATE ON mysql.* TO " + master + "@'%'")
					} else {
						w.exec("SET DEFAULT ROLE " + customary + " TO " + user + "@'%'")
						w.exec("GRANT ROLE_ADMIN ON *.* TO " + master + "@'%'")
					}
				}
				arn := w.secret(t, w.value(user, "First-passw0rd", w.secret(t, w.value(master, "Master-passw0rd", ""))))
				return arn, func() {
					if c.strategy == engine.SingleUser {
						w.exec("ALTER USER " + user + "@'%' IDENTIFIED BY 'By-hand-0'")
					}
				}
			})
		})
	}
}
