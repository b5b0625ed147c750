package sqlserver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

const old, new1 = "Old-password1", "New]pass'word;2"

func newEngine(t testing.TB) *Engine {
	return New(engine.TLSPolicy{ExtraCAs: certificates(t).PEM})
}

func want(t testing.TB, cause engine.Cause, err error) {
	t.Helper()
	if cause == "" && err != nil || cause != "" && (err == nil || engine.CauseOf(err) != cause) {
		t.Errorf("error %v, want cause %q", err, cause)
	}
	for _, secret := range []string{old, new1} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error quotes a password: %v", err)
		}
	}
}

// loginRow is the server's description of an ordinary login.
func loginRow(name string) []string {
	return []string{name, "DEFAULT_DATABASE = [master], CHECK_EXPIRATION = OFF, CHECK_POLICY = ON", "", "1", "0"}
}

// onlyLogins answers queries about logins, and returns no contained users.
func onlyLogins(rows ...[]string) func(string) ([][]string, error) {
	return func(sql string) ([][]string, error) {
		switch {
		case strings.Contains(sql, "sys.sql_logins"):
			for _, r := range rows {
				if strings.Contains(sql, "name = "+text(r[0])) {
					return [][]string{r}, nil
				}
			}
			return [][]string{}, nil
		case strings.Contains(sql, "HAS_PERMS_BY_NAME"):
			return [][]string{{"1"}}, nil
		}
		return [][]string{}, nil
	}
}

func changes(batches []string) []string {
	return slices.DeleteFunc(slices.Clone(batches), func(b string) bool {
		return strings.Contains(b, "SELECT") || strings.HasPrefix(b, "SET LOCK_TIMEOUT ")
	})
}

func TestSingleUserGivesThePasswordOfItsLogin(t *testing.T) {
	s := newTDS(t, true)
	name := "a]pp'; DROP"
	s.logins[name] = old
	s.answer = onlyLogins(loginRow(name))
	e := newEngine(t)
	// AWSCURRENT is a third password: the one that works is AWSPREVIOUS's.
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value(name, "Not-this-one1", ""),
		Pending: s.value(name, new1, ""), Login: s.value(name, old, "")}
	want(t, engine.LoginRefused, e.Verify(enginetest.Within(t), r, r.Current))
	want(t, "", e.DryRun(enginetest.Within(t), r))
	if c := changes(s.sent()); len(c) > 0 {
		t.Errorf("the dry run changed something: %q", c)
	}
	want(t, "", e.Set(enginetest.Within(t), r))
	statement := `ALTER LOGIN [a]]pp'; DROP] WITH PASSWORD = N'New]pass''word;2' OLD_PASSWORD = N'Old-password1'`
	if c := changes(s.sent()); len(c) != 1 || c[0] != statement {
		t.Errorf("sent %q", c)
	}
	want(t, "", e.Verify(enginetest.Within(t), r, r.Pending))
	want(t, engine.LoginRefused, e.Set(enginetest.Within(t), r))
	s.sent()
	r.Login = r.Pending // as the ladder does after an interrupted step
	want(t, "", e.Set(enginetest.Within(t), r))
	if b := changes(s.sent()); len(b) != 0 {
		t.Errorf("a repeated step sent %q", b)
	}
	if s.plain != 0 {
		t.Errorf("%d logins without TLS", s.plain)
	}
}

func TestContainedUserIsChangedInItsDatabase(t *testing.T) {
	s := newTDS(t, true)
	s.logins["app"] = old
	s.answer = func(sql string) ([][]string, error) {
		if strings.Contains(sql, "authentication_type = 2") {
			return [][]string{{"app"}}, nil
		}
		return [][]string{}, nil
	}
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value("app", old, `,"dbname":"shop"`),
		Pending: s.value("app", new1, `,"dbname":"shop"`), Login: s.value("app", old, `,"dbname":"shop"`)}
	want(t, "", newEngine(t).Set(enginetest.Within(t), r))
	if c := changes(s.sent()); len(c) != 1 || !strings.HasPrefix(c[0], "ALTER USER [app] WITH PASSWORD = N'") {
		t.Errorf("sent %q", c)
	}
	if s.dbs[0] != "shop" {
		t.Errorf("logged in to %q", s.dbs)
	}
}

func TestTLSIsVerifiedAndPlainTextIsAChoice(t *testing.T) {
	r := &engine.Request{}
	secure, none := newTDS(t, true), newTDS(t, false)
	for _, s := range []*tdsServer{secure, none} {
		s.logins["app"] = old
		s.answer = onlyLogins()
	}
	stranger, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	ca := certificates(t).PEM
	for _, row := range []struct {
		name   string
		server *tdsServer
		policy engine.TLSPolicy
		ssl    string
		cause  engine.Cause
		plain  int
	}{
		{"verified", secure, engine.TLSPolicy{ExtraCAs: ca}, "", "", 0},
		{"verified, asked for", secure, engine.TLSPolicy{ExtraCAs: ca}, `,"ssl":true`, "", 0},
		{"unknown CA", secure, engine.TLSPolicy{ExtraCAs: stranger.PEM}, "", engine.TLSFailed, 0},
		{"unknown CA, plain text allowed", secure, engine.TLSPolicy{ExtraCAs: stranger.PEM, AllowPlaintext: true}, "",
			engine.TLSFailed, 0},
		{"no TLS", none, engine.TLSPolicy{}, "", engine.TLSFailed, 0},
		{"no TLS, asked for, plain text allowed", none, engine.TLSPolicy{AllowPlaintext: true},
			`,"ssl":true`, engine.TLSFailed, 0},
		{"no TLS, plain text allowed", none, engine.TLSPolicy{AllowPlaintext: true}, "", "", 1},
		{"plain text by the secret", none, engine.TLSPolicy{}, `,"ssl":false`, "", 1},
	} {
		row.server.plain = 0
		want(t, row.cause, New(row.policy).Verify(enginetest.Within(t), r, row.server.value("app", old, row.ssl)))
		if row.server.plain != row.plain {
			t.Errorf("%s: %d logins in plain text, want %d", row.name, row.server.plain, row.plain)
		}
	}
	// The server's answer quotes the database's name, which may equal the text of the driver's error.
	secure.plain = 0
	secure.refusal["app"] = []tdsErr{
		{4060, `Cannot open database "server does not support encryption" requested by the login. The login failed.`}}
	want(t, engine.InvalidSecret, New(engine.TLSPolicy{ExtraCAs: ca, AllowPlaintext: true}).
		Verify(enginetest.Within(t), r, secure.value("app", old, "")))
	if secure.plain != 0 {
		t.Errorf("the database's name caused %d logins in plain text", secure.plain)
	}
	secure.insist = true
	want(t, engine.TLSFailed, New(engine.TLSPolicy{ExtraCAs: stranger.PEM}).
		Verify(enginetest.Within(t), r, secure.value("app", old, `,"ssl":false`)))
}

func TestCausesOfFailedLogins(t *testing.T) {
	s := newTDS(t, true)
	for i, row := range []struct {
		errs  []tdsErr
		cause engine.Cause
	}{
		{[]tdsErr{{18456, "Login failed for user 'app'."}}, engine.LoginRefused},
		{[]tdsErr{{4060, "Cannot open database \"x\" requested by the login. The login failed."},
			{18456, "Login failed for user 'app'."}}, engine.InvalidSecret},
		{[]tdsErr{{18456, "Login failed for user 'app'."},
			{17892, "Logon failed for login 'app' due to trigger execution."}}, engine.PrivilegeMissing},
		{[]tdsErr{{18470, "Login failed for user 'app'. Reason: The account is disabled."}}, engine.PrivilegeMissing},
		{[]tdsErr{{18486, "Login failed for user 'app' because the account is currently locked out."}},
			engine.PrivilegeMissing},
		{[]tdsErr{{18487, "Login failed for user 'app'. Reason: The password of the account has expired."}},
			engine.PrivilegeMissing},
		{[]tdsErr{{18488, "Login failed for user 'app'. Reason: The password of the account must be changed."}},
			engine.PrivilegeMissing},
		{[]tdsErr{{18401, "Login failed for user 'app'. Reason: Server is in script upgrade mode."}},
			engine.TargetFailed},
		{[]tdsErr{{17142, "SQL Server service has been paused."}}, engine.TargetFailed},
		{[]tdsErr{{50000, "something else"}}, engine.TargetFailed},
	} {
		user := fmt.Sprint("u", i)
		s.refusal[user] = row.errs
		want(t, row.cause, newEngine(t).Verify(enginetest.Within(t), &engine.Request{}, s.value(user, old, "")))
	}
	r := &engine.Request{}
	v := s.value("nobody", old, "").With("host", "no-such-host.invalid")
	want(t, engine.NameNotResolved, newEngine(t).Verify(enginetest.Within(t), r, v))
	s.listener.Close()
	want(t, engine.Unreachable, newEngine(t).Verify(enginetest.Within(t), r, s.value("app", old, "")))
}

func TestPolicyIsDistinguishedFromOtherFailures(t *testing.T) {
	s := newTDS(t, true)
	s.logins["app"] = old
	logins := onlyLogins(loginRow("app"))
	for _, row := range []struct {
		number int32
		cause  engine.Cause
	}{{15114, engine.PolicyRejected}, {15115, engine.PolicyRejected}, {15116, engine.PolicyRejected},
		{15117, engine.PolicyRejected}, {15118, engine.PolicyRejected}, {15119, engine.PolicyRejected},
		{18463, engine.PolicyRejected}, {18466, engine.PolicyRejected}, {18468, engine.PolicyRejected},
		{15151, engine.PrivilegeMissing}, {15247, engine.PrivilegeMissing}, {3906, engine.TargetFailed},
		{1, engine.TargetFailed}} {
		s.answer = func(sql string) ([][]string, error) {
			if strings.HasPrefix(sql, "ALTER LOGIN") {
				return nil, tdsErr{row.number, "no"}
			}
			return logins(sql)
		}
		r := &engine.Request{Strategy: engine.SingleUser, Current: s.value("app", old, ""),
			Pending: s.value("app", new1, ""), Login: s.value("app", old, "")}
		want(t, row.cause, newEngine(t).Set(enginetest.Within(t), r))
	}
	if s.logins["app"] != old {
		t.Error("the password was changed")
	}
}

func TestPasswordThatThePolicyWouldRejectIsNotStored(t *testing.T) {
	s := newTDS(t, true)
	s.logins["app"], s.logins["admin"] = old, "Admin-password1"
	for name, r := range map[string]*engine.Request{
		"itself":           {Strategy: engine.SingleUser, Login: s.value("app", old, "")},
		"by the superuser": {Strategy: engine.SingleUser, Login: s.value("admin", "Admin-password1", ""), Superuser: true},
		"a new login": {Strategy: engine.AlternatingUsers, Login: s.value("admin", "Admin-password1", ""),
			Superuser: true},
	} {
		user := "app"
		if r.Strategy == engine.AlternatingUsers {
			user = "app_clone"
		}
		r.Current = s.value("app", old, "")
		for password, cause := range map[string]engine.Cause{"Short1!": engine.PolicyRejected,
			"only-lowercase": engine.PolicyRejected, "ONLYUPPER123": engine.PolicyRejected,
			"lower-and-1": "", "Upper-and": "", "Letters1": ""} {
			r.Pending = s.value(user, password, "")
			row := loginRow("app")
			s.answer = onlyLogins(row)
			t.Log(name, password)
			want(t, cause, newEngine(t).DryRun(enginetest.Within(t), r))
			row[3] = "0" // CHECK_POLICY = OFF
			want(t, "", newEngine(t).DryRun(enginetest.Within(t), r))
		}
	}
}

// administered returns a server that answers as its model does and accepts the superuser admin.
func administered(t *testing.T) (*tdsServer, *model) {
	s, m := newTDS(t, true), newModel()
	s.logins["admin"] = "Admin-password1"
	s.answer = m.answer
	return s, m
}

// A rotation to a disabled login would fail in testSecret. An administrator may have disabled it on purpose.
func TestDisabledSecondLoginIsRefused(t *testing.T) {
	s, m := administered(t)
	m.logins["app_clone"] = loginRow("app_clone")
	m.logins["app_clone"][4] = "1"
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	r.Proofs = []engine.Value{r.Current, r.Pending}
	enginetest.WantCause(t, newEngine(t).DryRun(enginetest.Within(t), r), engine.PrivilegeMissing,
		"ALTER LOGIN [app_clone] ENABLE")
	m.logins["app_clone"][4] = "0"
	want(t, "", newEngine(t).DryRun(enginetest.Within(t), r))
}

// model is a scripted server with a pair of logins in one database.
type model struct {
	mu        sync.Mutex
	logins    map[string][]string
	server    map[string][][]string // rights by login
	databases map[string]map[string][][]string
	users     map[string][]string // database/login: user and schema
	applied   []string
	trapped   bool            // shop has a DDL trigger that would run as the superuser
	readOnly  bool            // shop is read-only
	closed    map[string]bool // databases that the superuser cannot open
}

func (m *model) answer(sql string) ([][]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := func() string {
		i := strings.LastIndex(sql, "name = N'")
		if j := strings.LastIndex(sql, "name = N''"); j > i {
			i = j + 1
		}
		name := strings.TrimLeft(sql[i+len("name = N"):], "'")
		return name[:strings.IndexByte(name, '\'')]
	}
	switch {
	case strings.Contains(sql, "authentication_type = 2"):
		return [][]string{}, nil
	case strings.Contains(sql, "HAS_PERMS_BY_NAME"):
		return [][]string{{"1"}}, nil
	case strings.Contains(sql, "sys.sql_logins"):
		r, ok := m.logins[named()]
		if !ok {
			return [][]string{}, nil
		}
		r = slices.Clone(r)
		for _, right := range m.server[r[0]] { // the query lists the roles and permissions of administrators
			if strings.Contains(sql, "N'"+right[0]+right[2]+"'") {
				r[2] = "an administrator"
			}
		}
		return [][]string{r}, nil
	case strings.Contains(sql, "sys.server_role_members"):
		return kinds("SERVER ROLE", m.server[named()]), nil
	case strings.Contains(sql, "HAS_DBACCESS(name) = 1"):
		return [][]string{{"shop"}}, nil
	case strings.Contains(sql, "FROM sys.databases"):
		rows := [][]string{{"shop", "1", map[bool]string{true: "1", false: "0"}[m.readOnly]}}
		for name, open := range m.closed {
			rows = append(rows, []string{name, map[bool]string{true: "1", false: "0"}[open], "0"})
		}
		return rows, nil
	case strings.Contains(sql, "FROM sys.triggers"):
		if m.trapped {
			return [][]string{{"trap"}}, nil
		}
		return [][]string{}, nil
	case strings.Contains(sql, "sys.database_role_members"):
		return kinds("ROLE", m.databases["shop"][named()]), nil
	case strings.Contains(sql, "l.sid = u.sid"):
		rows := [][]string{}
		for name, u := range m.users {
			if login, ok := strings.CutPrefix(name, "shop/"); ok && strings.Contains(sql, "N''"+login+"''") {
				rows = append(rows, append([]string{login}, u...))
			}
		}
		return rows, nil
	}
	if strings.HasPrefix(sql, "SET LOCK_TIMEOUT ") {
		return nil, nil
	}
	m.applied = append(m.applied, sql)
	if inner, ok := strings.CutPrefix(sql, "SET XACT_ABORT ON; BEGIN TRANSACTION; "); ok {
		first, second, _ := strings.Cut(strings.TrimSuffix(inner, "; COMMIT TRANSACTION"), "; EXEC ")
		name, _, _ := strings.Cut(strings.TrimPrefix(first, "CREATE LOGIN ["), "]")
		if m.logins[name] != nil {
			return nil, tdsErr{15025, "The server principal '" + name + "' already exists."}
		}
		m.apply(first)
		sql = "EXEC " + second
	}
	m.apply(sql)
	return nil, nil
}

// kinds writes the names of roles in the format of the server's answer.
func kinds(kind string, rights [][]string) [][]string {
	rows := [][]string{}
	for _, r := range rights {
		if r = slices.Clone(r); r[0] != "" {
			r[0] = kind + " " + identifier(r[0])
		}
		rows = append(rows, r)
	}
	return rows
}

// apply applies a statement to the model.
func (m *model) apply(sql string) {
	name := func(after string) string {
		i := strings.LastIndex(sql, after)
		if i < 0 {
			return ""
		}
		rest := sql[i+len(after):]
		return rest[:strings.IndexByte(rest, ']')]
	}
	change := func(all map[string][][]string, user string, add bool, r []string) {
		all[user] = slices.DeleteFunc(all[user], func(h []string) bool { return h[0] == r[0] && h[2] == r[2] })
		if add {
			all[user] = append(all[user], r)
		}
	}
	rights := m.server
	inner := sql
	if i := strings.Index(sql, "sp_executesql N'"); i >= 0 {
		inner = strings.ReplaceAll(strings.TrimSuffix(sql[i+len("sp_executesql N'"):], "'"), "''", "'")
		if !strings.HasPrefix(sql, "EXEC [master]") {
			rights = m.databases["shop"]
		}
	}
	word, rest, _ := strings.Cut(inner, " ")
	switch {
	case strings.HasPrefix(inner, "CREATE LOGIN"):
		m.logins[name("LOGIN [")] = loginRow(name("LOGIN ["))
		m.server[name("LOGIN [")] = [][]string{{"", "G", "CONNECT SQL"}}
	case strings.HasPrefix(inner, "CREATE USER"):
		m.users["shop/"+name("FOR LOGIN [")] = []string{name("CREATE USER ["), name("DEFAULT_SCHEMA = [")}
		m.databases["shop"][name("CREATE USER [")] = [][]string{{"", "G", "CONNECT"}}
	case strings.Contains(inner, " ADD MEMBER "):
		change(rights, name("MEMBER ["), true, []string{name("ROLE ["), "", ""})
	case strings.Contains(inner, " DROP MEMBER "):
		change(rights, name("MEMBER ["), false, []string{name("ROLE ["), "", ""})
	case word == "GRANT" || word == "DENY":
		state := map[bool]string{true: "W", false: word[:1]}[strings.HasSuffix(inner, "WITH GRANT OPTION")]
		change(rights, name(" TO ["), true, []string{"", state, rest[:strings.LastIndex(rest, " TO [")]})
	case word == "REVOKE":
		change(rights, name(" FROM ["), false, []string{"", "", rest[:strings.LastIndex(rest, " FROM [")]})
	}
}

func newModel() *model {
	return &model{
		logins: map[string][]string{"app": loginRow("app"), "admin": loginRow("admin")},
		server: map[string][][]string{
			"app": {{"", "G", "CONNECT SQL"}, {"", "G", "VIEW SERVER STATE"}, {"reports", "", ""}}},
		databases: map[string]map[string][][]string{"shop": {"app": {
			{"", "G", "CONNECT"}, {"db_datareader", "", ""}, {"", "W", "SELECT ON OBJECT::[dbo].[o'r]]d]"},
			{"", "D", "UPDATE ON OBJECT::[dbo].[log]"}}}},
		users: map[string][]string{"shop/app": {"app", "dbo"}},
	}
}

func TestSecondLoginGetsAllRightsBeforeItsPassword(t *testing.T) {
	s, m := administered(t)
	s.logins["app_clone"] = "" // accepted once it is created
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	e := newEngine(t)
	want(t, "", e.DryRun(enginetest.Within(t), r))
	if len(m.applied) != 0 {
		t.Fatalf("the dry run changed something: %q", m.applied)
	}
	var log []string
	r.Report = func(_ slog.Level, text string) {
		log = append(log, strings.TrimPrefix(text, "changed at the target: "))
	}
	want(t, "", e.Set(enginetest.Within(t), r))
	if !strings.HasPrefix(m.applied[0],
		"SET XACT_ABORT ON; BEGIN TRANSACTION; CREATE LOGIN [app_clone] WITH PASSWORD = N'") ||
		strings.Contains(m.applied[0], new1) ||
		!strings.HasSuffix(m.applied[0],
			"; EXEC [master].sys.sp_executesql N'GRANT VIEW DEFINITION ON LOGIN::[app_clone] TO [app]'; COMMIT "+
				"TRANSACTION") {
		t.Errorf("first %q", m.applied[0])
	}
	wanted := []string{
		"EXEC [master].sys.sp_executesql N'GRANT VIEW SERVER STATE TO [app_clone]'",
		"EXEC [master].sys.sp_executesql N'ALTER SERVER ROLE [reports] ADD MEMBER [app_clone]'",
		"EXEC [shop].sys.sp_executesql N'CREATE USER [app_clone] FOR LOGIN [app_clone] WITH DEFAULT_SCHEMA = [dbo]'",
		"EXEC [shop].sys.sp_executesql N'ALTER ROLE [db_datareader] ADD MEMBER [app_clone]'",
		"EXEC [shop].sys.sp_executesql N'GRANT SELECT ON OBJECT::[dbo].[o''r]]d] TO [app_clone] WITH GRANT OPTION'",
		"EXEC [shop].sys.sp_executesql N'DENY UPDATE ON OBJECT::[dbo].[log] TO [app_clone]'",
		"ALTER LOGIN [app_clone] WITH PASSWORD = N'New]pass''word;2'",
	}
	if !slices.Equal(m.applied[1:], wanted) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(m.applied[1:], "\n"), strings.Join(wanted, "\n"))
	}
	made := []string{"EXEC [master].sys.sp_executesql N'GRANT VIEW DEFINITION ON LOGIN::[app_clone] TO [app]'",
		"the user app_clone is created, as the second user of app"}
	if !slices.Equal(log, append(made, wanted[:len(wanted)-1]...)) {
		t.Errorf("reported\n%s", strings.Join(log, "\n"))
	}
	// A repeated step only sets the password.
	m.applied, log = nil, nil
	want(t, "", e.Set(enginetest.Within(t), r))
	if !slices.Equal(m.applied, wanted[len(wanted)-1:]) {
		t.Errorf("a repeated step sent %q", m.applied)
	}
	if log != nil {
		t.Errorf("a repeated step reported %q", log)
	}
	// On the way back, the first user loses the right that the clone lost.
	m.applied = nil
	m.server["app_clone"] = slices.DeleteFunc(m.server["app_clone"], func(r []string) bool { return r[0] == "reports" })
	m.databases["shop"]["app_clone"] = slices.DeleteFunc(m.databases["shop"]["app_clone"],
		func(r []string) bool { return r[1] == "W" })
	s.logins["app"] = old
	r.Current, r.Pending = s.value("app_clone", new1, ""), s.value("app", "Third-password3", "")
	want(t, "", e.Set(enginetest.Within(t), r))
	wanted = []string{
		"EXEC [master].sys.sp_executesql N'ALTER SERVER ROLE [reports] DROP MEMBER [app]'",
		"EXEC [shop].sys.sp_executesql N'REVOKE SELECT ON OBJECT::[dbo].[o''r]]d] FROM [app] CASCADE'",
		"ALTER LOGIN [app] WITH PASSWORD = N'Third-password3'",
	}
	if !slices.Equal(m.applied, wanted) {
		t.Errorf("on the way back sent\n%s\nwant\n%s", strings.Join(m.applied, "\n"), strings.Join(wanted, "\n"))
	}
	if !slices.Equal(log, wanted[:len(wanted)-1]) {
		t.Errorf("on the way back reported\n%s", strings.Join(log, "\n"))
	}
}

// Two functions that create the second login concurrently have one outcome; a stranger's login that appears in the
// meantime is refused.
func TestLoginIsCreatedConcurrently(t *testing.T) {
	for name, stranger := range map[string]bool{"by the other call": false, "by a stranger": true} {
		s := newTDS(t, true)
		m := newModel()
		s.logins["admin"] = "Admin-password1"
		s.answer = func(sql string) ([][]string, error) {
			if !strings.Contains(sql, "CREATE LOGIN") {
				return m.answer(sql)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			s.mu.Lock()
			defer s.mu.Unlock()
			m.logins["app_clone"], s.logins["app_clone"] = loginRow("app_clone"), "The-other-call's1"
			if !stranger {
				m.server["app"] = append(m.server["app"], []string{"", "G", "VIEW DEFINITION ON LOGIN::[app_clone]"})
			}
			return nil, tdsErr{15025, "The server principal 'app_clone' already exists."}
		}
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
			Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
		err := newEngine(t).Set(enginetest.Within(t), r)
		if stranger {
			want(t, engine.TakeoverRefused, err)
		} else {
			want(t, "", err)
		}
		if (s.logins["app_clone"] == new1) == stranger {
			t.Errorf("%s: the password was set: %t", name, !stranger)
		}
	}
}

// A database that the first login can open but the superuser cannot is reported.
func TestDatabaseThatTheSuperuserCannotOpen(t *testing.T) {
	s := newTDS(t, true)
	m := newModel()
	m.closed = map[string]bool{"archive": false, "offline": false}
	s.logins["app"], s.logins["admin"] = old, "Admin-password1"
	s.answer = m.answer
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	var log []string
	r.Report = func(level slog.Level, text string) {
		if level == slog.LevelWarn {
			log = append(log, text)
		}
	}
	want(t, "", newEngine(t).DryRun(enginetest.Within(t), r))
	if len(log) != 1 || !strings.Contains(log[0], "archive") {
		t.Errorf("reported %q", log)
	}
	// The first login can open neither: nothing is missed.
	r.Proofs, log = []engine.Value{r.Current}, nil
	want(t, "", newEngine(t).DryRun(enginetest.Within(t), r))
	s.answer = func(sql string) ([][]string, error) {
		if strings.Contains(sql, "HAS_DBACCESS(name) = 1") { // by the first login
			return [][]string{{"archive"}, {"shop"}}, nil
		}
		return m.answer(sql)
	}
	for _, do := range []func(context.Context, *engine.Request) error{newEngine(t).DryRun, newEngine(t).Set} {
		err := do(enginetest.Within(t), r)
		want(t, engine.PrivilegeMissing, err)
		if err == nil || !strings.Contains(err.Error(),
			`the login "app" can open the database "archive", but the superuser "admin" cannot`) {
			t.Error(err)
		}
	}
	if s.logins["app_clone"] == new1 || log != nil {
		t.Errorf("the password was set anyway, or %q", log)
	}
	// A database has one owner.
	m.closed, s.answer = nil, m.answer
	m.users["shop/app"][0] = "dbo"
	want(t, engine.PrivilegeMissing, newEngine(t).DryRun(enginetest.Within(t), r))
	m.users["shop/app"][0] = "app"
	// No user can be created in a read-only database.
	m.closed, m.readOnly, s.answer = nil, true, m.answer
	delete(m.logins, "app_clone")
	want(t, engine.PrivilegeMissing, newEngine(t).DryRun(enginetest.Within(t), r))
}

// The server ends a frozen function's wait, and a lock is reported as a lock.
func TestServerBoundsWaitsForLocks(t *testing.T) {
	s := newTDS(t, true)
	s.logins["app"] = old
	logins := onlyLogins(loginRow("app"))
	s.answer = func(sql string) ([][]string, error) {
		if strings.HasPrefix(sql, "ALTER LOGIN") {
			return nil, tdsErr{1222, "Lock request time out period exceeded."}
		}
		return logins(sql)
	}
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value("app", old, ""),
		Pending: s.value("app", new1, ""), Login: s.value("app", old, "")}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	want(t, engine.Locked, newEngine(t).Set(ctx, r))
	var ms int
	if n, err := fmt.Sscanf(s.sent()[0], "SET LOCK_TIMEOUT %d", &ms); n != 1 || err != nil || ms < 1000 || ms > 5000 {
		t.Errorf("the limit is %d ms, %v", ms, err)
	}
}

func TestOtherLoginsAreNotChanged(t *testing.T) {
	s, m := administered(t)
	m.logins["app_clone"] = loginRow("app_clone")
	sysadmin := loginRow("boss")
	sysadmin[2] = "an administrator"
	m.logins["boss"], m.logins["boss_clone"], m.logins["admin_clone"] = sysadmin, loginRow("boss_clone"),
		loginRow("admin_clone")
	m.logins["Admin"], m.logins["ADMIN"] = sysadmin, sysadmin // most collations ignore case: they are the superuser
	for current, other := range map[string]string{"app": "app_clone", "boss": "boss_clone", "boss_clone": "boss",
		"admin": "admin_clone", "admin_clone": "ADMIN"} {
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value(current, old, ""),
			Pending: s.value(other, new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
		if current != "app" {
			r.Proofs = []engine.Value{r.Current, r.Pending}
		}
		want(t, engine.TakeoverRefused, newEngine(t).DryRun(enginetest.Within(t), r))
		want(t, engine.TakeoverRefused, newEngine(t).Set(enginetest.Within(t), r))
	}
	for _, user := range []string{"boss", "admin", "Admin"} {
		r := &engine.Request{Strategy: engine.SingleUser, Current: s.value(user, old, ""),
			Pending: s.value(user, new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
		want(t, engine.TakeoverRefused, newEngine(t).DryRun(enginetest.Within(t), r))
		want(t, engine.TakeoverRefused, newEngine(t).Set(enginetest.Within(t), r))
	}
	if len(m.applied) != 0 {
		t.Errorf("sent %q", m.applied)
	}
}

// A user that may create triggers in a database could run them as the superuser.
func TestTriggerThatWouldRunAsTheSuperuserIsRefused(t *testing.T) {
	s := newTDS(t, true)
	m := newModel()
	m.trapped = true
	s.logins["admin"], s.logins["app_clone"] = "Admin-password1", ""
	s.answer = m.answer
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	for _, do := range []func(context.Context, *engine.Request) error{newEngine(t).DryRun, newEngine(t).Set} {
		err := do(enginetest.Within(t), r)
		want(t, engine.TargetFailed, err)
		if err == nil || !strings.Contains(err.Error(), "EXECUTE AS") || strings.Contains(err.Error(), "SELECT") {
			t.Errorf("the error is %v", err)
		}
	}
	for _, a := range m.applied {
		if strings.HasPrefix(a, "EXEC [shop]") {
			t.Errorf("sent %q", a)
		}
	}
	if s.logins["app_clone"] == new1 {
		t.Error("the password was set anyway")
	}
}

// A contained user hides a login of the same name, which is another user.
func TestSuperuserDoesNotChangeAContainedUser(t *testing.T) {
	for _, hidden := range []string{"app", "app_clone"} {
		s := newTDS(t, true)
		m := newModel()
		m.logins["app_clone"] = loginRow("app_clone")
		s.logins["admin"] = "Admin-password1"
		s.answer = func(sql string) ([][]string, error) {
			if strings.Contains(sql, "authentication_type = 2") && strings.Contains(sql, text(hidden)) {
				return [][]string{{hidden}}, nil
			}
			return m.answer(sql)
		}
		more := `,"dbname":"shop"`
		r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, more),
			Pending: s.value("app_clone", new1, more), Login: s.value("admin", "Admin-password1", more),
			Superuser: true}
		enginetest.WantCause(t, newEngine(t).DryRun(enginetest.Within(t), r), engine.InvalidSecret, "remove masterarn")
		want(t, engine.InvalidSecret, newEngine(t).Set(enginetest.Within(t), r))
		r.Strategy, r.Current, r.Pending = engine.SingleUser, s.value(hidden, old, more), s.value(hidden, new1, more)
		want(t, engine.InvalidSecret, newEngine(t).Set(enginetest.Within(t), r))
		if len(m.applied) > 0 {
			t.Errorf("sent %q", m.applied)
		}
	}
}

// A member of a role that is a member of securityadmin is a member itself.
func TestAdministratorByARoleOfARole(t *testing.T) {
	s := newTDS(t, true)
	s.logins["admin"] = "Admin-password1"
	s.answer = onlyLogins(loginRow("app"))
	r := &engine.Request{Strategy: engine.SingleUser, Current: s.value("app", old, ""),
		Pending: s.value("app", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	want(t, "", newEngine(t).DryRun(enginetest.Within(t), r))
	all := strings.Join(s.sent(), "\n")
	for _, words := range []string{"UNION ALL SELECT m.role_principal_id FROM sys.server_role_members m JOIN held h",
		"(N'sysadmin', N'securityadmin', N'processadmin', N'setupadmin', N'##MS_LoginManager##')",
		"(N'CONTROL SERVER', N'ALTER ANY LOGIN', N'IMPERSONATE ANY LOGIN')"} {
		if !strings.Contains(all, words) {
			t.Errorf("no query has %q", words)
		}
	}
}

func TestRightThatNoStatementExpressesStopsTheRotation(t *testing.T) {
	s, m := administered(t)
	s.logins["app_clone"] = ""
	m.databases["shop"]["app"] = append(m.databases["shop"]["app"], []string{"", "G", "EXECUTE?NEW_CLASS 7"})
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	// It lacks the right, is denied it, or has it on another object.
	for _, other := range [][]string{nil, {"", "D", "EXECUTE?NEW_CLASS 7"}, {"", "G", "EXECUTE?NEW_CLASS 8"}} {
		if other != nil {
			m.databases["shop"]["app_clone"] = [][]string{{"", "G", "CONNECT"}, other}
		}
		want(t, engine.PrivilegeMissing, newEngine(t).Set(enginetest.Within(t), r))
	}
	if s.logins["app_clone"] == new1 {
		t.Error("the password was set anyway")
	}
}

// A question mark marks a right that no statement can express, but can also be part of a name.
func TestRightOnANameWithAQuestionMarkIsCopied(t *testing.T) {
	s, m := administered(t)
	s.logins["app_clone"] = ""
	right := []string{"", "G", "SELECT ON OBJECT::[dbo].[really?]"}
	m.databases["shop"]["app"] = append(m.databases["shop"]["app"], right)
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	want(t, "", newEngine(t).Set(enginetest.Within(t), r))
	if got := m.databases["shop"]["app_clone"]; !slices.ContainsFunc(got, func(r []string) bool {
		return slices.Equal(r, right)
	}) {
		t.Errorf("app_clone has %q", got)
	}
}

func TestMalformedValueIsRefused(t *testing.T) {
	for _, v := range []string{`{"host":"h","username":"DOM\\app","password":"p"}`,
		`{"host":"h","username":"app","password":"a\nb"}`,
		`{"host":"h","username":"app","password":"` + strings.Repeat("x", 129) + `"}`,
		`{"host":"h","username":"` + strings.Repeat("x", 129) + `","password":"p"}`,
		`{"host":"h","username":"app","password":"p","dbname":"a\tb"}`, `{}`} {
		_, err := New(engine.TLSPolicy{}).Parse(engine.StringValue(v))
		want(t, engine.InvalidSecret, err)
	}
	target, err := New(engine.TLSPolicy{}).Parse(engine.StringValue(`{"host":"h","username":"app","password":"` +
		strings.Repeat("ü", 128) + `","dbname":null}`))
	if err != nil || target.Port != 1433 || target.Database != "master" {
		t.Errorf("%v, %v", target, err)
	}
}

func TestSilentServerDoesNotBlock(t *testing.T) {
	port := testserver.Blackhole(t)
	for _, ssl := range []string{"true", "false"} {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := newEngine(t).Verify(ctx, &engine.Request{},
			engine.StringValue(fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"username":"u","password":"p","ssl":%s}`,
				port, ssl)))
		want(t, engine.Unreachable, err)
		if d := time.Since(start); d > 450*time.Millisecond {
			t.Errorf("the call took %s", d)
		}
	}
	// The outcome is the same if the server stops answering in the middle of a query.
	s := newTDS(t, true)
	s.logins["app"] = old
	release := make(chan struct{})
	defer close(release)
	s.answer = func(string) ([][]string, error) { <-release; return nil, nil }
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	v := s.value("app", old, "")
	want(t, engine.Unreachable, newEngine(t).Set(ctx, &engine.Request{Current: v, Pending: v, Login: v}))
	if d := time.Since(start); d > 700*time.Millisecond {
		t.Errorf("the call took %s", d)
	}
}

func FuzzNamesAndPasswordsArriveUnchanged(f *testing.F) {
	for _, s := range []string{"a", "it's", "]", "[x]", "'; DROP LOGIN sa --", `\`, `\'`, "%", " TO ", "ü😀", `"`,
		"N'", " OLD_PASSWORD = N'"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, name, password, before string) {
		v := engine.StringValue(`{"host":"h"}`).With("username", name).With("password", password).With("dbname", before)
		target, err := New(engine.TLSPolicy{}).Parse(v)
		if err != nil || !utf8.ValidString(name+password+before) || before == "" {
			return // refused with an error, or JSON cannot hold it
		}
		got, err := parseAlter("ALTER LOGIN " + identifier(target.User) + " WITH PASSWORD = " + text(target.Password) +
			" OLD_PASSWORD = " + text(target.Database))
		if err != nil || got != (alteration{target.User, target.Password, target.Database}) {
			t.Fatalf("%+v, %v, want %q %q %q", got, err, target.User, target.Password, target.Database)
		}
	})
}
