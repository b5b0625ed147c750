package http

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/httpapi"
)

// FuzzRequest: for any value in a secret, the request keeps the recipe's host, path, headers, query and body, and the
// value arrives unchanged.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"plain", `quoted"`, "../..", "a/b?c=d#e", "@evil.example.com/", "x\r\nHost: y", `"}`,
		"ü%2F", "{{x}}", "\\", ":8080", "&q=1"} {
		f.Add(s)
	}
	call := Call{
		Method: "POST", URL: "https://api.example.com/a/{{x}}/b?q={{x}}&r=1",
		Headers: map[string]string{"X-Token": "t {{ x }}"},
		JSON:    json.RawMessage(`{"a":["{{x}}",{"b":1.50}],"{{x}}" :null}`),
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := engine.StringValue(`{}`).With("x", s)
		s, _ = v.Text("x") // as JSON stores it
		req, faults := call.request(context.Background(), fields(v, "", ""))
		if faults != nil {
			if s != "" && s != "." && !strings.Contains(s, "..") &&
				!strings.ContainsFunc(s, func(r rune) bool {
					return r < ' ' || r == 0x7f || strings.ContainsRune(`/\%`, r)
				}) {
				t.Fatalf("%q: %v", s, faults)
			}
			return
		}
		if req.URL.Scheme != "https" || req.Host != "api.example.com" || req.URL.User != nil ||
			req.URL.Fragment != "" || strings.Count(req.URL.EscapedPath(), "/") != 3 || req.URL.Path != "/a/"+s+"/b" {
			t.Errorf("%q leads to %s", s, req.URL)
		}
		if q := req.URL.Query(); len(q) != 2 || q.Get("q") != s || q.Get("r") != "1" {
			t.Errorf("%q makes the query %s", s, req.URL.RawQuery)
		}
		if h := req.Header.Get("X-Token"); h != "t "+s || len(req.Header) != 4 {
			t.Errorf("%q makes the headers %v", s, req.Header)
		}
		body, err := io.ReadAll(req.Body)
		var got struct {
			A []any `json:"a"`
		}
		if err != nil || json.Unmarshal(body, &got) != nil || len(got.A) != 2 || got.A[0] != s ||
			!strings.Contains(string(body), `{"b":1.50}],"{{x}}" :null}`) {
			t.Errorf("%q makes the body %s", s, body)
		}
	})
}

func TestPointers(t *testing.T) {
	var x any
	err := httpapi.Decode([]byte(`{"a/b":{"m~n":[10,{"":"x"}]},"n":null,"big":12345678901234567890,"e":"","~1":"y"}`),
		&x)
	if err != nil {
		t.Fatal(err)
	}
	for pointer, want := range map[string]string{
		"/a~1b/m~0n/0": "10", "/a~1b/m~0n/1/": "x", "/big": "12345678901234567890", "/~01": "y",
		"/a~1b/m~0n/2": "", "/a~1b/m~0n/00": "", "/a~1b/m~0n/-1": "", "/n": "", "/e": "",
		"/a/b": "", "": "", "/big/0": "",
	} {
		if !pointerForm().MatchString(pointer) {
			t.Errorf("%s is not a pointer", pointer)
		}
		if got := scalar(x, pointer); got != want {
			t.Errorf("%s leads to %q, want %q", pointer, got, want)
		}
	}
	for _, bad := range []string{"a", "a/b", "/~2", "/~"} {
		if pointerForm().MatchString(bad) {
			t.Errorf("%s is a pointer", bad)
		}
	}
}
