package rabbitmq

import (
	"context"
	"strings"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says that the login, be it the superuser secret's or the user itself, has to
// be an administrator: no finer right to change a user exists. It needs no permission
// in a virtual host.
// Source: https://www.rabbitmq.com/docs/management#permissions
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Grants = []string{"rabbitmqctl set_user_tags " + quote(n.Login) + " administrator"}
	return nil
}

// quote quotes a word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
