package redshift

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/jackc/pgx/v5"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/pair"
)

// begin has every transaction use the server's own functions, tables and views alone: others of their names,
// which the database's owner can create and put first in the search path, must not be run by the superuser.
// Redshift's system views are in pg_catalog. Redshift has no lock_timeout, so the limit of a statement ends
// the wait for a lock while there is time left to report it.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_search_path.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SET.html (LOCAL),
// https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html
const begin = "SET LOCAL search_path TO pg_catalog; SET LOCAL statement_timeout TO 5000"

// connect logs in.
func (e *Engine) connect(ctx context.Context, v engine.Value) (*pgsession.Session, error) {
	t, err := parse(v)
	if err != nil {
		return nil, err
	}
	return pgsession.Dial(ctx, e.tls, t, begin)
}

// change makes the change as r.Login. A rehearsal, which is not kept, sets a password that nobody knows.
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

// ownPassword changes the password of the user that is logged in. Redshift folds names to lower case, and the
// digest needs the name as it is stored.
func (t *target) ownPassword(ctx context.Context) error {
	var u user
	if err := t.Tx.QueryRow(ctx, "SELECT current_user").Scan(&u.name); err != nil {
		return t.Classify("the user's name could not be read", err)
	}
	return t.SetPassword(ctx, &u)
}

// SetPassword stores a digest, which needs no quoting. Redshift has no way to build the statement at the
// server, as PostgreSQL has, so the digest is in the statement's text and kept out of the error.
func (t *target) SetPassword(ctx context.Context, u *user) error {
	_, err := t.Tx.Exec(ctx, "ALTER USER "+name(u.name)+" PASSWORD '"+digest(t.password, u.name)+"'")
	return t.Classify("the password of "+name(u.name)+" could not be changed", err)
}

// digest returns what Redshift stores for a password that it is given as it is. The user's name is the salt,
// so a repeated step stores the same bytes. Redshift also takes 'sha256|digest|salt', but asks such a user for
// the password by a message of its own, authentication type 13, which libpq and all drivers written after
// PostgreSQL's documentation refuse. That form would lock out clients that worked before.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html
func digest(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// exec runs a statement that holds no password and reports it.
func (t *target) exec(ctx context.Context, statement string) error {
	_, err := t.Tx.Exec(ctx, statement)
	if err == nil {
		t.Request.Changed(statement)
	}
	return t.Classify(statement, err)
}

// name quotes a name.
func name(s string) string { return pgx.Identifier{s}.Sanitize() }

// text quotes a text. A backslash in it would count differently with and without standard_conforming_strings,
// so E'…' says which.
func text(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}
