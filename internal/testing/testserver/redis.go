package testserver

import (
	"cmp"
	"context"
	"embed"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisOptions configures Redis or Valkey. The zero value accepts only TLS, keeps its users in an ACL file and disables
// the default user.
type RedisOptions struct {
	// Valkey starts the Valkey of Debian 13 instead. It needs the build tag next.
	Valkey bool
	// NoTLS listens without TLS instead.
	NoTLS bool
	// NoACLFile keeps the users in the configuration file, where CONFIG REWRITE saves them and ACL SAVE is an error.
	NoACLFile bool
	// Users are additional lines such as "user app on >old ~app:* +@all". A line for "default" replaces ours, which
	// disables it.
	Users string
	// Password is the administrator's; if empty, it is generated.
	Password string
	// Config is appended to the configuration file.
	Config string
	// CA issues the certificate; nil creates a CA.
	CA *CA
	// Cert is the server's certificate; nil is one for localhost and 127.0.0.1.
	Cert *Certificate
}

// RedisServer is a running Redis or Valkey. Its administrator is an ACL user who may do everything.
type RedisServer struct {
	Server
	// ConfigFile is the file that CONFIG REWRITE writes.
	ConfigFile string
}

//go:embed conf/redis.conf conf/users.acl
var redisFiles embed.FS

// StartRedis starts the machine's Redis. Measured on two cores: 0.03 s.
func StartRedis(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	name := "redis"
	if o.Valkey {
		name = "valkey"
	}
	s := &RedisServer{Server: NewServer(name, o.NoTLS, o.CA, o.Cert)}
	s.ConfigFile = s.Path("redis.conf")
	s.Password = cmp.Or(o.Password, s.Password)
	return s, s.Start(ctx, Launch{
		Program: name + "-server",
		Files:   redisFiles, S: s, O: o,
		Args: func() []string { return []string{s.ConfigFile} },
		Ready: func(ctx context.Context) error {
			options := s.Options(s.User, s.Password)
			if o.Cert != nil {
				// The certificate may be for another name, which the test checks.
				options.TLSConfig.InsecureSkipVerify = true
			}
			client := redis.NewClient(options)
			defer client.Close()
			return client.Ping(ctx).Err()
		},
	})
}

// Redis starts a Redis that ends with the test.
var Redis = During(StartRedis)

// Options returns a client's options for a user, without retries. TLS, if any, is verified against the server's CA.
func (s *RedisServer) Options(user, password string) *redis.Options {
	return &redis.Options{Addr: s.Addr(), Username: user, Password: password, MaxRetries: -1, TLSConfig: s.ClientTLS()}
}

// Connect opens the administrator's client until the test's end.
func (s *RedisServer) Connect(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(s.Options(s.User, s.Password))
	t.Cleanup(func() { client.Close() })
	Must(t, client.Ping(context.Background()).Err(), "log in as the administrator")
	return client
}
