package enginetest

import (
	"context"
	"encoding/json"
)

// invoker is a function that takes one step of the event's version.
type invoker func(ctx context.Context, token string) error

// Invoke calls it.
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
