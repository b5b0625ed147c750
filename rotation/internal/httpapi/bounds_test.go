package httpapi

import (
	"strings"
	"testing"
)

func TestDecodeRefusesWhatWouldTakeMuchMemory(t *testing.T) {
	var out []struct{ A, B, C, D string }
	if err := Decode([]byte("["+strings.Repeat("{},", valueLimit)+"{}]"), &out); err == nil || out != nil {
		t.Errorf("%d values, %v", len(out), err)
	}
	if err := Decode([]byte(`[{"A":"a"}] {}`), &out); err == nil {
		t.Error("text after the JSON passes")
	}
	if err := Decode([]byte(`[{"A":"a"}]`), &out); err != nil || len(out) != 1 {
		t.Errorf("%v, %v", out, err)
	}
}
