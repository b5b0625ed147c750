package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/internal/testserver"
	"example.com/rotator/rotation"
)

// TestSuperuserInTheMiddleOfItsOwnRotation: its AWSCURRENT is refused already,
// and its AWSPENDING or AWSPREVIOUS opens the server.
func TestSuperuserInTheMiddleOfItsOwnRotation(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	for _, label := range []string{"AWSPENDING", "AWSPREVIOUS"} {
		master, password := w.role("CREATEROLE")
		value, wrong := w.value(master, password), w.value(master, "not-any-more-1")
		first, second := wrong, value
		stages := []string{"AWSPENDING"}
		if label == "AWSPREVIOUS" {
			first, second, stages = value, wrong, []string{"AWSCURRENT"}
		}
		admin := w.secret(first)
		if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &admin, SecretString: &second, VersionStages: stages}); err != nil {
			t.Fatal(err)
		}
		user, userPassword := w.role("")
		arn := w.secret(w.value(user, userPassword, "masterarn", fmt.Sprintf("%q", admin)))
		if err := w.rotate(arn); err != nil {
			t.Errorf("%s: %v", label, err)
			continue
		}
		w.opens(arn)
	}
}

// TestSuperuserOfAnotherHostIsNotUsed: a secret must not be able to send a
// superuser's password to a host of its own choosing.
func TestSuperuserOfAnotherHostIsNotUsed(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, password := w.role("")
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	arn := w.secret(w.value(user, password, "masterarn", admin, "host", `"127.0.0.1"`))
	wantCause(t, w.rotate(arn), rotation.InvalidSecret, "host")
	// The server listens at that address, so only the refusal kept the password.
	if strings.Contains(w.log.String(), "superuser AWSCURRENT") {
		t.Error("the superuser's password was used")
	}
	other := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password, "engine", `"mysql"`)))
	wantCause(t, w.rotate(w.secret(w.value(user, password, "masterarn", other))), rotation.InvalidSecret, `"mysql"`)
}

// managed knows one superuser secret and one reader, as RDS would.
type managed struct {
	pg     *testserver.PostgresServer
	reader string
}

func (m managed) Managed(context.Context, string, map[string]string) (string, int, error) {
	return m.pg.Host, m.pg.Port, nil
}

func (m managed) Replica(_ context.Context, _, host, primary string) (bool, error) {
	return host == m.reader && primary == m.pg.Host, nil
}

// TestManagedSuperuserAndReader: RDS keeps nothing but name and password in the
// secrets that it manages, and a secret may name a reader's host.
func TestManagedSuperuserAndReader(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.topology = managed{w.pg, "127.0.0.1"}
	user, password := w.role("")
	admin := w.secret(fmt.Sprintf(`{"username":%q,"password":%q}`, w.pg.User, w.pg.Password))
	arn := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", admin), "host", `"127.0.0.1"`))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	if now, _ := w.current(arn); now != user+"_clone" {
		t.Errorf("the user is %s", now)
	}
}

// TestRecoveryBySuperuserIsTheOperatorsChoice: without it, a user's name alone
// would be enough to have that user's password reset.
func TestRecoveryBySuperuserIsTheOperatorsChoice(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.env["STRATEGY"] = "single"
	user, password := w.role("")
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	arn := w.secret(w.value(user, password, "masterarn", admin))
	w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand-1'", user)
	wantCause(t, w.rotate(arn), rotation.LoginRefused, "AWSCURRENT")
	if n := w.versions(arn); n != 1 {
		t.Errorf("%d versions have a value, want 1", n)
	}
	w.env["RECOVER_BY_SUPERUSER"] = "true"
	arn = w.secret(w.value(user, password, "masterarn", admin))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	w.opens(arn)
	// A superuser is not reset by a superuser, whatever the operator has said.
	boss, _ := w.role("SUPERUSER")
	arn = w.secret(w.value(boss, "guessed", "masterarn", admin))
	wantCause(t, w.rotate(arn), rotation.TakeoverRefused, "superuser")
}

// TestHalfMadeSecondUser: marked, but without password, membership or settings.
func TestHalfMadeSecondUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, password := w.role("CREATEDB")
		w.sql("CREATE ROLE %I", user+"_clone")
		w.sql("COMMENT ON ROLE %I IS %L", user+"_clone", fmt.Sprintf("rotator: second user of %q", user))
		admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
		arn := w.secret(w.value(user, password, "masterarn", admin))
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		var who string
		if err := w.opens(arn).QueryRow(t.Context(), "SELECT current_user").Scan(&who); err != nil || who != user {
			t.Errorf("sessions of the second user are %s (%v)", who, err)
		}
	})
}

// TestTagsOverrideTheHarmlessSettings, and no others.
func TestTagsOverrideTheHarmlessSettings(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, password := w.role("")
	arn := w.secret(w.value(user, password))
	if _, err := w.client.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: tags(
		"rotator:password-length", "48", "rotator:exclude-punctuation", "true",
		"rotator:recover-by-superuser", "true", "rotator:allow-plaintext-fallback", "true", "rotator:rotation-role-arn", "x")}); err != nil {
		t.Fatal(err)
	}
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	_, next := w.current(arn)
	if len(next) != 48 || strings.ContainsAny(next, "!#$%&()*+,-.;<=>?[]^_`{|}~") {
		t.Error("the new password is not what the tags ask for")
	}
	w.opens(arn)
	if _, err := w.client.TagResource(t.Context(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: tags("rotator:password-length", "3")}); err != nil {
		t.Fatal(err)
	}
	wantCause(t, w.rotate(arn), rotation.InvalidConfiguration, "3 characters")
}
