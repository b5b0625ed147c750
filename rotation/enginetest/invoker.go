package enginetest

import (
	"context"
	"encoding/json"
)

// invoker runs one step for a version.
type invoker func(ctx context.Context, token string) error

// Invoke implements sim.Invoker.
func (f invoker) Invoke(ctx context.Context, payload []byte) ([]byte, string, error) {
	var e struct{ ClientRequestToken string }
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, "", err
	}
	if err := f(ctx, e.ClientRequestToken); err != nil {
		return nil, "Unhandled", nil
	}
	return []byte("null"), "", nil
}
