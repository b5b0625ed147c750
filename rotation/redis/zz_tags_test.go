//go:build repro

package redis

import (
	"fmt"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/generic"
)

// Two tags make of a database's secret one that nothing checks.
func TestZZTagMakesItGeneric(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisOptions{NoTLS: true, Users: "user app on >first-password-of-app ~* &* +@all"})
	w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}), generic.New())
	w.Env["ENGINE"] = "redis"
	arn := w.Secret("app", fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password-of-app"}`, s.Port), "rotator:engine", "generic", "rotator:generic-field", "password")
	err := w.Rotate(arn)
	p, _ := engine.StringValue(w.Get(arn, "AWSCURRENT")).Text("password")
	c := goredis.NewClient(s.Options("app", p))
	defer c.Close()
	lerr := c.Ping(t.Context()).Err()
	t.Logf("rotation: %v; AWSCURRENT: %v", err, lerr)
	if err == nil && lerr != nil {
		t.Error("PROVED: locked out by TagResource alone")
	}
}
