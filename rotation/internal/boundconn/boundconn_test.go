package boundconn

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/rotator/internal/testing/testserver"
)

// TestAskDoesNotWaitForever: a server that needs TLS may wait for the rest of a handshake.
func TestAskDoesNotWaitForever(t *testing.T) {
	begin := time.Now()
	answer := Ask(t.Context(), fmt.Sprintf("127.0.0.1:%d", testserver.Blackhole(t)), []byte("PING\r\n"), 1)
	if took := time.Since(begin); answer != nil || took > 10*time.Second {
		t.Errorf("%q after %s", answer, took)
	}
}

func TestShorten(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 1<<20), strings.Repeat("€", 1<<20)} {
		err := Shorten(errors.Join(errors.New(text), io.EOF))
		if s := err.Error(); !errors.Is(err, io.EOF) || len(s) > textLimit+8 || !utf8.ValidString(s) ||
			!strings.HasPrefix(s, text[:3]) {
			t.Errorf("%d bytes of text: %d, %.20s", len(text), len(s), s)
		}
	}
}
