package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite, on one server or on every node of a cluster.
type harness struct {
	engine  string
	servers []*testserver.RedisServer
	admins  []*redis.Client
	by      string // who changes the password: "itself" or "superuser"
}

// start starts a server for a test.
type start func(testing.TB, testserver.RedisOptions) *testserver.RedisServer

func TestEngineItself(t *testing.T) { suite(t, "redis", testserver.Redis, "itself") }

func TestEngineSuperuser(t *testing.T) { suite(t, "redis", testserver.Redis, "superuser") }

func TestEngineCluster(t *testing.T) {
	nodes := startCluster(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, "redis", "superuser", nodes...) })
}

func suite(t *testing.T, engine string, start start, by string) {
	server := start(t, testserver.RedisOptions{Config: "loglevel debug"})
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return newHarness(t, engine, by, server) })
}

func newHarness(t *testing.T, engine, by string, servers ...*testserver.RedisServer) *harness {
	h := &harness{engine: engine, servers: servers, by: by}
	for _, s := range servers {
		h.admins = append(h.admins, s.Connect(t))
	}
	return h
}

func (h *harness) Engine() engine.Engine {
	nodes, _ := ParseNodes("127.0.0.0/8") // for the cluster
	return New(engine.TLSPolicy{ExtraCAs: h.servers[0].CA.PEM}, nodes)
}

func (h *harness) Target() string { return h.servers[0].Addr() }

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{Overlap: true} }

func (h *harness) Logs() (string, error) { return h.servers[0].Logs() }

func (h *harness) New(ctx context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("app-"), testserver.Unique("First-Passw0rd-")
	rights := []any{"+@all", "-@dangerous", "~app:*"}
	if h.by == "itself" {
		rights = []any{"+ping", "+info", "+cluster|nodes", "+acl", "+config|get", "+config|rewrite"}
	}
	if err := h.all(ctx, append([]any{"ACL", "SETUSER", user, "on", "#" + hash(password)}, rights...)...); err != nil {
		return value, superuser, err
	}
	if h.by == "superuser" {
		superuser = h.login(host, port, h.servers[0].User, h.servers[0].Password)
	}
	return h.login(host, port, user, password), superuser, nil
}

func (h *harness) login(host string, port int, user, password string) engine.Value {
	return engine.StringValue(fmt.Sprintf(`{"engine":%q,"host":%q,"port":%d,"username":%q,"password":%q}`, h.engine,
		host, port, user, password))
}

// Open logs in to every node with an independent client.
func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	errs := make([]error, len(h.servers))
	var wg sync.WaitGroup
	for i, s := range h.servers {
		wg.Go(func() { errs[i] = open(ctx, s, user, password) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// open logs in with the usual Redis client.
func open(ctx context.Context, s *testserver.RedisServer, user, password string) error {
	client := redis.NewClient(s.Options(user, password))
	defer client.Close()
	err := client.Ping(ctx).Err()
	if redis.HasErrorPrefix(err, "WRONGPASS") {
		return fmt.Errorf("%w: %w", engine.LoginRefused, err)
	}
	return err
}

func (h *harness) Restore(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.all(ctx, "ACL", "SETUSER", user, "resetpass", "#"+hash(password))
}

func (h *harness) Credentials(ctx context.Context, v engine.Value) (int, error) {
	user, _ := v.Text("username")
	most := 0
	for _, admin := range h.admins {
		reply, err := admin.Do(ctx, "ACL", "GETUSER", user).Result()
		if err != nil {
			return 0, err
		}
		account, ok := reply.(map[any]any)
		passwords, listed := account["passwords"].([]any)
		if !ok || !listed {
			return 0, fmt.Errorf("GETUSER answers %T", reply)
		}
		most = max(most, len(passwords))
	}
	return most, nil
}

// Administrators grants the user a right that leads to all others.
func (h *harness) Administrators(_ context.Context, v engine.Value) (acts []enginetest.Act, err error) {
	user, _ := v.Text("username")
	for _, right := range []string{"+acl|setuser", "+acl", "+@admin", "+@all", "(+acl|setuser)",
		"+config|set", "+module", "+module|loadex"} {
		acts = append(acts, enginetest.Act{Name: right, Do: func(ctx context.Context) (func(), error) {
			return nil, h.all(ctx, "ACL", "SETUSER", user, right)
		}})
	}
	return acts, nil
}

// all sends a command to every node as the administrator.
func (h *harness) all(ctx context.Context, command ...any) error {
	for _, admin := range h.admins {
		if err := admin.Do(ctx, command...).Err(); err != nil {
			return err
		}
	}
	return nil
}
