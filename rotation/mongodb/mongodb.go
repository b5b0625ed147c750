// Package mongodb rotates passwords of users of MongoDB and compatible servers, such as Amazon DocumentDB and FerretDB.
//
// A user has one password; with alternating users, both users of a pair stay valid. The server derives its verifiers
// itself, so it receives the new password, over TLS, and keeps it out of its log.
package mongodb

import (
	"context"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/sqlengine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of MongoDB.
type Engine struct {
	base
	tls engine.TLSPolicy
}

type base = sqlengine.Engine[*session]

const cloneSuffix = "_clone"

// New returns the engine with the given policy for its connections, with the defaults of AWS's templates, which use the
// name mongo even for DocumentDB.
func New(tls engine.TLSPolicy) *Engine {
	e := &Engine{tls: tls}
	e.base = base{
		Port: 27017, Database: "admin", Fault: fault, Connect: e.connect, Change: e.change,
		About: engine.Kind{
			Names:        []string{"mongodb", "mongo", "documentdb"},
			Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
			CloneSuffix:  cloneSuffix,
			CloneLimit:   255,
			UserDatabase: true,
		},
	}
	return e
}

func fault(t engine.Target) string {
	if t.Database == "$external" {
		return "users of the database $external have no password"
	}
	return ""
}

// Verify logs in. A user that changes its own password must have the privilege, as far as the server reveals it.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	return e.With(ctx, v, func(s *session) error {
		if r.SuperuserChanges {
			return nil
		}
		return s.itself()
	})
}

// change makes or rehearses the change. The change itself is one command.
func (e *Engine) change(ctx context.Context, s *session, c pair.Change) error {
	pending, err := e.Parse(c.Request.Pending)
	if err != nil {
		return err
	}
	if !c.Request.Superuser {
		if err := s.itself(); err != nil || c.Rehearsal {
			return err
		}
		return s.setPassword(pending)
	}
	if s.target.Database != pending.Database { // the same name in another database is a different user
		c.Superuser = ""
	}
	return pair.Apply(ctx, target{s, c, pending}, c)
}
