package awscache_test

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/redis/go-redis/v9"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/awscache"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/internal/awsapi"
)

// cache is a real Redis. A fake of AWS's API changes its users, with a delay.
type cache struct {
	service string
	server  *testserver.RedisServer
	admin   *redis.Client
	fake    *fakeCaches
	api     *httptest.Server
	options awscache.Options
}

// delay is how long a change takes, and interval is the engine's pause between polls.
const (
	delay    = 30 * time.Millisecond
	interval = 5 * time.Millisecond
)

// services maps both services to their engines.
var services = map[string]func(engine.TLSPolicy, awsapi.Settings, awscache.Options) engine.DryRunner{
	"elasticache": func(tls engine.TLSPolicy, s awsapi.Settings, o awscache.Options) engine.DryRunner {
		return awscache.NewElastiCache(tls, s, o)
	},
	"memorydb": func(tls engine.TLSPolicy, s awsapi.Settings, o awscache.Options) engine.DryRunner {
		return awscache.NewMemoryDB(tls, s, o)
	},
}

func newCache(t testing.TB, service string) *cache {
	t.Helper()
	c := &cache{service: service, server: testserver.Redis(t, testserver.RedisOptions{})}
	c.options = awscache.Options{MaxWait: 20 * time.Second, Interval: interval}
	c.admin = c.server.Connect(t)
	c.fake = newFake(fakeOptions{Delay: delay, Apply: c.apply})
	c.api = httptest.NewServer(c.fake.Handler())
	t.Cleanup(func() {
		c.api.Close()
		c.fake.Wait()
	})
	return c
}

// apply sets the passwords of a user of the cache.
func (c *cache) apply(user string, passwords []string) error {
	command := []any{"ACL", "SETUSER", user, "on", "resetpass", "~*", "+@all", "-@dangerous"}
	for _, p := range passwords {
		command = append(command, ">"+p)
	}
	return c.admin.Do(context.Background(), command...).Err()
}

func TestEngine(t *testing.T) {
	for _, service := range slices.Sorted(maps.Keys(services)) {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			c := newCache(t, service)
			enginetest.Run(t, func(t *testing.T) enginetest.Harness { return c })
		})
	}
}

func (c *cache) Engine() engine.Engine {
	return services[c.service](engine.TLSPolicy{ExtraCAs: c.server.CA.PEM}, c.settings, c.options)
}

func (c *cache) settings(context.Context, string) (aws.Config, error) {
	return aws.Config{Region: "us-east-1", BaseEndpoint: &c.api.URL, Credentials: credentials.StaticCredentialsProvider{
		Value: c.fake.Credentials()}}, nil
}

func (c *cache) Target() string { return c.server.Addr() }

func (c *cache) Traits() enginetest.Traits { return enginetest.Traits{Overlap: true} }

func (c *cache) Logs() (string, error) { return c.server.Logs() }

func (c *cache) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := testserver.Unique("app-"), testserver.Unique("First-Passw0rd-")
	if err := c.apply(user, []string{password}); err != nil {
		return value, superuser, err
	}
	arn := c.fake.Add(c.service, fakeUser{ID: user, Name: user, Passwords: []string{password}})
	mark := `"engine":"memorydb"`
	if c.service == "elasticache" {
		mark = fmt.Sprintf(`"user_arn":%q`, arn)
	}
	return engine.StringValue(fmt.Sprintf(`{%s,"host":%q,"port":%d,"username":%q,"password":%q}`, mark, host, port,
		user, password)), superuser, nil
}

// Bind tags the user, as the operator does.
func (c *cache) Bind(_ context.Context, secret string, v engine.Value) error {
	host, _ := v.Text("host")
	port, _ := v.Text("port")
	c.fake.Tag(c.service, id(v), "rotator:secret", secret)
	c.fake.Tag(c.service, id(v), "rotator:endpoint", host+":"+port)
	return nil
}

// Open logs in with an independent client.
func (c *cache) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	client := redis.NewClient(c.server.Options(user, password))
	defer client.Close()
	err := client.Ping(ctx).Err()
	if redis.HasErrorPrefix(err, "WRONGPASS") {
		return fmt.Errorf("%w: %w", engine.LoginRefused, err)
	}
	return err
}

func (c *cache) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	c.fake.Wait()
	c.fake.Add(c.service, fakeUser{ID: user, Name: user, Passwords: []string{password},
		Tags: c.fake.User(c.service, user).Tags})
	return c.apply(user, []string{password})
}

func (c *cache) Credentials(_ context.Context, v engine.Value) (int, error) {
	user, _ := v.Text("username")
	return len(c.fake.User(c.service, user).Passwords), nil
}
