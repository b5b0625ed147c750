package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/rotator/sim"
)

// named returns secrets with these names and matching ARNs.
func named(names ...string) (secrets []Secret) {
	for _, n := range names {
		secrets = append(secrets, Secret{Name: n, Account: mine, ARN: arnOf(n)})
	}
	return secrets
}

func arnOf(name string) string {
	return "arn:aws:secretsmanager:us-east-1:" + mine + ":secret:" + name + "-AbCdEf"
}

func TestOrder(t *testing.T) {
	type up = map[string]string // the superuser secret of each
	for name, c := range map[string]struct {
		superusers up
		want       string
	}{
		"none":             {nil, "a b c d"},
		"by ARN":           {up{"a": arnOf("d"), "b": arnOf("d")}, "c d a<d b<d"},
		"by a partial ARN": {up{"a": strings.TrimSuffix(arnOf("d"), "-AbCdEf")}, "b c d a<d"},
		"by name":          {up{"a": "d"}, "b c d a<d"},
		"elsewhere":        {up{"a": "e"}, "a b c d"},
		"itself":           {up{"a": "a"}, "a b c d"},
		"a chain":          {up{"a": "b", "b": "c"}, "c d b<c a<b"},
		"a cycle":          {up{"a": "b", "b": "c", "c": "a"}, "d a b c<a"},
	} {
		superusers := make(up)
		for of, is := range c.superusers {
			superusers[arnOf(of)] = is
		}
		secrets := named("d", "b", "a", "c")
		after := Order(secrets, superusers)
		var got []string
		for i, s := range secrets {
			text := s.Name
			if after[i] >= 0 {
				text += "<" + secrets[after[i]].Name
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// TestSuperusers: one call reads twenty values, and only the superuser's name is kept.
func TestSuperusers(t *testing.T) {
	w := newWorld(t, sim.Options{})
	admin := w.secret("admin", `{"username":"root","password":"p"}`)
	var all []string
	for i := range 41 {
		all = append(all, w.secret(fmt.Sprintf("s%02d", i), `{"masterarn":"`+admin+`","password":"p"}`))
	}
	token := w.secret("token", `{"adminSecretArn":"admin"}`)
	plainText := w.secret("plain", "not JSON")
	number := w.secret("number", `{"masterarn":3}`)
	none := w.secret("none", "")
	all = append(all, admin, token, plainText, number, none)
	superusers, unread := Superusers(t.Context(), w.client, all, kinds)
	if len(superusers) != 42 || len(unread) != 0 || superusers[all[40]] != admin || superusers[token] != "admin" {
		t.Errorf("%v, %v", superusers, unread)
	}
	if n := w.count("secretsmanager.BatchGetSecretValue/"); n != 3 {
		t.Errorf("%d calls", n)
	}
	superusers, unread = Superusers(t.Context(), w.as(theirs), all[:3], kinds)
	if len(superusers) != 0 || len(unread) != 3 {
		t.Errorf("%v, %v", superusers, unread)
	}
}

// TestEach: each job runs once, after the one before it, and never more than the limit at a time.
func TestEach(t *testing.T) {
	const n = 200
	after := make([]int, n)
	for i := range after {
		after[i] = i - i%3 // its superuser
		if i%3 == 0 {
			after[i] = -1
		}
	}
	var mu sync.Mutex
	var running, most atomic.Int32
	done := make(map[int]int)
	Each(context.Background(), after, 7, func(i int, ready bool) bool {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		if before := after[i]; before >= 0 && (done[before] != 1 || ready != (before%2 == 0)) {
			t.Errorf("job %d after %d, which ran %d times: %t", i, before, done[before], ready)
		}
		done[i]++
		return i%2 == 0
	})
	if len(done) != n || most.Load() > 7 {
		t.Errorf("%d jobs, %d at a time", len(done), most.Load())
	}
	for i, times := range done {
		if times != 1 {
			t.Errorf("job %d ran %d times", i, times)
		}
	}
}

// TestEachStopsWhenInterrupted: running jobs end first, and no other job begins.
func TestEachStopsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var begun, ended atomic.Int32
	jobs := slices.Repeat([]int{-1}, 10)
	Each(ctx, jobs, 2, func(i int, _ bool) bool {
		begun.Add(1)
		if i == 3 {
			cancel()
		}
		if i >= 3 {
			<-ctx.Done()
		}
		ended.Add(1)
		return true
	})
	if n := begun.Load(); n != ended.Load() || n < 3 || n > 5 {
		t.Errorf("%d of %d jobs that began have ended", ended.Load(), n)
	}
	Each(ctx, jobs, 2, func(int, bool) bool {
		t.Error("a job began after the interruption")
		return true
	})
}
