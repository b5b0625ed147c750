package awsapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

type answers string

func (a answers) Do(*http.Request) (*http.Response, error) {
	return &http.Response{Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func TestResponsesAreBounded(t *testing.T) {
	for n, want := range map[int]bool{0: true, limit: true, limit + 1: false, 8 * limit: false} {
		resp, err := bound{answers(strings.Repeat("x", n))}.Do(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); (err == nil) != want || len(body) > limit {
			t.Errorf("%d bytes: %d are read, %v", n, len(body), err)
		}
	}
}
