// Package redshift rotates passwords of Amazon Redshift users, provisioned and serverless, single and alternating.
//
// The server receives an MD5 digest, never a new password. The server itself converts passwords to this format, the
// only one with which every driver for PostgreSQL's protocol can log in. See digest.
package redshift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/pgsession"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Redshift.
type Engine struct{ base }

type base = sqlengine.Engine[*pgsession.Session]

// New returns the engine with the given policy for its connections, with the names and defaults of AWS's templates.
func New(tls engine.TLSPolicy) *Engine {
	connect := func(ctx context.Context, t engine.Target) (*pgsession.Session, error) {
		return pgsession.Dial(ctx, tls, t, begin)
	}
	return &Engine{base{
		Port: 5439, Database: "dev", Fault: fault, Connect: connect, Change: change, Grants: grants,
		About: engine.Kind{
			Names:       []string{"redshift"},
			Passwords:   engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\:`, RequireEachIncludedType: true},
			CloneSuffix: "_clone",
			CloneLimit:  nameLimit - len(markPrefix) + len("_clone"),
		},
	}}
}

// nameLimit is the maximum length of a name in bytes. The name of a pair's group contains the first user's; see mark.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_names.html
const nameLimit = 127

func fault(t engine.Target) string {
	if len(t.User) > nameLimit || strings.EqualFold(t.User, "public") {
		return "the user name is PUBLIC or has more than 127 bytes"
	}
	return ""
}

// Verify logs in and runs a query. For a user that changes its own password, it tries the change and rolls it back.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	return e.With(ctx, v, func(s *pgsession.Session) error {
		return s.Transaction(ctx, r, true, func(w *pgsession.Work) error {
			if r.SuperuserChanges {
				return nil
			}
			return (&target{w}).ownPassword(ctx)
		})
	})
}

// begin makes every transaction use only built-in functions, tables and views. The database's owner can create others
// with the same names and put them first in the search path, but the superuser must not use those. Redshift's system
// views are in pg_catalog. Redshift has no lock_timeout, so the statement timeout ends the wait for a lock in time to
// report it.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_search_path.html,
// https://docs.aws.amazon.com/redshift/latest/dg/r_SET.html (LOCAL),
// https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html
const begin = "SET LOCAL search_path TO pg_catalog; SET LOCAL statement_timeout TO 5000"

// change makes the change in one transaction, which a rehearsal rolls back.
func change(ctx context.Context, s *pgsession.Session, c pair.Change) error {
	rehearsal := c.Rehearsal
	c.Rehearsal = false
	return s.Transaction(ctx, c.Request, rehearsal, func(w *pgsession.Work) error {
		t := &target{w}
		if !w.Request.Superuser {
			return t.ownPassword(ctx)
		}
		c.Request = w.Request
		return pair.Apply(ctx, t, c)
	})
}

// ownPassword changes the logged-in user's password. Redshift folds case, and the digest needs the stored name.
func (t *target) ownPassword(ctx context.Context) error {
	named, err := t.Text(ctx, "the user's name could not be read", "SELECT current_user")
	if err != nil {
		return err
	}
	return t.SetPassword(ctx, &user{name: named})
}

// SetPassword stores a digest, which needs no quoting. The server cannot build the statement, so errors must omit it.
func (t *target) SetPassword(ctx context.Context, u *user) error {
	return t.Exec(ctx, "the password of "+name(u.name)+" could not be changed",
		"ALTER USER "+name(u.name)+" PASSWORD '"+digest(t.Password, u.name)+"'")
}

// digest returns what Redshift stores for a password given as text. The user's name is the salt, so a repeated step
// stores the same bytes. Redshift also accepts 'sha256|digest|salt', but then drivers for PostgreSQL's protocol, such as
// libpq, cannot log in: it requests the password with a proprietary message, authentication type 13.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html
func digest(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

func name(s string) string { return pgsession.Quote(s) }

// grants adds the statement that makes a user a superuser, Redshift's CREATEUSER: only superusers may change other
// users' passwords, create groups or grant rights on others' objects. They need no right on a database.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_USER.html
func grants(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Grants = []string{"ALTER USER " + name(n.Login) + " CREATEUSER;"}
	return nil
}
