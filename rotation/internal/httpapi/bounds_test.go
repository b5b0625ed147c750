package httpapi

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodeRefusesWhatWouldTakeMuchMemory(t *testing.T) {
	var out []struct{ A, B, C, D string }
	if err := Decode([]byte("["+strings.Repeat("{},", valueLimit)+"{}]"), &out); err == nil || out != nil {
		t.Errorf("%d values, %v", len(out), err)
	}
	if err := Decode([]byte(`[{"A":"a"}]`), &out); err != nil || len(out) != 1 {
		t.Errorf("%v, %v", out, err)
	}
}

func TestShorten(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 1<<20), strings.Repeat("€", 1<<20)} {
		err := Shorten(errors.Join(errors.New(text), io.EOF))
		if s := err.Error(); !errors.Is(err, io.EOF) || len(s) > textLimit+8 || !utf8.ValidString(s) || !strings.HasPrefix(s, text[:3]) {
			t.Errorf("%d bytes of text: %d, %.20s", len(text), len(s), s)
		}
	}
}
