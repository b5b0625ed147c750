//go:build repro

package redis

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
)

// S5: what others changed for a while is made to last.
func TestZZRewriteKeepsWhatOthersChanged(t *testing.T) {
	for _, noFile := range []bool{true, false} {
		s := testserver.Redis(t, testserver.RedisOptions{NoTLS: true, NoACLFile: noFile, Users: "user app on >first-password-of-app ~* &* +@all"})
		c := s.Connect(t)
		if err := c.Do(t.Context(), "CONFIG", "SET", "maxmemory", "123mb").Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(t.Context(), "ACL", "SETUSER", "temporary", "on", ">just-for-today-1234", "+@all", "~*").Err(); err != nil {
			t.Fatal(err)
		}
		w := zzworld.New(t, New(engine.TLSPolicy{}, Nodes{}))
		arn := w.Secret("app", fmt.Sprintf(`{"engine":"redis","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password-of-app"}`, s.Port))
		if err := w.Rotate(arn); err != nil {
			t.Fatal(err)
		}
		conf, _ := os.ReadFile(s.ConfigFile)
		users, _ := os.ReadFile(s.ACLFile)
		t.Logf("no ACL file %v: redis.conf has maxmemory: %v; the files have the temporary user: %v", noFile, strings.Contains(string(conf), "maxmemory "), strings.Contains(string(conf)+string(users), "user temporary"))
	}
}
