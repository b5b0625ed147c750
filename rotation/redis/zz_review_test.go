//go:build repro

package redis

import (
	"fmt"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
)

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
