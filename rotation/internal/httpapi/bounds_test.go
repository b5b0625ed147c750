package httpapi

import (
	"io"
	"net/http"
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

type answers string

func (a answers) Do(*http.Request) (*http.Response, error) {
	return &http.Response{Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func TestBound(t *testing.T) {
	for n, want := range map[int]bool{0: true, sdkLimit: true, sdkLimit + 1: false, 8 * sdkLimit: false} {
		resp, err := Bound(answers(strings.Repeat("x", n))).Do(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); (err == nil) != want || len(body) > sdkLimit {
			t.Errorf("%d bytes: %d are read, %v", n, len(body), err)
		}
	}
}
