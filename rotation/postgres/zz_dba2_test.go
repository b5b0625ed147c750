//go:build repro

package postgres_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation"
)

// again repeats all steps for the staged version, as Secrets Manager does.
func (w *world) again(arn string) error {
	d, err := w.client.DescribeSecret(context.Background(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		return err
	}
	token := ""
	for id, labels := range d.VersionIdsToStages {
		for _, l := range labels {
			if l == "AWSPENDING" {
				token = id
			}
		}
	}
	for _, s := range []rotation.Step{rotation.CreateSecret, rotation.SetSecret, rotation.TestSecret, rotation.FinishSecret} {
		if err := w.handle(context.Background(), rotation.Event{SecretID: arn, ClientRequestToken: token, Step: s}); err != nil {
			return err
		}
	}
	return nil
}

func TestYDefaultPrivilegesAdvice(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		admin := w.secret(w.value(w.pg.User, w.pg.Password))
		arn, user, clone := w.awsPair(admin)
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON TABLES TO %I", user, clone)
		t.Log("rotate:", w.rotate(arn))
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON TABLES TO %I", user, user)
		t.Log("after advice:", w.again(arn))
		w.sql("ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON TABLES FROM %I", user, clone)
		t.Log("after revoke from the second:", w.again(arn))
	})
}

// any login stops the rotation of a pair that this engine made.
func TestYStrangerStopsRotation(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		arn, user := w.alt("")
		t.Log("1st rotation:", w.rotate(arn))
		mallory, mpw := w.role("")
		m, err := w.connect(mallory, mpw)
		if err != nil {
			t.Fatal(err)
		}
		t.Log("mallory:", w.ex(m, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "+user+"_clone"))
		t.Log("check:", w.check(arn))
		t.Log("2nd rotation:", w.rotate(arn))
		t.Log("retry:", w.again(arn))
		w.opens(arn)
	})
}

// the same with a master as RDS's: a grant by name on a table that the master does not own.
func TestYOwnerGrantsToCloneByName(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		master, mpw := w.role("CREATEROLE CREATEDB")
		m, err := w.connect(master, mpw)
		if err != nil {
			t.Fatal(err)
		}
		user := testserver.Unique("app_")
		w.ex(m, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd'")
		admin := w.secret(w.value(master, mpw))
		arn := w.secret(w.value(user, "first-Passw0rd", "masterarn", fmt.Sprintf("%q", admin)))
		t.Log("1st rotation:", w.rotate(arn))
		etl, epw := w.role("")
		e, _ := w.connect(etl, epw)
		w.sql("CREATE SCHEMA %I AUTHORIZATION %I", etl, etl)
		t.Log("etl:", w.ex(e, "CREATE TABLE "+etl+".report(id int)"), w.ex(e, "GRANT SELECT ON "+etl+".report TO "+user+"_clone"))
		t.Log("check:", w.check(arn))
		t.Log("2nd rotation:", w.rotate(arn))
		w.opens(arn)
	})
}

// RECOVER_BY_SUPERUSER on RDS: administrators there are no superusers.
func TestYRDSAdministratorTakenOver(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		rds := testserver.Unique("rds_superuser_")
		w.sql("CREATE ROLE %I", rds)
		w.sql("GRANT pg_execute_server_program, pg_read_all_data, pg_write_all_data TO %I", rds)
		master, mpw := w.role("CREATEROLE CREATEDB")
		w.sql("GRANT %I TO %I", rds, master)
		dba, dbapw := w.role("CREATEROLE CREATEDB")
		w.sql("GRANT %I TO %I", rds, dba)
		w.sql("GRANT %I TO %I WITH ADMIN OPTION", dba, master) // as when master made it
		w.env["RECOVER_BY_SUPERUSER"] = "true"
		w.env["STRATEGY"] = "single"
		admin := w.secret(w.value(master, mpw))
		crafted := w.secret(w.value(dba, "guessed-by-the-attacker", "masterarn", fmt.Sprintf("%q", admin)))
		t.Log("rotate:", w.rotate(crafted))
		_, err := w.connect(dba, dbapw)
		t.Log("the administrator's own password:", err)
		c, err := w.connect(w.current(crafted))
		if err != nil {
			t.Log("attacker:", err)
			return
		}
		t.Log("attacker is", w.one(c, "select current_user || ', createrole ' || rolcreaterole::text || ', member of rds_superuser ' || pg_has_role($1::name,'MEMBER')::text from pg_roles where rolname=current_user", rds))
	})
}

func TestYSuperuserOnlySetting(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		master, mpw := w.role("CREATEROLE CREATEDB")
		m, _ := w.connect(master, mpw)
		user := testserver.Unique("app_")
		w.ex(m, "CREATE ROLE "+user+" LOGIN PASSWORD 'first-Passw0rd'")
		w.sql("ALTER ROLE %I SET log_min_duration_statement = '5s'", user)
		admin := w.secret(w.value(master, mpw))
		arn := w.secret(w.value(user, "first-Passw0rd", "masterarn", fmt.Sprintf("%q", admin)))
		t.Log("rotation:", w.rotate(arn))
	})
}

func TestYUserMappingUse(t *testing.T) {
	w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{}))
	admin := w.secret(w.value(w.pg.User, w.pg.Password))
	arn, user, clone := w.awsPair(admin)
	w.sql("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
	w.sql("CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'localhost', port '1')", "s"+user)
	w.sql("CREATE USER MAPPING FOR %I SERVER %I OPTIONS (user 'x', password 'y')", clone, "s"+user)
	w.sql("CREATE SCHEMA %I AUTHORIZATION %I", user, user)
	w.sql("CREATE FOREIGN TABLE %I.f (id int) SERVER %I", user, "s"+user)
	w.sql("GRANT SELECT ON %I.f TO %I", user, user)
	c := w.opens(arn)
	t.Log("before:", w.ex(c, "SELECT * FROM "+user+".f"))
	t.Log("rotate:", w.rotate(arn))
	c, _ = w.connect(clone, "clone-Passw0rd-1")
	t.Log("after, as the clone:", w.ex(c, "SELECT * FROM "+user+".f"))
}

// Fastpath: set_config by the function call protocol, under log_statement = all, as no superuser.
func TestYFastpath(t *testing.T) {
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "log_statement = 'all'\nlog_min_duration_statement = 0\n"}))
	user, pw := w.role("")
	c, err := w.connect(user, pw)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c.Exec(ctx, "BEGIN")
	oid := w.one(c, "select 'pg_catalog.set_config(text,text,boolean)'::regprocedure::oid::text")
	var id uint32
	fmt.Sscan(oid, &id)
	fe := c.PgConn().Frontend()
	call := &pgproto3.FunctionCall{Function: id, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte("rotator.verifier"), []byte("SCRAM-SHA-256$4096:HIDDENHIDDEN"), []byte("t")}, ResultFormatCode: 0}
	fe.Send(call)
	if err := fe.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			t.Log("error", e.Message)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			break
		}
	}
	var n string
	if err := c.QueryRow(ctx, "select length(current_setting('rotator.verifier'))::text").Scan(&n); err != nil {
		t.Fatal(err)
	}
	t.Log("set, length", n)
	log, _ := w.pg.Logs()
	t.Log("in the log:", strings.Contains(log, "HIDDENHIDDEN"))
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, "fastpath") {
			t.Log(l)
		}
	}
	_ = binary.BigEndian
	_ = aws.String
}
