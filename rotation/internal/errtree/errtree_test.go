package errtree

import (
	"errors"
	"fmt"
	"testing"
)

func TestOnlyAWholeTextCounts(t *testing.T) {
	const text = "server refused TLS connection"
	leaf := errors.New(text)
	for _, row := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{leaf, true},
		{fmt.Errorf("no login: %w", leaf), true},
		{fmt.Errorf("no login: %w", errors.Join(errors.New("no route"), fmt.Errorf("second address: %w", leaf))), true},
		{fmt.Errorf("database %s: %w", text, errors.New("wrong password")), false},
		{fmt.Errorf("database %s: %w, %w", text, errors.New("wrong password"), errors.New("no route")), false},
		{fmt.Errorf("no login: %v", leaf), false},
	} {
		if got := Is(row.err, text); got != row.want {
			t.Errorf("%v: %v, want %v", row.err, got, row.want)
		}
	}
}
