package boundconn

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShorten(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 1<<20), strings.Repeat("€", 1<<20)} {
		err := Shorten(errors.Join(errors.New(text), io.EOF))
		if s := err.Error(); !errors.Is(err, io.EOF) || len(s) > textLimit+8 || !utf8.ValidString(s) ||
			!strings.HasPrefix(s, text[:3]) {
			t.Errorf("%d bytes of text: %d, %.20s", len(text), len(s), s)
		}
	}
}
