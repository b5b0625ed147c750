//go:build repro

package redis

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/operator"
)

// S1: Sentinels that watch the primary as the rotated user are locked out by the
// second rotation, with no word.
func TestZZSentinelIsLockedOut(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first-password-of-app ~* &* +@all"})
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	_ = os.WriteFile(conf, []byte(fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor mymaster 127.0.0.1 %d 1\nsentinel auth-user mymaster app\nsentinel auth-pass mymaster first-password-of-app\nsentinel down-after-milliseconds mymaster 1000\n", port, dir, s.Port)), 0o600)
	cmd := exec.Command("redis-server", conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c := goredis.NewSentinelClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port)})
	defer c.Close()
	flags := func() string {
		m, err := c.Master(context.Background(), "mymaster").Result()
		return fmt.Sprint(m["flags"], " ", err)
	}
	time.Sleep(3 * time.Second)
	t.Log("before: ", flags())
	w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}))
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password-of-app"}`, s.Port))
	for i := range 2 {
		rep := operator.Check(t.Context(), w.Rotator(), arn)
		if err := w.Rotate(arn); err != nil {
			t.Fatal(err)
		}
		// Sentinel holds its links; a restart, or a lost link, shows it.
		if i == 1 {
			_ = s.Connect(t).Do(context.Background(), "CLIENT", "KILL", "USER", "app").Err()
		}
		time.Sleep(4 * time.Second)
		t.Logf("after rotation %d: %s; check had %d lines", i+1, flags(), len(rep))
	}
	if strings.Contains(flags(), "s_down") {
		t.Error("PROVED: Sentinel takes the primary for down")
	}
}

// S2: passwords that others gave the user go without a word in the log.
func TestZZThirdPasswordGoesSilently(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first-password-of-app >another-programs-password ~* &* +@all"})
	w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}))
	arn := w.Secret("app", fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password-of-app"}`, s.Port))
	if err := w.Rotate(arn); err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(s.Options("app", "another-programs-password"))
	defer c.Close()
	err := c.Ping(t.Context()).Err()
	t.Logf("the other program: %v; log:\n%s", err, w.Log.String())
	if err != nil {
		t.Error("PROVED: the other program's password is gone, and neither check nor log says so")
	}
}

// S3: a writer who may not read: AWSPENDING stored before createSecret does.
func TestZZWriterChoosesThePendingPassword(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first-password-of-app ~* &* +@all"})
	w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}))
	value := fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"%%s"}`, s.Port)
	arn := w.Secret("app", fmt.Sprintf(value, "first-password-of-app"))
	token := w.Begin(arn)
	known := "Known-To-The-Writer-0123456789"
	// The token is seen by DescribeSecret.
	v := fmt.Sprintf(value, known)
	_, err := w.Client.PutSecretValue(t.Context(), zzput(arn, token, v))
	t.Logf("put: %v", err)
	err = w.All(arn, token)
	c := goredis.NewClient(s.Options("app", known))
	defer c.Close()
	t.Logf("rotation: %v; the writer's login: %v", err, c.Ping(t.Context()).Err())
	if err == nil && c.Ping(t.Context()).Err() == nil {
		t.Error("PROVED")
	}
}

// S4: SLOWLOG, MONITOR and ACL LOG.
func TestZZLogsOfTheServer(t *testing.T) {
	for name, start := range map[string]func(testing.TB, testserver.RedisOptions) *testserver.RedisServer{"redis": testserver.Redis, "valkey": testserver.Valkey} {
		t.Run(name, func(t *testing.T) {
			s := start(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first-password-of-app ~* &* +@all", Config: "slowlog-log-slower-than 0\nslowlog-max-len 1000\nmasteruser app\nmasterauth first-password-of-app"})
			w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}))
			arn := w.Secret("app", fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password-of-app"}`, s.Port))
			if err := w.Rotate(arn); err != nil {
				t.Fatal(err)
			}
			p, _ := engine.StringValue(w.Get(arn, "AWSCURRENT")).Text("password")
			c := s.Connect(t)
			for _, command := range [][]any{{"SLOWLOG", "GET", "1000"}, {"ACL", "LOG"}, {"CLIENT", "LIST"}} {
				reply, err := c.Do(t.Context(), command...).Result()
				text := fmt.Sprint(reply)
				t.Logf("%v %v: password %v, hash %v", command, err, strings.Contains(text, p), strings.Contains(text, hash(p)))
				if strings.Contains(text, hash(p)) || strings.Contains(text, p) {
					t.Error("PROVED")
				}
			}
		})
	}
}
