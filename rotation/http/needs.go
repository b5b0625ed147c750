package http

import (
	"context"

	"example.com/rotator/rotation"
)

var _ rotation.Needer = (*Engine)(nil)

// Needs says that the API alone knows its rights.
func (e *Engine) Needs(_ context.Context, _ *rotation.Request, n *rotation.Needs) error {
	n.Note = "the token needs what the recipe's calls ask of the API; see the API's own manual"
	return nil
}
