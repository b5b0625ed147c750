package http

import (
	"context"

	"example.com/rotator/rotation/engine"
)

var _ engine.Needer = (*Engine)(nil)

// Needs says that the API alone knows its rights.
func (e *Engine) Needs(_ context.Context, _ *engine.Request, n *engine.Needs) error {
	n.Note = "the token needs what the recipe's calls ask of the API; see the API's own manual"
	return nil
}
