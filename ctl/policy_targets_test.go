package ctl

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/influxdb"
	"example.com/rotator/rotation/rabbitmq"
	"example.com/rotator/rotation/redis"
)

// who lists the users that change the credential in the tests below.
var who = []struct {
	name      string
	strategy  engine.Strategy
	superuser bool
}{
	{"itself", engine.SingleUser, false},
	{"a superuser, single", engine.SingleUser, true},
	{"a superuser, alternating", engine.AlternatingUsers, true},
}

// proveTarget checks the grants of a target for the first entries of who. create creates a user without rights.
func proveTarget(t *testing.T, w *world, strategies int, create func(user, password string)) {
	for _, c := range who[:strategies] {
		t.Run(c.name, func(t *testing.T) {
			w.env = map[string]string{"STRATEGY": string(c.strategy)}
			proveGrants(t, w, 1, func() (string, func()) {
				user, master := testserver.Unique("u-"), ""
				create(user, "first-password")
				if c.superuser {
					login := testserver.Unique("m-")
					create(login, "master-password")
					master = w.secret(t, w.value(login, "master-password", ""))
				}
				return w.secret(t, w.value(user, "first-password", master)), func() {}
			})
		})
	}
}

// TestGrantsOfRedis: each command in the line is needed, with and without an ACL file.
func TestGrantsOfRedis(t *testing.T) {
	for _, o := range []testserver.RedisOptions{{}, {NoACLFile: true}} {
		t.Run(fmt.Sprintf("without an ACL file: %t", o.NoACLFile), func(t *testing.T) {
			w, server := newWorld(t), testserver.Redis(t, o)
			admin := server.Connect(t)
			w.engine = redis.New(engine.TLSPolicy{ExtraCAs: server.CA.PEM}, redis.Nodes{})
			do := func(args ...any) {
				t.Helper()
				if err := admin.Do(t.Context(), args...).Err(); err != nil {
					t.Fatalf("%v: %v", args, err)
				}
			}
			w.exec = func(line string) {
				t.Helper()
				var args []any
				for i, word := range strings.Fields(line) {
					if args = append(args, word); i == 2 {
						args = append(args, "-@all") // no rights, like a new user
					}
				}
				do(args...)
			}
			w.value = func(user, password, master string) string {
				return fmt.Sprintf(`{"engine":"redis","host":%q,"port":%d,"username":%q,"password":%q,"masterarn":%q}`,
					server.Host, server.Port, user, password, master)
			}
			// Which commands are needed is known only for a user that may query the node.
			proveTarget(t, w, 2, func(user, password string) {
				do("ACL", "SETUSER", user, "on", ">"+password, "+@all")
			})

			do("ACL", "SETUSER", "poor", "on", ">first-password")
			arn := w.secret(t, w.value("poor", "first-password", ""))
			p := w.needs(t, arn)
			if len(p.Grants) != 1 || !strings.Contains(p.Grants[0], "+acl|save") ||
				!strings.Contains(p.Grants[0], "+config|rewrite") ||
				!strings.Contains(p.Note, "print the rights again") {
				t.Errorf("for a user who may not query the node: %q, %s", p.Grants, p.Note)
			}
		})
	}
}

func TestGrantsOfRabbitMQ(t *testing.T) {
	w, server := newWorld(t), testserver.SharedRabbitMQ(t, testserver.RabbitMQOptions{})
	w.engine = rabbitmq.New(engine.TLSPolicy{ExtraCAs: server.CA.PEM})
	put := func(user string, body any) {
		t.Helper()
		if status, answer := server.Call(t, "PUT", "/api/users/"+user, body); status >= 300 {
			t.Fatalf("%d: %s", status, answer)
		}
	}
	// The line is a rabbitmqctl command. An API call does the same.
	w.exec = func(line string) {
		t.Helper()
		words := strings.Fields(line)
		user := strings.Trim(words[2], "'")
		if strings.Join(words[:2], " ") != "rabbitmqctl set_user_tags" || len(words) != 4 {
			t.Fatalf("%q", line)
		}
		_, text := server.Call(t, "GET", "/api/users/"+user, nil)
		var now map[string]any
		if err := json.Unmarshal([]byte(text), &now); err != nil {
			t.Fatal(err)
		}
		delete(now, "name")
		now["tags"] = words[3]
		put(user, now)
	}
	w.value = func(user, password, master string) string {
		const form = `{"engine":"rabbitmq","host":%q,"managementPort":%d,"username":%q,"password":%q,"masterarn":%q}`
		return fmt.Sprintf(form, server.Host, server.Port, user, password, master)
	}
	proveTarget(t, w, 3, func(user, password string) {
		put(user, map[string]string{"password": password, "tags": "management"})
	})
}

func TestGrantsOfInfluxDB(t *testing.T) {
	w, server := newWorld(t), testserver.SharedInfluxDB(t)
	w.engine = influxdb.New(engine.TLSPolicy{ExtraCAs: server.CA.PEM})
	w.exec = func(s string) {
		t.Helper()
		status, answer := server.Query(t, server.User, server.Password, s)
		if status >= 300 || strings.Contains(answer, "error") {
			t.Fatalf("%s: %d %s", s, status, answer)
		}
	}
	w.value = func(user, password, master string) string {
		return fmt.Sprintf(`{"engine":"influxdb","host":%q,"port":%d,"username":%q,"password":%q,"masterarn":%q}`,
			server.Host, server.Port, user, password, master)
	}
	proveTarget(t, w, 2, func(user, password string) {
		w.exec(`CREATE USER "` + user + `" WITH PASSWORD '` + password + `'`)
	})
}
