package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// TestSuperuserInTheMiddleOfItsOwnRotation: its AWSCURRENT is already refused, and its AWSPENDING or AWSPREVIOUS
// opens the server.
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

// TestSuperuserOfAnotherHostIsNotUsed: a secret must not be able to send a superuser's password to any host it names.
func TestSuperuserOfAnotherHostIsNotUsed(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	user, password := w.role("")
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	arn := w.secret(w.value(user, password, "masterarn", admin, "host", `"127.0.0.1"`))
	wantCause(t, w.rotate(arn), engine.InvalidSecret, "host")
	// The server listens at that address, so only the refusal protected the password.
	if strings.Contains(w.log.String(), "superuser AWSCURRENT") {
		t.Error("the superuser's password was used")
	}
	other := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password, "engine", `"mysql"`)))
	wantCause(t, w.rotate(w.secret(w.value(user, password, "masterarn", other))), engine.InvalidSecret, `"mysql"`)
}

// managed knows one superuser secret and one reader, like RDS.
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

func (m managed) Needs(string, string, map[string]string, string) []engine.Permission { return nil }

// TestManagedSuperuserAndReader: RDS stores only name and password in the secrets that it manages, and a secret may
// name a reader's host.
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

// TestRecoveryBySuperuserIsTheOperatorsChoice: otherwise a user's name alone would suffice to have that user's
// password reset.
func TestRecoveryBySuperuserIsTheOperatorsChoice(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.env["STRATEGY"] = "single"
	user, password := w.role("")
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	arn := w.secret(w.value(user, password, "masterarn", admin))
	w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand-1'", user)
	wantCause(t, w.rotate(arn), engine.LoginRefused, "AWSCURRENT")
	if n := w.versions(arn); n != 1 {
		t.Errorf("%d versions have a value, want 1", n)
	}
	w.env["RECOVER_BY_SUPERUSER"] = "true"
	arn = w.secret(w.value(user, password, "masterarn", admin))
	if err := w.rotate(arn); err != nil {
		t.Fatal(err)
	}
	w.opens(arn)
	// A superuser does not reset a superuser, regardless of what the operator allows.
	boss, _ := w.role("SUPERUSER")
	arn = w.secret(w.value(boss, "guessed", "masterarn", admin))
	wantCause(t, w.rotate(arn), engine.TakeoverRefused, "superuser")
}

// TestMarkAloneProvesNothing: from PostgreSQL 16 on, a role with CREATEROLE may change and comment on only the roles
// that it created, which can have any name.
func TestMarkAloneProvesNothing(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{Major: 18}))
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	victim, password := w.role("")
	forger, forgers := w.role("CREATEROLE")
	conn, err := w.connect(forger, forgers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "ALTER ROLE "+victim+" PASSWORD 'x'"); err == nil {
		t.Fatal("the forger may change the victim by itself, so that this test proves nothing")
	}
	if _, err := conn.Exec(t.Context(), fmt.Sprintf(`CREATE ROLE %[1]s_clone LOGIN PASSWORD 'forgers-own-1'; COMMENT ON ROLE %[1]s_clone IS 'rotator: second user of "%[1]s"'`, victim)); err != nil {
		t.Fatal(err)
	}
	// The forger's secret must not get the victim's password, and the victim's secret must not give its rights to a
	// role that the forger can still change.
	for name, value := range map[string]string{
		"the forger's": w.value(victim+"_clone", "forgers-own-1", "masterarn", admin),
		"the victim's": w.value(victim, password, "masterarn", admin),
	} {
		arn := w.secret(value)
		wantCause(t, w.rotate(arn), engine.TakeoverRefused, "GRANT")
		if n := w.versions(arn); n != 1 {
			t.Errorf("%s secret: %d versions have a value, want 1", name, n)
		}
	}
	if _, err := w.connect(victim, password); err != nil {
		t.Errorf("the victim's password was changed: %v", err)
	}
	var member bool
	if err := w.pg.Connect(t, "postgres").QueryRow(t.Context(), "SELECT pg_has_role($1, $2, 'MEMBER')", victim+"_clone", victim).Scan(&member); err != nil || member {
		t.Errorf("the forger's role has the victim's rights (%v)", err)
	}
}

// TestSettingThatOnlyASuperuserGives: the second user does not get it, and its value is not in the log, because an
// application may keep a key in a setting of its role.
func TestSettingThatOnlyASuperuserGives(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		master, masterPassword := w.role("CREATEROLE CREATEDB")
		m, err := w.connect(master, masterPassword)
		if err != nil {
			t.Fatal(err)
		}
		user, password := testserver.Unique("app_"), "first-Passw0rd-1"
		if _, err := m.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, password)); err != nil {
			t.Fatal(err)
		}
		w.sql("ALTER ROLE %I SET dynamic_library_path TO 'a-key-in-a-setting'", user) // only a superuser may
		arn := w.secret(w.value(user, password, "masterarn", fmt.Sprintf("%q", w.secret(w.value(master, masterPassword)))))
		if err := w.rotate(arn); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(w.log.String(), "dynamic_library_path") || strings.Contains(w.log.String(), "a-key-in-a-setting") {
			t.Error("the log does not say which setting is left out, or it has the value")
		}
	})
}

// TestHalfMadeSecondUser: it is marked and a member, but has no password or settings.
func TestHalfMadeSecondUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user, password := w.role("CREATEDB")
		w.sql("CREATE ROLE %I IN ROLE %I", user+"_clone", user)
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

// TestDatabasesOwnerDoesNotChangeWhichRoleIsMeant: in the encoding that the owner set, one role's name has the same
// bytes as another's.
func TestDatabasesOwnerDoesNotChangeWhichRoleIsMeant(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	w.env["STRATEGY"] = "single"
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	base := testserver.Unique("")
	user, victim, password := "ü"+base, "Ã¼"+base, "first-Passw0rd-1"
	for _, name := range []string{user, victim} {
		w.sql("CREATE ROLE %I LOGIN PASSWORD %L", name, password)
	}
	db := testserver.Unique("db_")
	w.sql("CREATE DATABASE %I OWNER %I", db, user)
	w.sql("ALTER DATABASE %I SET client_encoding = 'LATIN1'", db)
	t.Cleanup(func() { w.sql("DROP DATABASE %I WITH (FORCE)", db) })
	arn := w.secret(w.value(user, password, "masterarn", admin, "dbname", fmt.Sprintf("%q", db)))
	w.env["RECOVER_BY_SUPERUSER"] = "true"
	w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand-1'", user)
	if err := w.rotate(arn); err != nil {
		t.Error(err)
	} else {
		w.opens(arn)
	}
	if _, err := w.connect(victim, password); err != nil {
		t.Errorf("another role was changed: %v", err)
	}
}

// shadows creates a function that gives a role a superuser's powers. For every built-in function that the engine's
// statements call, it creates another in the schema evil, which comes first. %[1]s is the owner's role, and %[2]s its
// database.
const shadows = `CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.seize() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	IF pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on' THEN EXECUTE 'ALTER ROLE %[1]s SUPERUSER'; END IF;
END $$;
DO $make$ DECLARE p record; BEGIN
	FOR p IN SELECT proname, pg_get_function_identity_arguments(oid) AS args, prorettype::regtype AS type, (SELECT string_agg('$' || n, ', ') FROM generate_series(1, pronargs) n) AS given
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND provariadic = 0 AND proname IN
		('shobj_description', 'pg_has_role', 'pg_get_userbyid', 'set_config', 'current_setting', 'split_part', 'strpos', 'substr', 'quote_ident', 'pg_describe_object', 'current_database', 'nameeq', 'oideq', 'texteq', 'chareq', 'oidne')
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS %%L', p.proname, p.args, p.type,
			format('BEGIN PERFORM evil.seize(); RETURN pg_catalog.%%I(%%s); END', p.proname, p.given));
	END LOOP;
	FOR p IN SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r, proname FROM pg_operator o JOIN pg_proc f ON f.oid = oprcode WHERE proname IN ('nameeq', 'oideq', 'texteq', 'chareq', 'oidne') LOOP
		EXECUTE format('CREATE OPERATOR evil.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = evil.%%I)', p.oprname, p.l, p.r, p.proname);
	END LOOP;
END $make$;
ALTER DATABASE %[2]s SET search_path = evil, pg_catalog, public`

// better is a function that fits the call better than the server's own, even with the default search path.
const better = `GRANT CREATE ON SCHEMA public TO CURRENT_USER;
CREATE FUNCTION public.shobj_description(oid, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
	IF pg_catalog.current_setting('is_superuser') = 'on' THEN EXECUTE 'ALTER ROLE %[1]s SUPERUSER'; END IF;
	RETURN pg_catalog.shobj_description($1, $2::name);
END $$; COMMENT ON DATABASE %[2]s IS 'x'`

// TestSuperuserRunsNoFunctionOfTheDatabasesOwner: the user whose password changes owns the secret's database.
func TestSuperuserRunsNoFunctionOfTheDatabasesOwner(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
		for name, script := range map[string]string{"by the search path": shadows, "by better fit": better} {
			t.Run(name, func(t *testing.T) {
				user, password := w.role("")
				mole, _ := w.role("") // another login that the owner controls
				db := testserver.Unique("db_")
				w.sql("CREATE DATABASE %I OWNER %I", db, user)
				t.Cleanup(func() { w.sql("DROP DATABASE %I WITH (FORCE)", db) })
				app, err := pgx.Connect(t.Context(), w.pg.URLFor(user, password, db))
				if err != nil {
					t.Fatal(err)
				}
				defer app.Close(context.Background())
				if _, err := app.Exec(t.Context(), fmt.Sprintf(script, mole, db)); err != nil {
					t.Fatal(err)
				}
				arn := w.secret(w.value(user, password, "masterarn", admin, "dbname", fmt.Sprintf("%q", db)))
				for range 2 {
					if err := w.rotate(arn); err != nil {
						t.Error(err)
					}
				}
				// This also holds when the superuser's own login is tried.
				for _, name := range []string{user, user + "_clone"} {
					w.sql("ALTER ROLE %I PASSWORD 'changed-by-hand-1'", name)
				}
				w.env["RECOVER_BY_SUPERUSER"] = "true"
				if d, err := operator.Diagnose(t.Context(), w.rotator(), arn); err != nil || d.Opens != "superuser" {
					t.Errorf("%q opens the server, %v", d.Opens, err)
				}
				var super bool
				if err := w.pg.Connect(t, "postgres").QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = $1", mole).Scan(&super); err != nil || super {
					t.Errorf("the owner's other login is a superuser now: %v (%v)", super, err)
				}
			})
		}
	})
}

// TestTagsOverrideTheHarmlessSettings: they override no others.
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
	wantCause(t, w.rotate(arn), engine.InvalidConfiguration, "the secret's tags allow passwords of")
}

// TestOwnerOfOneUserIsNotGivenTheOther: the forger has one login of the pair and may write the secret, but does not
// know AWSCURRENT's user. The forger's own credential in AWSPREVIOUS proves nothing about that user.
func TestOwnerOfOneUserIsNotGivenTheOther(t *testing.T) {
	for _, victimFirst := range []bool{true, false} {
		w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
		admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
		victim := testserver.Unique("boss_")
		forger := victim + "_clone"
		if !victimFirst {
			victim, forger = forger, victim
		}
		w.sql("CREATE ROLE %I LOGIN PASSWORD 'only-the-victim-knows'", victim)
		w.sql("CREATE ROLE %I LOGIN PASSWORD 'forgers-own-password'", forger)
		arn := w.secret(w.value(forger, "forgers-own-password", "masterarn", admin))
		forged := w.value(victim, "a-guess", "masterarn", admin)
		if _, err := w.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &forged, VersionStages: []string{"AWSCURRENT"}}); err != nil {
			t.Fatal(err)
		}
		if err := w.rotate(arn); engine.CauseOf(err) != engine.TakeoverRefused {
			t.Errorf("victim first %v: %v, want TakeoverRefused", victimFirst, err)
		}
		for user, password := range map[string]string{victim: "only-the-victim-knows", forger: "forgers-own-password"} {
			if _, err := w.connect(user, password); err != nil {
				t.Errorf("victim first %v: %s: %v", victimFirst, user, err)
			}
		}
		var member bool
		conn := w.pg.Connect(t, "postgres")
		if err := conn.QueryRow(t.Context(), "SELECT pg_has_role($1::name, $2::name, 'MEMBER')", forger, victim).Scan(&member); err != nil || member {
			t.Errorf("victim first %v: the forger is a member of the victim (%v)", victimFirst, err)
		}
	}
}

// TestUserIsProvedWhereTheSuperuserActs: a secret names another port of the superuser's host, where any user name is
// accepted.
func TestUserIsProvedWhereTheSuperuserActs(t *testing.T) {
	prod := testserver.SharedPostgres(t, testserver.PostgresOptions{})
	w := newWorld(t, prod)
	dev := testserver.Postgres(t, testserver.PostgresOptions{CA: prod.CA})
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password))) // of prod
	victim := testserver.Unique("payments_")
	w.sql("CREATE ROLE %I LOGIN PASSWORD 'only-the-victim-knows'", victim)
	if _, err := dev.Connect(t, "postgres").Exec(t.Context(), "CREATE ROLE "+victim+" LOGIN PASSWORD 'forgers-own-password'"); err != nil {
		t.Fatal(err)
	}
	arn := w.secret(w.value(victim, "forgers-own-password", "masterarn", admin, "port", fmt.Sprint(dev.Port)))
	if err := w.rotate(arn); engine.CauseOf(err) != engine.LoginRefused {
		t.Errorf("%v, want LoginRefused", err)
	}
	var n int
	if err := prod.Connect(t, "postgres").QueryRow(t.Context(), "SELECT count(*) FROM pg_roles WHERE rolname = $1", victim+"_clone").Scan(&n); err != nil || n > 0 {
		t.Errorf("the superuser made %d users (%v)", n, err)
	}
}

// TestRecoverResetsNobodyOnAName: `rotatorctl recover` resets a user only if the operator asks for it, and reports the
// user's name.
func TestRecoverResetsNobodyOnAName(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := fmt.Sprintf("%q", w.secret(w.value(w.pg.User, w.pg.Password)))
	victim, _ := w.role("")
	arn := w.secret(w.value(victim, "chosen-by-the-forger", "masterarn", admin))
	if _, err := operator.Recover(t.Context(), w.rotator(), arn); engine.CauseOf(err) != engine.LoginRefused {
		t.Errorf("%v, want LoginRefused", err)
	}
	if _, err := w.connect(victim, "chosen-by-the-forger"); err == nil {
		t.Fatal("the user was reset")
	}
	w.env["RECOVER_BY_SUPERUSER"] = "true"
	if d, err := operator.Recover(t.Context(), w.rotator(), arn); err != nil || !strings.Contains(d.Action, victim) || !strings.Contains(d.Action, w.pg.Host) {
		t.Errorf("%q, %v", d.Action, err)
	}
	if _, err := w.connect(victim, "chosen-by-the-forger"); err != nil {
		t.Error(err)
	}
}
