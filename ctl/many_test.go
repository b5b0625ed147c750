package ctl

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/rotator/sim"
)

// named returns secrets with these names and matching ARNs.
func named(names ...string) (secrets []secret) {
	for _, n := range names {
		secrets = append(secrets, secret{Name: n, Account: mine, ARN: arnOf(n)})
	}
	return secrets
}

func arnOf(name string) string {
	return "arn:aws:secretsmanager:us-east-1:" + mine + ":secret:" + name + "-AbCdEf"
}

func TestWaves(t *testing.T) {
	type up = map[string]string // the superuser secret of each
	for name, c := range map[string]struct {
		superusers up
		want       string
	}{
		"none":             {nil, "a b c d"},
		"by ARN":           {up{"a": arnOf("d"), "b": arnOf("d")}, "c d | a b"},
		"by a partial ARN": {up{"a": strings.TrimSuffix(arnOf("d"), "-AbCdEf")}, "b c d | a"},
		"by name":          {up{"a": "d"}, "b c d | a"},
		"elsewhere":        {up{"a": "e"}, "a b c d"},
		"itself":           {up{"a": "a"}, "a b c d"},
		"a chain":          {up{"a": "b", "b": "c"}, "c d | b | a"},
		"a cycle":          {up{"a": "b", "b": "c", "c": "a"}, "d | a b c"},
	} {
		superusers := make(up)
		for of, is := range c.superusers {
			superusers[arnOf(of)] = is
		}
		var got []string
		for _, wave := range waves(named("d", "b", "a", "c"), superusers) {
			var names []string
			for _, s := range wave {
				names = append(names, s.Name)
			}
			if len(names) > 0 {
				got = append(got, strings.Join(names, " "))
			}
		}
		if text := strings.Join(got, " | "); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// TestSuperusers: one call reads twenty values, and only the superuser's name is kept.
func TestSuperusers(t *testing.T) {
	w := newAccount(t, sim.Options{})
	admin := w.secret("admin", `{"username":"root","password":"p"}`)
	var some []string
	for i := range 41 {
		some = append(some, w.secret(fmt.Sprintf("s%02d", i), `{"masterarn":"`+admin+`","password":"p"}`))
	}
	token := w.secret("token", `{"adminSecretArn":"admin"}`)
	plainText := w.secret("plain", "not JSON")
	number := w.secret("number", `{"masterarn":3}`)
	w.secret("none", "") // without a value
	secrets := w.list(filter{})
	superusers, unread := readSuperusers(t.Context(), w.client, secrets, kinds)
	want := map[string]string{token: "admin", number: "3", admin: "", plainText: ""}
	for _, arn := range some {
		want[arn] = admin
	}
	if !maps.Equal(superusers, want) || len(unread) != 0 {
		t.Errorf("%v, %v", superusers, unread)
	}
	if n := w.count("secretsmanager.BatchGetSecretValue/"); n != 3 {
		t.Errorf("%d calls", n)
	}
	superusers, unread = readSuperusers(t.Context(), w.as(theirs), secrets[:3], kinds)
	if len(superusers) != 0 || len(unread) != 3 {
		t.Errorf("%v, %v", superusers, unread)
	}
}

// TestEach: each job runs once, and never more than the limit at a time.
func TestEach(t *testing.T) {
	const n = 200
	var running atomic.Int32
	var done [n]atomic.Int32
	each(n, 7, func(i int) {
		if now := running.Add(1); now > 7 {
			t.Errorf("%d jobs at a time", now)
		}
		done[i].Add(1)
		running.Add(-1)
	})
	for i := range done {
		if times := done[i].Load(); times != 1 {
			t.Errorf("job %d ran %d times", i, times)
		}
	}
}
