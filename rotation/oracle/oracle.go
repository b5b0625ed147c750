// Package oracle rotates passwords of Oracle Database users.
//
// ALTER USER accepts no hash in a current format, so the server, whose audit omits passwords, receives the password.
package oracle

import (
	"context"
	"strings"
	"time"
	"unicode"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Oracle Database 18c and later.
type Engine struct {
	tls  engine.TLSPolicy
	open opener
}

// New returns the engine with the given policy for its connections.
func New(tls engine.TLSPolicy) *Engine { return &Engine{tls, open} }

// Kind describes the engine, with the names and defaults of AWS's templates and RDS's names.
//
// It is OneAtATime because PASSWORD_ROLLOVER_TIME ends even if the rotation is abandoned after setSecret.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"oracle", "oracle-*", "custom-oracle-*"},
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 30, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
		CloneSuffix:  "_CLONE",
		CloneLimit:   30, // as in AWS's template; servers allow 128, which USERNAME_CHARACTER_LIMIT can set
	}
}

// parse reads a login and checks what only Oracle requires.
func parse(v engine.Value) (engine.Target, error) {
	t, err := engine.ParseTarget(v, 1521, "")
	if err != nil {
		return t, err
	}
	var fault string
	switch name := canonical(t.User); {
	case t.Database == "":
		fault = "dbname is missing"
	case strings.ContainsFunc(t.Database, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-$#", r)
	}):
		// It becomes part of a connect descriptor, where parentheses have a meaning.
		fault = "dbname is neither a service name nor a SID"
	case strings.ContainsRune(name, '"') || strings.ContainsFunc(name, unicode.IsControl) || len(name) > 128:
		fault = "the user name is not valid in Oracle"
	case name == "SYS":
		fault = "SYS cannot log in without SYSDBA"
	case strings.ContainsRune(t.Password, '"') || strings.ContainsFunc(t.Password, unicode.IsControl):
		fault = "the password has a double quotation mark or a control character, which Oracle does not allow"
	default:
		return t, nil
	}
	return t, engine.Errorf(engine.InvalidSecret, "correct the secret's value; the engine's page describes it",
		"the secret's value is not a valid login: %s", fault)
}

// canonical returns a user's name as the server stores it: in upper case, unless in double quotation marks.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/Database-Object-Names-and-Qualifiers.html
func canonical(user string) string {
	if n := len(user); n > 2 && user[0] == '"' && user[n-1] == '"' {
		return user[1 : n-1]
	}
	return strings.ToUpper(user)
}

// quoted quotes a name or a password, neither of which can contain a double quotation mark.
func quoted(s string) string { return `"` + s + `"` }

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if p := r.Passwords; !p.ExcludePunctuation && !strings.Contains(p.ExcludeCharacters, `"`) {
		return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, `add " to EXCLUDE_CHARACTERS`,
			"Oracle allows no double quotation mark in passwords")
	}
	return pair.Next(e.Kind(), r, parse)
}

// DryRun logs in and checks that the change is allowed. A statement that could check more cannot be undone.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending password valid. With a PASSWORD_ROLLOVER_TIME, the current one also stays valid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

// Verify logs in and runs a query. Every user may change its own password.
func (e *Engine) Verify(ctx context.Context, _ *engine.Request, v engine.Value) error {
	s, err := e.connect(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Texts(ctx, "the query failed", "SELECT 'x' FROM dual")
	return err
}

// Retire ends the rollover period of the old password, if there is one.
// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/dbseg/configuring-authentication.html
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	view := "user_users"
	if r.Superuser {
		view = "dba_users"
	}
	name := canonical(pending.User)
	rows, err := s.Texts(ctx, "the account's status could not be read",
		"SELECT account_status FROM "+view+" WHERE username = :1", name)
	if err != nil || len(rows) != 1 || !strings.Contains(rows[0][0], "IN ROLLOVER") {
		return err
	}
	return s.Exec(ctx, "ALTER USER "+quoted(name)+" EXPIRE PASSWORD ROLLOVER PERIOD")
}

func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	// Source: https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DDL_LOCK_TIMEOUT.html
	if err := s.Bound(ctx, "ALTER SESSION SET DDL_LOCK_TIMEOUT = ", time.Second); err != nil {
		return err
	}
	if r.Superuser {
		current, _ := r.Current.Text("username")
		return pair.Apply(ctx, target{s, r, pending},
			pair.Change{Kind: e.Kind(), Request: r, Superuser: canonical(s.Target.User), Current: canonical(current),
				Pending: canonical(pending.User), Rehearsal: rehearsal})
	}
	if rehearsal || s.Target.Password == pending.Password {
		// An earlier attempt made the change. A profile with a password history would reject it now.
		return nil
	}
	return s.setPassword(ctx, pending, " REPLACE "+quoted(s.Target.Password))
}

// setPassword sets the pending user's password; more ends the statement, which appears in no error. A password verify
// function raises any number from 20000 to 20999, like a logon trigger.
func (s *session) setPassword(ctx context.Context, pending engine.Target, more string) error {
	name := quoted(canonical(pending.User))
	what := "the password of " + name + " could not be changed"
	_, err := s.Conn.ExecContext(ctx, "ALTER USER "+name+" IDENTIFIED BY "+quoted(pending.Password)+more)
	if c := code(err); c >= 20000 && c <= 20999 {
		return engine.Errorf(engine.PolicyRejected, advicePolicy, "%s: %w", what, err)
	}
	return s.Classify(ctx, what, err)
}
