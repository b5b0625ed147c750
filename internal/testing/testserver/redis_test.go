package testserver

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestRedis(t *testing.T) { testRedis(t, false) }

func testRedis(t *testing.T, valkey bool) {
	ctx := context.Background()
	for _, o := range []RedisOptions{
		{Users: "user app on >fixture ~app:* +@all -@dangerous"},
		{NoACLFile: true, Users: "user app on >fixture ~app:* +@all -@dangerous"},
		{NoTLS: true, Users: "user default on >fixture +@all"},
	} {
		o.Valkey = valkey
		s := Redis(t, o)
		admin := s.Connect(t)
		if !o.NoTLS {
			CheckTLS(t, &s.Server)
			if err := admin.Do(ctx, "ACL", "SETUSER", "app", ">second").Err(); err != nil {
				t.Fatal(err)
			}
			save := []any{"ACL", "SAVE"}
			if o.NoACLFile {
				save = []any{"CONFIG", "REWRITE"}
			}
			if err := admin.Do(ctx, save...).Err(); err != nil {
				t.Errorf("%v: %v", save, err)
			}
			if err := s.Halt(); err != nil {
				t.Fatal(err)
			}
			if err := s.Resume(ctx); err != nil {
				t.Fatal(err)
			}
			for _, password := range []string{"fixture", "second"} {
				app := redis.NewClient(s.Options("app", password))
				if err := app.Ping(ctx).Err(); err != nil {
					t.Errorf("after a restart: %v", err)
				}
				app.Close()
			}
		}
		CheckStop(t, &s.Server)
	}
}
