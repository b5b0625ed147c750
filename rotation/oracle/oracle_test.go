package oracle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sijms/go-ora/v2/network"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/internal/sqlsession"
	"example.com/rotator/rotation/pair"
)

const old, new1, new2 = "Old-password1", "New pass'word;2", "Newer-password3"

func want(t testing.TB, cause engine.Cause, err error) {
	t.Helper()
	if cause == "" && err != nil || cause != "" && (err == nil || engine.CauseOf(err) != cause) {
		t.Errorf("error %v, want cause %q", err, cause)
	}
	for _, secret := range []string{old, new1, new2} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error quotes a password: %v", err)
		}
	}
}

func value(user, password string) engine.Value {
	return engine.StringValue(`{"engine":"oracle","host":"localhost","dbname":"ORCL"}`).With("username", user).
		With("password", password)
}

// reports collects the changes that a request reports.
func reports(r *engine.Request) *[]string {
	var log []string
	r.Report = func(_ slog.Level, text string) {
		log = append(log, strings.TrimPrefix(text, "changed at the target: "))
	}
	return &log
}

func (r *recorder) user(name, password string) *oracleUser {
	u := &oracleUser{password: password, used: []string{password}, status: "OPEN",
		tablespace: "USERS", profile: "DEFAULT"}
	r.users[name] = u
	return u
}

func (r *recorder) admin() engine.Value {
	r.user("ADMIN", "Admin-password1").system = [][]string{{"ALTER USER", "NO"}, {"CREATE USER", "NO"}}
	return value("admin", "Admin-password1")
}

func TestSingleUserGivesThePasswordOfItsLogin(t *testing.T) {
	o := newRecorder()
	o.user("APP", old)
	e := o.engine()
	r := &engine.Request{Strategy: engine.SingleUser, Current: value("app", "Not-this-one1"),
		Pending: value("app", new1), Login: value("app", old)}
	want(t, "", e.DryRun(enginetest.Within(t), r))
	want(t, engine.LoginRefused, e.Verify(enginetest.Within(t), r, r.Pending))
	if s := o.changes(); s != nil {
		t.Errorf("the dry run sent %q", s)
	}
	want(t, "", e.Set(enginetest.Within(t), r))
	if s := o.changes(); !slices.Equal(s,
		[]string{`ALTER USER "APP" IDENTIFIED BY "New pass'word;2" REPLACE "Old-password1"`}) {
		t.Errorf("sent %q", s)
	}
	want(t, "", e.Verify(enginetest.Within(t), r, r.Pending))
	want(t, engine.LoginRefused, e.Set(enginetest.Within(t), r))
	r.Login = r.Pending // as the ladder does after an interrupted step
	want(t, "", e.Set(enginetest.Within(t), r))
	if s := o.changes(); s != nil {
		t.Errorf("a repeated step sent %q", s)
	}
	if o.logins != 6 {
		t.Errorf("%d logins", o.logins)
	}
}

func TestBothPasswordsWorkInARolloverPeriod(t *testing.T) {
	o := newRecorder()
	o.user("APP", old)
	o.rollover, o.history = true, true
	e := o.engine()
	r := &engine.Request{Strategy: engine.SingleUser, Current: value("app", old), Pending: value("app", new1),
		Login: value("app", old)}
	// A repeated step logs in with current, which still works, and the profile's history has the new password. The
	// machine then sees that the new password opens the server.
	want(t, "", e.Set(enginetest.Within(t), r))
	want(t, engine.PolicyRejected, e.Set(enginetest.Within(t), r))
	want(t, "", e.Verify(enginetest.Within(t), r, r.Current))
	want(t, "", e.Verify(enginetest.Within(t), r, r.Pending))
}

func TestPasswordFromTheHistoryThatDoesNotOpenIsRejected(t *testing.T) {
	o := newRecorder()
	o.history = true
	o.user("APP", old).used = []string{old, new1}
	r := &engine.Request{Strategy: engine.SingleUser, Current: value("app", old), Pending: value("app", new1),
		Login: value("app", old)}
	want(t, engine.PolicyRejected, o.engine().Set(enginetest.Within(t), r))
}

// furnish gives a user a right of every kind.
func furnish(u *oracleUser) {
	u.roles = [][]string{{"CONNECT", "NO", "NO", "YES"}, {"REPORTS", "YES", "NO", "NO"}}
	u.system = [][]string{{"CREATE SESSION", "NO"}, {"CREATE TABLE", "YES"}}
	u.objects = [][]string{{"SELECT", "HR", "Odd table", "TABLE", "YES", "YES"},
		{"READ", "SYS", "DATA_DIR", "DIRECTORY", "NO", "NO"}, {"EXECUTE", "HR", "PAY", "PROCEDURE", "NO", "NO"}}
	u.columns = [][]string{{"UPDATE", "HR", "EMP", "SALARY", "NO"}}
	u.quotas = [][]string{{"BIG", "1048576"}, {"USERS", "-1"}}
	u.profile = "APPS"
}

func TestSecondUserGetsAllRightsBeforeItsPassword(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	furnish(o.user("APP", old))
	e := o.engine()
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("app", old),
		Pending: value("app_CLONE", new1), Login: admin, Superuser: true}
	want(t, "", e.DryRun(enginetest.Within(t), r))
	if s := o.changes(); s != nil {
		t.Fatalf("the dry run sent %q", s)
	}
	log := reports(r)
	want(t, "", e.Set(enginetest.Within(t), r))
	sent := o.changes()
	wanted := []string{
		`CREATE USER "APP_CLONE" NO AUTHENTICATION DEFAULT TABLESPACE "USERS" ` +
			`TEMPORARY TABLESPACE "TEMP" PROFILE "APPS"`,
		`ALTER USER "APP_CLONE" GRANT CONNECT THROUGH "APP"`,
		`GRANT "CONNECT" TO "APP_CLONE"`,
		`GRANT "REPORTS" TO "APP_CLONE" WITH ADMIN OPTION`,
		`GRANT CREATE SESSION TO "APP_CLONE"`,
		`GRANT CREATE TABLE TO "APP_CLONE" WITH ADMIN OPTION`,
		`GRANT SELECT ON "HR"."Odd table" TO "APP_CLONE" WITH HIERARCHY OPTION WITH GRANT OPTION`,
		`GRANT READ ON DIRECTORY "DATA_DIR" TO "APP_CLONE"`,
		`GRANT EXECUTE ON "HR"."PAY" TO "APP_CLONE"`,
		`GRANT UPDATE ("SALARY") ON "HR"."EMP" TO "APP_CLONE"`,
		`ALTER USER "APP_CLONE" QUOTA 1048576 ON "BIG"`,
		`ALTER USER "APP_CLONE" QUOTA UNLIMITED ON "USERS"`,
		`ALTER USER "APP_CLONE" DEFAULT ROLE "CONNECT"`,
		`ALTER USER "APP_CLONE" IDENTIFIED BY "New pass'word;2"`,
	}
	if !slices.Equal(sent, wanted) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(sent, "\n"), strings.Join(wanted, "\n"))
	}
	if !slices.Equal(*log, append([]string{"the user APP_CLONE is created, as the second user of APP"},
		wanted[1:len(wanted)-1]...)) {
		t.Errorf("reported\n%s", strings.Join(*log, "\n"))
	}
}

func TestParityGoesBothWays(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	furnish(o.user("APP", old))
	o.users["APP"].objects = o.users["APP"].objects[:1]
	e := o.engine()
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP", old),
		Pending: value("APP_CLONE", new1), Login: admin, Superuser: true}
	want(t, "", e.Set(enginetest.Within(t), r))
	o.changes()
	clone := o.users["APP_CLONE"]
	clone.profile = "APPS"
	want(t, "", e.Set(enginetest.Within(t), r))
	if s := o.changes(); !slices.Equal(s, []string{`ALTER USER "APP_CLONE" IDENTIFIED BY "New pass'word;2"`}) {
		t.Errorf("a repeated step sent %q", s)
	}
	// The clone is current now, and an administrator changes its rights.
	clone.roles = clone.roles[:1]
	clone.system = append(clone.system, []string{"CREATE VIEW", "NO"})
	clone.objects[0][4] = "NO"
	clone.columns = [][]string{{"UPDATE", "HR", "EMP", "NAME", "NO"}}
	clone.quotas = [][]string{{"USERS", "0"}}
	o.users["APP"].columns = append(o.users["APP"].columns, []string{"UPDATE", "HR", "EMP", "BONUS", "NO"})
	r = &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP_CLONE", new1),
		Pending: value("APP", new2), Login: admin, Superuser: true}
	log := reports(r)
	want(t, "", e.Set(enginetest.Within(t), r))
	wanted := []string{
		`REVOKE "REPORTS" FROM "APP"`,
		`REVOKE SELECT ON "HR"."Odd table" FROM "APP"`,
		`REVOKE UPDATE ON "HR"."EMP" FROM "APP"`,
		`ALTER USER "APP" QUOTA 0 ON "BIG"`,
		`ALTER USER "APP" QUOTA 0 ON "USERS"`,
		`GRANT CREATE VIEW TO "APP"`,
		`GRANT SELECT ON "HR"."Odd table" TO "APP" WITH HIERARCHY OPTION`,
		`GRANT UPDATE ("NAME") ON "HR"."EMP" TO "APP"`,
		`ALTER USER "APP" IDENTIFIED BY "Newer-password3"`,
	}
	if s := o.changes(); !slices.Equal(s, wanted) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(s, "\n"), strings.Join(wanted, "\n"))
	}
	if !slices.Equal(*log, wanted[:len(wanted)-1]) {
		t.Errorf("reported\n%s", strings.Join(*log, "\n"))
	}
}

func TestRightsOnObjectsOfThePairAreLeftAlone(t *testing.T) {
	o := newRecorder()
	o.admin()
	u := o.user("APP", old)
	u.objects = [][]string{{"READ", "SYS", "DATA_DIR", "DIRECTORY", "NO", "NO"},
		{"SELECT", "APP_CLONE", "T", "TABLE", "NO", "NO"}}
	want(t, "", o.engine().With(t.Context(), value("ADMIN", "Admin-password1"), func(s *sqlsession.Session) error {
		rights, err := target{Session: s}.rights(t.Context(), "APP", "APP", "APP_CLONE")
		if !slices.Equal(rights, []pair.Right{{Give: `GRANT READ ON DIRECTORY "DATA_DIR" TO "APP_CLONE"`,
			Take: `REVOKE READ ON DIRECTORY "DATA_DIR" FROM "APP_CLONE"`},
			{Give: `ALTER USER "APP_CLONE" DEFAULT ROLE NONE`}}) {
			t.Errorf("%+v", rights)
		}
		return err
	}))
}

func TestInterruptedStepRecognizesItsUserWithoutAMark(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	furnish(o.user("APP", old))
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("app", old),
		Pending: value("app_CLONE", new1), Login: admin, Superuser: true}
	o.fails[`ALTER USER "APP_CLONE" GRANT CONNECT`] = 3113
	want(t, engine.Unreachable, o.engine().Set(enginetest.Within(t), r))
	o.fails = map[string]int{}
	// A writer of the secret can choose AWSCURRENT's password, so it proves nothing until it is accepted.
	r.Proofs = []engine.Value{value("APP_CLONE", new2)}
	want(t, engine.TakeoverRefused, o.engine().Set(enginetest.Within(t), r))
	r.Proofs = []engine.Value{r.Current}
	want(t, "", o.engine().DryRun(enginetest.Within(t), r))
	want(t, "", o.engine().Set(enginetest.Within(t), r))
	want(t, "", o.engine().Verify(enginetest.Within(t), r, r.Pending))
	// A locked account is unlocked when its password is set.
	o.users["APP"].status = "LOCKED(TIMED)"
	r.Current, r.Pending = value("app_CLONE", new1), value("app", new2)
	o.changes()
	log := reports(r)
	want(t, "", o.engine().Set(enginetest.Within(t), r))
	if !slices.Contains(*log, `ALTER USER "APP" ACCOUNT UNLOCK`) || strings.Contains(strings.Join(*log, ""), new2) {
		t.Errorf("reported %q", *log)
	}
	if s := o.changes(); s[len(s)-1] != `ALTER USER "APP" IDENTIFIED BY "Newer-password3" ACCOUNT UNLOCK` {
		t.Errorf("sent %q", s)
	}
}

func TestOtherUsersAreNotChanged(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	for _, name := range []string{"APP", "APP_CLONE", "BOSS", "BOSS_CLONE", "ORACLES", "ORACLES_CLONE", "ADMIN_CLONE"} {
		o.user(name, old)
	}
	o.users["BOSS"].roles = [][]string{{"DBA", "NO", "NO", "YES"}}
	o.users["ORACLES"].maintained = true
	for current, other := range map[string]string{"APP": "APP_CLONE", "BOSS": "BOSS_CLONE", "BOSS_CLONE": "BOSS",
		"ORACLES_CLONE": "ORACLES", "ADMIN_CLONE": "Admin"} {
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value(current, old),
			Pending: value(other, new1), Login: admin, Superuser: true}
		if current != "APP" {
			r.Proofs = []engine.Value{r.Current, r.Pending}
		}
		want(t, engine.TakeoverRefused, o.engine().DryRun(enginetest.Within(t), r))
		want(t, engine.TakeoverRefused, o.engine().Set(enginetest.Within(t), r))
	}
	for _, user := range []string{"BOSS", "ORACLES", "admin"} {
		r := &engine.Request{Strategy: engine.SingleUser, Current: value(user, old), Pending: value(user, new1),
			Login: admin, Superuser: true}
		want(t, engine.TakeoverRefused, o.engine().DryRun(enginetest.Within(t), r))
		want(t, engine.TakeoverRefused, o.engine().Set(enginetest.Within(t), r))
	}
	if s := o.changes(); s != nil {
		t.Errorf("sent %q", s)
	}
	o.proxies = [][2]string{{"APP", "APP_CLONE"}}
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP", old),
		Pending: value("APP_CLONE", new1), Login: admin, Superuser: true}
	want(t, "", o.engine().Set(enginetest.Within(t), r))
}

// A user without a password that has a right or owns an object is another schema.
func TestAnotherSchemaIsNotTakenOver(t *testing.T) {
	for name, change := range map[string]func(*recorder, *oracleUser){
		"who owns an object": func(_ *recorder, u *oracleUser) { u.owner = true },
		"with a privilege": func(_ *recorder, u *oracleUser) {
			u.system = [][]string{{"CREATE TABLE", "NO"}}
		},
		"with a right on a column": func(_ *recorder, u *oracleUser) {
			u.columns = [][]string{{"UPDATE", "C", "HR", "T", "NO"}}
		},
		"with a password": func(_ *recorder, u *oracleUser) { u.passwordless = false },
		"through whom others connect": func(o *recorder, _ *oracleUser) {
			o.proxies = append(o.proxies, [2]string{"EVE", "APP_CLONE"})
		},
	} {
		o := newRecorder()
		admin := o.admin()
		o.user("APP", old)
		u := o.user("APP_CLONE", "The-strangers-own1")
		u.passwordless = true
		change(o, u)
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP", old),
			Pending: value("APP_CLONE", new1), Login: admin, Superuser: true}
		r.Proofs = []engine.Value{r.Current}
		want(t, engine.TakeoverRefused, o.engine().DryRun(enginetest.Within(t), r))
		want(t, engine.TakeoverRefused, o.engine().Set(enginetest.Within(t), r))
		if s := o.changes(); s != nil {
			t.Errorf("a user %s: sent %q", name, s)
		}
	}
}

// Two functions that create the second user concurrently have one outcome.
func TestUserIsCreatedConcurrently(t *testing.T) {
	for name, stranger := range map[string]bool{"by the other call": false, "by a stranger": true} {
		o := newRecorder()
		admin := o.admin()
		furnish(o.user("APP", old))
		o.before = func(statement string) {
			if strings.HasPrefix(statement, "CREATE USER") {
				o.user("APP_CLONE", "The-strangers-own1").passwordless = !stranger
			}
		}
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP", old),
			Pending: value("APP_CLONE", new1), Login: admin, Superuser: true}
		r.Proofs = []engine.Value{r.Current}
		err := o.engine().Set(enginetest.Within(t), r)
		if stranger {
			want(t, engine.TakeoverRefused, err)
		} else {
			want(t, "", err)
		}
		if (o.users["APP_CLONE"].password == new1) == stranger {
			t.Errorf("%s: the password was set: %t", name, !stranger)
		}
	}
}

// The server ends a frozen function's wait, and a lock is reported as a lock.
func TestServerBoundsWaitsForLocks(t *testing.T) {
	o := newRecorder()
	o.user("APP", old)
	o.fails["ALTER USER"] = 54
	ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
	defer cancel()
	want(t, engine.Locked, o.engine().Set(ctx, &engine.Request{Strategy: engine.SingleUser, Current: value("APP", old),
		Pending: value("APP", new1), Login: value("APP", old)}))
	if !slices.Equal(o.limits, []string{"5"}) {
		t.Errorf("the limits are %q", o.limits)
	}
}

func TestAdministratorByARoleOfARole(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	o.user("BOSS", old).roles = [][]string{{"TEAM", "NO", "NO", "YES"}}
	o.user("TEAM", "").roles = [][]string{{"KEEPERS", "NO", "NO", "YES"}}
	o.user("KEEPERS", "").system = [][]string{{"ALTER USER", "NO"}}
	r := &engine.Request{Strategy: engine.SingleUser, Current: value("BOSS", old), Pending: value("BOSS", new1),
		Login: admin, Superuser: true}
	want(t, engine.TakeoverRefused, o.engine().DryRun(enginetest.Within(t), r))
	o.users["KEEPERS"].system, o.users["KEEPERS"].roles = nil, [][]string{{"DBA", "NO", "NO", "YES"}}
	want(t, engine.TakeoverRefused, o.engine().Set(enginetest.Within(t), r))
	if s := o.changes(); s != nil {
		t.Errorf("sent %q", s)
	}
}

func TestThePasswordComesAfterTheRights(t *testing.T) {
	o := newRecorder()
	admin := o.admin()
	furnish(o.user("APP", old))
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: value("APP", old),
		Pending: value("APP_CLONE", new1), Login: admin, Superuser: true}
	o.fails[`GRANT EXECUTE`] = 1031
	want(t, engine.PrivilegeMissing, o.engine().Set(enginetest.Within(t), r))
	want(t, engine.LoginRefused, o.engine().Verify(enginetest.Within(t), r, r.Pending))
	delete(o.fails, `GRANT EXECUTE`)
	o.users["ADMIN"].system = nil
	want(t, engine.PrivilegeMissing, o.engine().DryRun(enginetest.Within(t), r))
}

func TestCausesOfErrors(t *testing.T) {
	for _, row := range []struct {
		code  int
		cause engine.Cause
	}{{1017, engine.LoginRefused}, {28000, engine.PrivilegeMissing}, {28001, engine.PrivilegeMissing},
		{1045, engine.PrivilegeMissing}, {12514, engine.InvalidSecret},
		{12505, engine.InvalidSecret},
		{12519, engine.TargetFailed}, {1033, engine.TargetFailed},
		{1034, engine.TargetFailed}, {12541, engine.Unreachable}, {12170, engine.Unreachable},
		{28040, engine.TargetFailed}, {20001, engine.TargetFailed}, {600, engine.TargetFailed}} {
		o := newRecorder()
		o.refusal["APP"] = row.code
		want(t, row.cause, o.engine().Verify(enginetest.Within(t), &engine.Request{}, value("APP", old)))
	}
	for _, row := range []struct {
		code  int
		cause engine.Cause
	}{{28003, engine.PolicyRejected}, {28007, engine.PolicyRejected}, {20001, engine.PolicyRejected},
		{20999, engine.PolicyRejected}, {972, engine.PolicyRejected}, {988, engine.PolicyRejected},
		{1031, engine.PrivilegeMissing},
		{28008, engine.TargetFailed}, {28221, engine.TargetFailed},
		{16000, engine.TargetFailed}, {1017, engine.LoginRefused}} {
		o := newRecorder()
		o.user("APP", old)
		o.fails["ALTER USER"] = row.code
		r := &engine.Request{Strategy: engine.SingleUser, Current: value("APP", old), Pending: value("APP", new1),
			Login: value("APP", old)}
		err := o.engine().Set(enginetest.Within(t), r)
		want(t, row.cause, err)
		if e, ok := errors.AsType[*network.OracleError](err); !ok || e.ErrCode != row.code {
			t.Errorf("%d is lost in %v", row.code, err)
		}
	}
}

func TestMalformedValueIsRefused(t *testing.T) {
	form := func(field, v string) engine.Value { return value("APP", old).With(field, v) }
	for _, v := range []engine.Value{form("dbname", ""), form("dbname", "x)(HOST=evil"), form("dbname", "ÖRCL"),
		form("username", `A"B`), form("username", "sys"), form("username", `"SYS"`),
		form("password", `a"b`), form("password", "a\nb"), form("username", strings.Repeat("x", 129)),
		engine.StringValue("{}")} {
		_, err := New(engine.TLSPolicy{}).Parse(v)
		want(t, engine.InvalidSecret, err)
	}
	target, err := New(engine.TLSPolicy{}).Parse(value(`"App"`, old).WithJSON("port", []byte(`"1522"`)))
	if err != nil || target.Port != 1522 || canonical(target.User) != "App" || canonical("app_CLONE") != "APP_CLONE" {
		t.Errorf("%v, %v", target, err)
	}
}

// Whatever the settings exclude, no password has a double quotation mark, and each has a seal.
func TestNoPasswordHasAQuotationMark(t *testing.T) {
	e := New(engine.TLSPolicy{})
	r := &engine.Request{Current: value("APP", old), Passwords: e.Kind().Passwords, Base: "base"}
	r.Passwords.Length, r.Passwords.ExcludeCharacters = 1000, ""
	next, err := e.Next(t.Context(), r)
	if password, _ := next.Text("password"); err != nil || len(password) != 1000 || strings.Contains(password, `"`) ||
		!r.Passwords.SealedTo(r.Base, r.Key(r.Accepted), password) {
		t.Errorf("%q, %v", password, err)
	}
	if r.Passwords.ExcludeCharacters != "" {
		t.Error("the settings have changed")
	}
}

func FuzzNamesAndPasswordsStayInQuotes(f *testing.F) {
	for _, s := range []string{"a", "it's", `\`, " REPLACE ", ";", "--", "/*", "ü😀", ":x", "&y", "%"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, password string) {
		v := value("x", "x").With("username", name).With("password", password)
		target, err := New(engine.TLSPolicy{}).Parse(v)
		if err != nil {
			return // refused with an error
		}
		statement := fmt.Sprintf("ALTER USER %s IDENTIFIED BY %s", quoted(canonical(target.User)),
			quoted(target.Password))
		m := identified.FindStringSubmatch(statement)
		if m == nil || m[1] != canonical(target.User) || m[2] != target.Password || m[4] != "" {
			t.Fatalf("%q is read as %q", statement, m)
		}
	})
}
