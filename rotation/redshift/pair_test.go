package redshift

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// pair returns the request that gives the second user the pending password, and what it reports.
func (c *cluster) pair(current, pending engine.Value) (*engine.Request, *[]string) {
	var log []string
	return &engine.Request{Version: "v", Strategy: engine.AlternatingUsers, Current: current, Pending: pending, Login: c.superuser(), Superuser: true,
		Report: func(level slog.Level, text string) { log = append(log, level.String()+" "+text) }}, &log
}

func has(log []string, text string) bool {
	return slices.ContainsFunc(log, func(line string) bool { return strings.Contains(line, text) })
}

func TestChangedRightsAreInTheLog(t *testing.T) {
	c := newCluster(t)
	u := c.user(old)
	c.exec(c.admin, "CREATE TABLE public.t (a int)")
	c.exec(c.admin, "GRANT SELECT ON public.t TO "+u)
	c.exec(c.admin, "ALTER USER "+u+" CREATEDB")
	c.exec(c.admin, "ALTER USER "+u+" SET app.key TO 'a-key-in-a-setting'")
	r, log := c.pair(c.value(u, old), c.value(u+"_clone", new1))
	want(t, "", c.engine.DryRun(ctx(t), r))
	if len(*log) > 0 {
		t.Errorf("a rehearsal reports %q", *log)
	}
	want(t, "", c.engine.Set(ctx(t), r))
	for _, s := range []string{
		"the user " + u + "_clone is created", "GROUP " + name("rotator:"+u) + " ADD USER " + name(u+"_clone"), name(u+"_clone") + " CREATEDB",
		name(u+"_clone") + ` SET "app.key"`, `GRANT SELECT ON public.t TO ` + name(u+"_clone"),
	} {
		if !has(*log, "changed at the target: ") || !has(*log, s) {
			t.Errorf("%q is not in the log:\n%s", s, strings.Join(*log, "\n"))
		}
	}
	for _, s := range []string{"a-key", "md5", new1} {
		if has(*log, s) {
			t.Errorf("%q is in the log:\n%s", s, strings.Join(*log, "\n"))
		}
	}
	*log = nil
	c.exec(c.admin, "REVOKE SELECT ON public.t FROM "+u)
	want(t, "", c.engine.Set(ctx(t), r))
	if len(*log) != 1 || !has(*log, `REVOKE SELECT ON public.t FROM `+name(u+"_clone")) {
		t.Errorf("%q", *log)
	}
}

// A login without administrative rights grants the second user a right that it may grant.
func TestForeignGrantDoesNotStopARotation(t *testing.T) {
	c := newCluster(t)
	u, mole := c.user(old), c.user(old)
	clone := u + "_clone"
	r, log := c.pair(c.value(u, old), c.value(clone, new1))
	want(t, "", c.engine.Set(ctx(t), r))
	c.exec(c.admin, "CREATE TABLE public.t (a int)")
	c.exec(c.admin, "GRANT SELECT ON public.t TO "+u)
	c.exec(c.admin, "GRANT SELECT, INSERT ON public.t TO "+mole+" WITH GRANT OPTION")
	c.exec(c.admin, "CREATE SCHEMA mole")
	c.exec(c.admin, "GRANT ALL ON SCHEMA mole TO "+mole)
	want(t, "", c.engine.Set(ctx(t), r))
	c.exec(c.admin, "SET ROLE "+mole)
	for _, sql := range []string{
		"GRANT SELECT, INSERT ON public.t TO " + clone + " WITH GRANT OPTION",
		`CREATE TYPE mole."odd; type" AS (a int)`, `CREATE FUNCTION mole.f(mole."odd; type") RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		"REVOKE EXECUTE ON FUNCTION mole.f FROM PUBLIC", "GRANT EXECUTE ON FUNCTION mole.f TO " + clone,
	} {
		c.exec(c.admin, sql)
	}
	c.exec(c.admin, "RESET ROLE")
	*log = nil
	want(t, "", c.engine.DryRun(ctx(t), r))
	want(t, "", c.engine.Set(ctx(t), r))
	if !slices.ContainsFunc(*log, func(line string) bool {
		return strings.HasPrefix(line, "WARN") && strings.Contains(line, `INSERT ON public.t`) && strings.Contains(line, clone)
	}) {
		t.Errorf("no warning names the foreign right: %q", *log)
	}
	if !c.ask(c.admin, "SELECT NOT has_function_privilege($1, 'mole.f(mole.\"odd; type\")', 'EXECUTE')", clone) {
		t.Error("a right of the mole's own object was not taken")
	}
	// The pair does not need what the mole revokes.
	c.exec(c.admin, "SET ROLE "+mole)
	c.exec(c.admin, "REVOKE SELECT ON public.t FROM "+clone)
	c.exec(c.admin, "RESET ROLE")
	if !c.ask(c.admin, "SELECT has_table_privilege($1, 'public.t', 'SELECT')", clone) {
		t.Error("the second user had the current one's right from the mole alone")
	}
}

func TestLockIsReportedInTime(t *testing.T) {
	c := newCluster(t)
	u := c.user(old)
	r, _ := c.pair(c.value(u, old), c.value(u+"_clone", new1))
	want(t, "", c.engine.Set(ctx(t), r))
	c.exec(c.admin, "BEGIN")
	defer c.exec(c.admin, "ROLLBACK")
	c.exec(c.admin, "ALTER USER "+u+"_clone CONNECTION LIMIT 9")
	start := time.Now()
	err := c.engine.Set(ctx(t), r)
	want(t, engine.TargetFailed, err)
	if !strings.Contains(fmt.Sprint(err), "that holds a lock") || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// Two calls that create the second user concurrently have the same outcome.
func TestTwoCreatorsOfOneUser(t *testing.T) {
	c := newCluster(t)
	for range 2 {
		u := c.user(old)
		r, log := c.pair(c.value(u, old), c.value(u+"_clone", new1))
		c.exec(c.admin, "BEGIN")
		c.exec(c.admin, "CREATE USER "+u+"_clone PASSWORD '"+old+"'")
		c.exec(c.admin, `CREATE GROUP "rotator:`+u+`" USER `+u+"_clone")
		done := make(chan error)
		go func() { done <- c.engine.Set(ctx(t), r) }()
		time.Sleep(500 * time.Millisecond) // the statement waits for this transaction
		c.exec(c.admin, "COMMIT")
		want(t, "", <-done)
		want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
		if has(*log, "is created") {
			t.Error("the log says that the call created the user")
		}
	}
	u := c.user(old)
	done := make(chan error)
	for range 5 {
		go func() {
			r, _ := c.pair(c.value(u, old), c.value(u+"_clone", new1))
			done <- c.engine.Set(ctx(t), r)
		}()
	}
	for range 5 {
		want(t, "", <-done)
	}
	r, _ := c.pair(c.value(u, old), c.value(u+"_clone", new1))
	want(t, "", c.engine.Verify(ctx(t), r, r.Pending))
}

func TestNoAdministratorIsChanged(t *testing.T) {
	c := newCluster(t)
	role := func(name string) string {
		if !c.ask(c.admin, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name) {
			c.exec(c.admin, `CREATE ROLE "`+name+`"`)
		}
		return `"` + name + `"`
	}
	inner, outer, alters := role(testserver.Unique("role_")), role(testserver.Unique("role_")), role(testserver.Unique("role_alters_"))
	c.exec(c.admin, "GRANT "+role("sys:secadmin")+" TO "+inner)
	c.exec(c.admin, "GRANT "+inner+" TO "+outer)
	for _, grant := range []string{"GRANT " + role("sys:superuser") + " TO ", "GRANT " + role("sys:secadmin") + " TO ", "GRANT " + outer + " TO ", "GRANT " + alters + " TO ", "ALTER USER "} {
		end := ""
		if grant == "ALTER USER " {
			end = " SUPERUSER"
		}
		u, boss := c.user(old), c.user(old)
		c.exec(c.admin, grant+boss+end)
		for _, r := range []*engine.Request{
			{Strategy: engine.SingleUser, Current: c.value(boss, old), Pending: c.value(boss, new1)},
			{Strategy: engine.AlternatingUsers, Current: c.value(boss, old), Pending: c.value(u, new1)},
			{Strategy: engine.AlternatingUsers, Current: c.value(u, old), Pending: c.value(boss, new1)},
		} {
			r.Version, r.Login, r.Superuser, r.Proofs = "v", c.superuser(), true, []engine.Value{c.value(u, old), c.value(boss, old)}
			want(t, engine.TakeoverRefused, c.engine.DryRun(ctx(t), r))
			want(t, engine.TakeoverRefused, c.engine.Set(ctx(t), r))
		}
		c.exec(c.admin, "DROP USER "+boss)
	}
	c.exec(c.admin, "DROP ROLE "+outer+", "+inner+", "+alters)
}

// The names in the superuser's statements are folded as the server folds them.
func TestTheSuperuserIsNotChangedUnderAnotherSpelling(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{c.User, strings.ToUpper(c.User)} {
		r := &engine.Request{Version: "v", Strategy: engine.SingleUser, Current: c.value(name, old), Pending: c.value(name, new1), Login: c.superuser(), Superuser: true}
		want(t, engine.TakeoverRefused, c.engine.Set(ctx(t), r))
	}
}

func TestTheAdviceOnAnUnmarkedUserWorks(t *testing.T) {
	c := newCluster(t)
	for _, leftover := range []bool{false, true} {
		u := c.user(old)
		c.exec(c.admin, "CREATE USER "+u+"_clone PASSWORD '"+old+"'")
		if leftover { // of a second user that was dropped
			c.exec(c.admin, "CREATE GROUP "+name("rotator:"+u))
		}
		r, _ := c.pair(c.value(u, old), c.value(u+"_clone", new1))
		err := c.engine.Set(ctx(t), r)
		want(t, engine.TakeoverRefused, err)
		e, _ := errors.AsType[*engine.Error](err)
		_, statements, _ := strings.Cut(e.Advice, "target: ")
		for statement := range strings.SplitSeq(statements, "; ") {
			statement, unless, _ := strings.Cut(statement, " (")
			if unless == "" || !leftover {
				c.exec(c.admin, statement)
			}
		}
		want(t, "", c.engine.Set(ctx(t), r))
	}
}

// Redshift has only built-in argument types; the server does not quote what the view shows.
func TestAStrangeRightIsNotPutIntoAStatement(t *testing.T) {
	for what, want := range map[string]bool{
		`SELECT ON "s; DROP"."t"`: false, `EXECUTE ON FUNCTION "s"."f"(integer, character varying(10)[])`: false, `EXECUTE ON FUNCTION "s"."f"(x; DROP USER y)`: true,
		`EXECUTE ON FUNCTION "s"."f"(a") TO b)`: true, `SELECT ON ?VIEW`: true,
	} {
		if got := strange("GRANT " + what + ` TO "u" WITH GRANT OPTION`); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestTheAdviceOnARightThatWasHandedOnWorks(t *testing.T) {
	c := newCluster(t)
	u, friend := c.user(old), c.user(old)
	r, _ := c.pair(c.value(u, old), c.value(u+"_clone", new1))
	c.exec(c.admin, "CREATE TABLE public.t (a int)")
	c.exec(c.admin, "GRANT SELECT ON public.t TO "+u+" WITH GRANT OPTION")
	want(t, "", c.engine.Set(ctx(t), r))
	c.exec(c.admin, "SET ROLE "+u+"_clone")
	c.exec(c.admin, "GRANT SELECT ON public.t TO "+friend)
	c.exec(c.admin, "RESET ROLE")
	c.exec(c.admin, "REVOKE SELECT ON public.t FROM "+u)
	err := c.engine.Set(ctx(t), r)
	want(t, engine.PrivilegeMissing, err)
	statement, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprint(err), "PrivilegeMissing: "), ": ERROR")
	if !strings.Contains(fmt.Sprint(err), "CASCADE") {
		t.Errorf("%v", err)
	}
	c.exec(c.admin, statement+" CASCADE")
	want(t, "", c.engine.Set(ctx(t), r))
}
