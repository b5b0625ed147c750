package ctl

import (
	"strings"
	"testing"
)

func TestSimRefusesAnAddressThatOthersCanReach(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "example.com:80", "nonsense"} {
		if l, _, err := (&simFlags{listen: addr}).bind(); err == nil {
			l.Close()
			t.Errorf("%s was accepted", addr)
		}
	}
	for addr, want := range map[string]string{
		"127.0.0.1:0": "http://127.0.0.1:", "localhost:0": "http://", "0.0.0.0:0": "http://127.0.0.1:",
	} {
		l, url, err := (&simFlags{listen: addr, force: addr == "0.0.0.0:0"}).bind()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if !strings.HasPrefix(url, want) {
			t.Errorf("%s: the URL is %s", addr, url)
		}
	}
}
