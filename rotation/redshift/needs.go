package redshift

import (
	"context"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says that the superuser secret's user has to be a superuser, which
// Redshift's keyword CREATEUSER makes of it: nobody else may change another user's
// password, make a group or grant what belongs to others. It needs no right to a
// database. A user changes its own password without any.
// Source: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_USER.html
func (e *Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	if !r.Superuser {
		n.Note = "none: a user may change its own password"
		return nil
	}
	n.Grants = []string{"ALTER USER " + name(n.Login) + " CREATEUSER;"}
	return nil
}
