package redshift

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/pair"
)

// begin makes every transaction use only the server's own functions, tables and views: the superuser must not run
// others with their names, which the database's owner can create and put first in the search path. Redshift's system
// views are in pg_catalog. Redshift has no lock_timeout, so the statement timeout ends the wait for a lock in time to
// report it.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_search_path.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SET.html (LOCAL),
// https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html
const begin = "SET LOCAL search_path TO pg_catalog; SET LOCAL statement_timeout TO 5000"

func (e *Engine) connect(ctx context.Context, v engine.Value) (*pgsession.Session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return pgsession.Dial(ctx, e.tls, t, begin)
}

// change makes the change as r.Login. A rehearsal sets an unknown password and is rolled back.
func (e *Engine) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parse(r.Pending)
	if err != nil {
		return err
	}
	if err := policy(pending.Password); err != nil {
		return err
	}
	current, err := parse(r.Current)
	if err != nil {
		return err
	}
	s, err := e.connect(ctx, r.Login)
	if err != nil {
		return err
	}
	defer s.Close()
	password := pending.Password
	if rehearsal {
		password = rand.Text()
	}
	return s.Transaction(ctx, r, rehearsal, func(w *pgsession.Work) error {
		t := &target{w, r, rehearsal, password}
		if !r.Superuser {
			return t.ownPassword(ctx)
		}
		return pair.Apply(ctx, t, pair.Change{Kind: e.Kind(), Request: w.Request, Superuser: s.Target.User, Current: current.User, Pending: pending.User})
	})
}

// ownPassword changes the logged-in user's password. Redshift folds names, and the digest needs the stored name.
func (t *target) ownPassword(ctx context.Context) error {
	named, err := t.Text(ctx, "the user's name could not be read", "SELECT current_user")
	if err != nil {
		return err
	}
	return t.SetPassword(ctx, &user{name: named})
}

// SetPassword stores a digest, which needs no quoting. The server cannot build the statement, so errors must omit it.
func (t *target) SetPassword(ctx context.Context, u *user) error {
	err := t.Exec(ctx, "ALTER USER "+name(u.name)+" PASSWORD '"+digest(t.password, u.name)+"'")
	return t.Classify("the password of "+name(u.name)+" could not be changed", err)
}

// digest returns what Redshift stores for a password given as text. The user's name is the salt, so a repeated step
// stores the same bytes. Redshift also accepts 'sha256|digest|salt', but then asks for the password with its own
// message, authentication type 13, which libpq and other drivers of PostgreSQL's protocol refuse. That format would
// lock out clients that worked before.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html
func digest(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// exec runs a statement without a password and reports it.
func (t *target) exec(ctx context.Context, statement string) error {
	err := t.Exec(ctx, statement)
	if err == nil {
		t.Request.Changed(statement)
	}
	return t.Classify(statement, err)
}

func name(s string) string { return pgsession.Quote(s) }

// text quotes a string. The meaning of a backslash depends on standard_conforming_strings, so E'…' fixes it.
func text(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}
