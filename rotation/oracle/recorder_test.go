package oracle

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sijms/go-ora/v2/network"

	"example.com/rotator/rotation/engine"
)

// recorder replaces the driver, because Oracle cannot run here: it checks logins, records statements, executes those
// on users and their rights, and answers the engine's queries about them. It knows no other SQL.
type recorder struct {
	mu       sync.Mutex
	users    map[string]*oracleUser // by stored name
	refusal  map[string]int         // the error numbers of logins that fail
	fails    map[string]int         // the error numbers of statements by their beginning
	sent     []string
	limits   []string // of waits for locks, in seconds
	strict   bool     // statements require the privileges in Oracle's manual
	rollover bool     // profiles have a PASSWORD_ROLLOVER_TIME
	history  bool     // profiles have a password history
	proxies  [][2]string
	logins   int
	before   func(statement string) // called before each statement
}

type oracleUser struct {
	password, old, status, tablespace, profile string
	maintained                                 bool
	owner                                      bool // of objects
	passwordless                               bool // NO AUTHENTICATION
	used                                       []string
	roles, system, objects, columns, quotas    [][]string
}

func newRecorder() *recorder {
	return &recorder{users: map[string]*oracleUser{}, refusal: map[string]int{}, fails: map[string]int{}}
}

func (r *recorder) engine() *Engine {
	e := New(engine.TLSPolicy{})
	e.open = func(_ context.Context, t engine.Target, _ bool, _ *tls.Config) (driver.Conn, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.logins++
		name := canonical(t.User)
		u := r.users[name]
		if c := r.refusal[name]; c != 0 {
			return nil, &network.OracleError{ErrCode: c}
		}
		if u == nil || u.passwordless || t.Password != u.password && (u.old == "" || t.Password != u.old) {
			return nil, &network.OracleError{ErrCode: 1017}
		}
		if strings.Contains(u.status, "LOCKED") {
			return nil, &network.OracleError{ErrCode: 28000}
		}
		return &recordedConn{r, name}, nil
	}
	return e
}

// rights returns a user's rights as the engine's query does.
func (u *oracleUser) rights(owners ...string) (rows [][]string) {
	option := func(value, word string) string {
		return map[string]string{"YES": " WITH " + word + " OPTION"}[value]
	}
	for _, r := range u.roles {
		rows = append(rows, []string{quoted(r[0]), "", "", option(r[1], "ADMIN") + option(r[2], "DELEGATE")})
	}
	for _, r := range u.system {
		rows = append(rows, []string{r[0], "", "", option(r[1], "ADMIN")})
	}
	for _, r := range u.objects {
		on := " ON " + quoted(r[1]) + "." + quoted(r[2])
		if r[3] == "DIRECTORY" {
			on = " ON DIRECTORY " + quoted(r[2])
		}
		if !slices.Contains(owners, r[1]) {
			rows = append(rows, []string{r[0], "", on, option(r[5], "HIERARCHY") + option(r[4], "GRANT")})
		}
	}
	for _, r := range u.columns {
		if !slices.Contains(owners, r[1]) {
			rows = append(rows, []string{r[0], " (" + quoted(r[3]) + ")", " ON " + quoted(r[1]) + "." + quoted(r[2]),
				option(r[4], "GRANT")})
		}
	}
	return rows
}

// changes returns the statements so far and forgets them.
func (r *recorder) changes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sent
	r.sent = nil
	return s
}

type recordedConn struct {
	*recorder
	user string
}

func (c *recordedConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c *recordedConn) Close() error                        { return nil }
func (c *recordedConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }

type recordedRows struct {
	columns int
	rows    [][]string
}

func (r *recordedRows) Columns() []string { return make([]string, r.columns) }
func (r *recordedRows) Close() error      { return nil }
func (r *recordedRows) Next(into []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	for i, v := range r.rows[0] {
		if into[i] = v; v == "" {
			into[i] = nil // as in Oracle
		}
	}
	r.rows = r.rows[1:]
	return nil
}

func (c *recordedConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	arg := func(i int) string {
		if i < len(args) {
			return fmt.Sprint(args[i].Value)
		}
		return ""
	}
	if strings.Contains(query, " dba_") || strings.Contains(query, " proxy_users") {
		if err := c.may("SELECT_CATALOG_ROLE", 942); err != nil {
			return nil, err
		}
	}
	u := c.users[arg(0)]
	if u == nil {
		u = &oracleUser{}
	}
	columns := strings.Count(query[:strings.Index(strings.ToUpper(query), " FROM ")], ",") + 1
	var rows [][]string
	switch {
	case strings.Contains(query, "FROM session_privs"):
		for _, p := range c.users[c.user].system {
			rows = append(rows, p[:1])
		}
	case strings.Contains(query, "authentication_type = 'NONE'"):
		through := strings.Contains(query, "proxy_users WHERE client = u.username") &&
			slices.ContainsFunc(c.proxies, func(p [2]string) bool { return p[1] == arg(0) })
		onColumns := strings.Contains(query, "dba_col_privs WHERE grantee = u.username") && u.columns != nil
		if len(u.roles)+len(u.system)+len(u.objects) == 0 && u.passwordless && !u.owner && !through && !onColumns {
			rows = [][]string{{arg(0)}}
		}
		columns = 1
	case strings.Contains(query, "FROM dba_users"):
		columns = 4
		if c.users[arg(0)] != nil {
			rows = [][]string{{arg(0), u.status,
				fmt.Sprintf("DEFAULT TABLESPACE %q TEMPORARY TABLESPACE \"TEMP\" PROFILE %q", u.tablespace, u.profile),
				map[bool]string{true: "Y", false: "N"}[u.maintained]}}
		}
	case strings.Contains(query, "granted_role = 'DBA'"):
		// Roles are stored like users.
		holders := []*oracleUser{u}
		for i := 0; i < len(holders); i++ {
			for _, r := range holders[i].roles {
				if r[0] == "DBA" {
					rows = append(rows, r[:1])
				}
				if role := c.users[r[0]]; role != nil &&
					strings.Contains(query, "CONNECT BY NOCYCLE PRIOR granted_role = grantee") {
					holders = append(holders, role)
				}
			}
			for _, r := range holders[i].system {
				if strings.Contains(query, "'"+r[0]+"'") {
					rows = append(rows, r[:1])
				}
			}
		}
	case strings.Contains(query, "default_role = 'YES'"):
		for _, r := range u.roles {
			if r[3] == "YES" {
				rows = append(rows, r[:1])
			}
		}
	case strings.Contains(query, "hierarchy"):
		rows, columns = u.rights(arg(3), arg(4)), 4
	case strings.Contains(query, "FROM dba_ts_quotas"):
		columns = 2
		for _, q := range u.quotas {
			if q[1] != "0" {
				rows = append(rows, []string{" ON " + quoted(q[0]), strings.Replace(q[1], "-1", "UNLIMITED", 1)})
			}
		}
	case strings.Contains(query, "FROM proxy_users"):
		for _, p := range c.proxies {
			if p == [2]string{arg(0), arg(1)} || p == [2]string{arg(2), arg(3)} {
				rows = append(rows, []string{p[1]})
			}
		}
	default:
		return nil, &network.OracleError{ErrCode: 942}
	}
	return &recordedRows{columns, slices.Clone(rows)}, nil
}

var (
	created = regexp.MustCompile(`^CREATE USER "([^"]+)" NO AUTHENTICATION DEFAULT TABLESPACE "([^"]+)" ` +
		`TEMPORARY TABLESPACE "TEMP" PROFILE "([^"]+)"$`)
	identified = regexp.MustCompile(`^ALTER USER "([^"]+)" IDENTIFIED BY "([^"]+)"(?: REPLACE "([^"]+)")?(.*)$`)
	granted    = regexp.MustCompile(`^(GRANT|REVOKE) (.+) (?:TO|FROM) "([^"]+)"(.*)$`)
	quotedName = regexp.MustCompile(`"([^"]+)"`)
)

func (c *recordedConn) ExecContext(_ context.Context, statement string, args []driver.NamedValue) (driver.Result,
	error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit, ok := strings.CutPrefix(statement, "ALTER SESSION SET DDL_LOCK_TIMEOUT = "); ok {
		c.limits = append(c.limits, limit)
		return driver.ResultNoRows, nil
	}
	c.sent = append(c.sent, statement)
	if c.before != nil {
		c.before(statement)
	}
	for beginning, number := range c.fails {
		if strings.HasPrefix(statement, beginning) {
			return nil, &network.OracleError{ErrCode: number}
		}
	}
	if err := c.allows(statement); err != nil {
		return nil, err
	}
	if m := created.FindStringSubmatch(statement); m != nil {
		if c.users[m[1]] != nil {
			return nil, &network.OracleError{ErrCode: 1920}
		}
		c.users[m[1]] = &oracleUser{status: "OPEN", tablespace: m[2], profile: m[3], passwordless: true}
		return driver.ResultNoRows, nil
	}
	if m := identified.FindStringSubmatch(statement); m != nil {
		return driver.ResultNoRows, c.identify(m[1], m[2], m[3], m[4])
	}
	if m := granted.FindStringSubmatch(statement); m != nil && c.users[m[3]] != nil {
		c.grant(m[1] == "GRANT", m[2], c.users[m[3]], m[4])
		return driver.ResultNoRows, nil
	}
	names := quotedName.FindAllStringSubmatch(statement, -1)
	if len(names) == 0 || c.users[names[0][1]] == nil || !strings.HasPrefix(statement, "ALTER USER ") {
		return nil, &network.OracleError{ErrCode: 900}
	}
	u := c.users[names[0][1]]
	switch {
	case strings.Contains(statement, " QUOTA "):
		size, _, _ := strings.Cut(statement[strings.Index(statement, " QUOTA ")+len(" QUOTA "):], " ON ")
		u.quotas = append(slices.DeleteFunc(u.quotas, func(q []string) bool { return q[0] == names[1][1] }),
			[]string{names[1][1], strings.Replace(size, "UNLIMITED", "-1", 1)})
	case strings.Contains(statement, " GRANT CONNECT THROUGH "):
		c.proxies = append(c.proxies, [2]string{names[1][1], names[0][1]})
	case strings.Contains(statement, " DEFAULT ROLE "):
		for _, r := range u.roles {
			r[3] = "NO"
			for _, n := range names[1:] {
				if n[1] == r[0] {
					r[3] = "YES"
				}
			}
		}
	}
	return driver.ResultNoRows, nil
}

// may returns Oracle's error for a missing privilege, if the recorder is strict.
func (c *recordedConn) may(privilege string, number int) error {
	has := func(p []string) bool { return p[0] == privilege }
	if u := c.users[c.user]; !c.strict || slices.ContainsFunc(u.system, has) || slices.ContainsFunc(u.roles, has) {
		return nil
	}
	return &network.OracleError{ErrCode: number}
}

// allows checks the privileges that a statement requires.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html, ALTER-USER.html
// and CREATE-USER.html
func (c *recordedConn) allows(statement string) error {
	m := granted.FindStringSubmatch(statement)
	switch {
	case strings.HasPrefix(statement, "CREATE USER "):
		return c.may("CREATE USER", 1031)
	case strings.HasPrefix(statement, `ALTER USER "`+c.user+`" `):
		return nil
	case strings.HasPrefix(statement, "ALTER USER "):
		return c.may("ALTER USER", 1031)
	case m == nil:
		return nil
	case strings.Contains(m[2], " ON "):
		return c.may("GRANT ANY OBJECT PRIVILEGE", 1031)
	case strings.HasPrefix(m[2], `"`):
		return c.may("GRANT ANY ROLE", 1932)
	}
	return c.may("GRANT ANY PRIVILEGE", 1031)
}

func (c *recordedConn) identify(name, password, old, more string) error {
	u := c.users[name]
	switch {
	case u == nil:
		return &network.OracleError{ErrCode: 1918}
	case name == c.user && old == "":
		return &network.OracleError{ErrCode: 28221}
	case name == c.user && old != u.password && old != u.old:
		return &network.OracleError{ErrCode: 28008}
	}
	if c.history && slices.Contains(u.used, password) {
		return &network.OracleError{ErrCode: 28007}
	}
	if c.rollover && u.password != "" {
		if u.old == "" {
			u.old = u.password
		}
		u.status = "OPEN & IN ROLLOVER"
	}
	u.password, u.used, u.passwordless = password, append(u.used, password), false
	if strings.Contains(more, "ACCOUNT LOCK") {
		u.status = "LOCKED"
	}
	if strings.Contains(more, "ACCOUNT UNLOCK") {
		u.status = "OPEN"
	}
	return nil
}

// grant executes GRANT and REVOKE of roles, system privileges, and rights on tables and columns.
func (c *recordedConn) grant(give bool, what string, u *oracleUser, option string) {
	flag := func(word string) string {
		return map[bool]string{true: "YES", false: "NO"}[strings.Contains(option, word)]
	}
	names := quotedName.FindAllStringSubmatch(what, -1)
	set := func(rows [][]string, row []string, keys int) [][]string {
		rows = slices.DeleteFunc(rows, func(r []string) bool { return slices.Equal(r[:keys], row[:keys]) })
		if give {
			rows = append(rows, row)
		}
		return rows
	}
	privilege, _, _ := strings.Cut(what, " ")
	switch {
	case strings.Contains(what, "(") && give:
		u.columns = set(u.columns, []string{privilege, names[1][1], names[2][1], names[0][1], flag("GRANT")}, 4)
	case strings.Contains(what, " ON DIRECTORY "):
		u.objects = set(u.objects, []string{privilege, "SYS", names[0][1], "DIRECTORY",
			flag("GRANT"), flag("HIERARCHY")}, 3)
	case strings.Contains(what, " ON "):
		if !give {
			u.columns = slices.DeleteFunc(u.columns,
				func(r []string) bool { return r[0] == privilege && r[1] == names[0][1] && r[2] == names[1][1] })
		}
		u.objects = set(u.objects, []string{privilege, names[0][1], names[1][1], "TABLE",
			flag("GRANT"), flag("HIERARCHY")}, 3)
	case len(names) == 1:
		u.roles = set(u.roles, []string{names[0][1], flag("ADMIN"), flag("DELEGATE"), "YES"}, 1)
	default:
		u.system = set(u.system, []string{what, flag("ADMIN")}, 1)
	}
}
