// Package mysql rotates passwords of MySQL, Aurora MySQL and MariaDB users. The server, not the secret, decides which
// system it is; mysql.go and mariadb.go hold the differences. A single user's old password can stay valid until the
// next rotation: as MySQL's retained password or, if a superuser makes the change, as MariaDB's second method.
package mysql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of MySQL 8.0.19 and later and MariaDB 10.4 and later.
type Engine struct {
	base
	tls engine.TLSPolicy
}

type base = sqlengine.Engine[*session]

// New returns the engine with the given policy for its connections, with the names and defaults of AWS's templates.
func New(tls engine.TLSPolicy) *Engine {
	e := &Engine{tls: tls}
	e.base = base{
		Port: 3306, Fault: fault, Connect: e.connect, Change: change, Grants: grants,
		About: engine.Kind{
			Names:       []string{"mysql", "aurora-mysql", "mariadb"},
			Overlap:     engine.AskTarget,
			Passwords:   engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
			CloneSuffix: "_clone",
			CloneLimit:  32, // MySQL's; MariaDB allows 80, which USERNAME_CHARACTER_LIMIT can set
		},
	}
	return e
}

func fault(t engine.Target) string {
	switch {
	case strings.Trim(t.User, " \t\n\v\f\r") != t.User:
		// The servers trim white space from names in statements but not at a login, so these would be two users.
		return "the user name begins or ends with white space"
	case strings.ContainsFunc(t.User, func(c rune) bool { return c > 0xFFFF }):
		// The servers store names in three-byte UTF-8 and would replace it with a question mark, changing the name.
		return "the user name has a character beyond U+FFFF"
	}
	return ""
}

// change makes or rehearses a change. In a rehearsal, it sends statements that the server checks but does not execute,
// because they give a wrong password or name an absent user.
func change(ctx context.Context, s *session, c pair.Change) error {
	r := c.Request
	r.Met(s.server)
	password, _ := r.Pending.Text("password")
	switch {
	case r.Superuser:
		t := &target{session: s, change: c, password: password}
		current, _ := r.Current.Text("password")
		proved := func(v engine.Value) bool { p, _ := v.Text("password"); return p == current }
		if r.Strategy != engine.AlternatingUsers && slices.ContainsFunc(r.Proofs, proved) {
			t.keep = current
		}
		if r.KeepCurrent && t.keep == "" {
			return engine.ErrOneAtATime
		}
		return pair.Apply(ctx, t, c)
	case s.Target.User != c.Pending:
		return engine.Errorf(engine.TakeoverRefused, "rotate every user by its own secret",
			"the user %q cannot change the password of %q", s.Target.User, c.Pending)
	case s.Target.Password == password:
		return nil // an earlier call made the change
	case c.Rehearsal:
		return s.dialect.rehearse(ctx, password, s.Target.Password)
	}
	return s.dialect.change(ctx, r, password, s.Target.Password)
}

// Verify logs in and runs a query. It rehearses the change for a user that changes its own password.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	return e.With(ctx, v, func(s *session) error {
		if r.SuperuserChanges {
			return nil // connect has run a query
		}
		err := s.dialect.rehearse(ctx, s.Target.Password, "")
		if errors.Is(err, engine.PolicyRejected) {
			return nil // this says nothing about the next password
		}
		return err
	})
}
