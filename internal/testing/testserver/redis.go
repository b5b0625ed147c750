package testserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions configures Redis or Valkey. The zero value accepts only TLS, keeps its users in an ACL file and disables
// the default user.
type RedisOptions struct {
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
	// ConfigFile and ACLFile are the files that CONFIG REWRITE and ACL SAVE write. ACLFile is empty under NoACLFile.
	ConfigFile, ACLFile string
}

// StartRedis starts the machine's Redis. Measured on two cores: 0.03 s.
func StartRedis(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	path, err := program("redis-server")
	if err != nil {
		return nil, err
	}
	return startRedis(ctx, "redis", o, path)
}

// StartValkey starts the Valkey of Debian 13, which `make deps-next` fetches. Measured on two cores: 0.1 s.
func StartValkey(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	path, err := cached(trixie+"/usr/bin/valkey-server", "deps-next")
	if err != nil {
		return nil, err
	}
	return startRedis(ctx, "valkey", o, path)
}

// startRedis starts a redis-server or valkey-server.
func startRedis(ctx context.Context, name string, o RedisOptions, path string) (*RedisServer, error) {
	server, err := prepare(name, o.NoTLS, o.CA, o.Cert)
	if err != nil {
		return nil, err
	}
	s := &RedisServer{Server: *server, ConfigFile: server.path("redis.conf")}
	if o.Password != "" {
		s.Password = o.Password
	}
	users := fmt.Sprintf("user %s on #%x ~* &* +@all\n", s.User, sha256.Sum256([]byte(s.Password)))
	if !strings.Contains(o.Users, "user default ") {
		users += "user default off\n"
	}
	users += o.Users + "\n"
	files := map[string]string{}
	config := "bind 127.0.0.1\nsave \"\"\ndir " + s.Dir + "\n"
	if o.NoACLFile {
		config += users
	} else {
		s.ACLFile = s.path("users.acl")
		config += "aclfile " + s.ACLFile + "\n"
		files["users.acl"] = users
	}
	files["redis.conf"] = config + o.Config + "\n"
	return s, s.start(ctx, launch{
		files: func(int) map[string]string { return files },
		command: func(port int) []string {
			args := []string{path, s.ConfigFile}
			if o.NoTLS {
				return append(args, "--port", strconv.Itoa(port))
			}
			return append(args, "--port", "0", "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no",
				"--tls-cert-file", s.path("server.crt"), "--tls-key-file", s.path("server.key"),
				"--tls-ca-cert-file", s.CAFile)
		},
		ready: func(ctx context.Context) error {
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
var Redis = during(StartRedis)

// Valkey starts a Valkey that ends with the test.
var Valkey = during(StartValkey)

// RedisCluster starts a Redis cluster that ends with the test, with the given number of nodes, each of which owns a
// share of the slots. They share options, CA and administrator. Measured on two cores: 0.9 s for three nodes.
func RedisCluster(t testing.TB, nodes int, o RedisOptions) []*RedisServer {
	t.Helper()
	const slots = 16384
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("testserver: redis cluster: %v", err)
		}
	}
	if o.CA == nil {
		ca, err := NewCA()
		must(err)
		o.CA = ca
	}
	o.Password = cmp.Or(o.Password, Unique("admin-"))
	if !o.NoTLS {
		o.Config += "\ntls-cluster yes"
	}
	var cluster []*RedisServer
	var clients []*redis.Client
	for i := range nodes {
		bus, err := FreePort() // the default, the port plus 10000, may exceed the highest port
		must(err)
		node := o
		node.Config += fmt.Sprintf("\ncluster-enabled yes\ncluster-node-timeout 2000\ncluster-port %d", bus)
		s := Redis(t, node)
		cluster, clients = append(cluster, s), append(clients, s.Connect(t))
		must(clients[i].ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err())
		must(clients[0].Do(ctx, "CLUSTER", "MEET", "127.0.0.1", s.Port, bus).Err())
	}
	for _, client := range clients {
		for { // until all nodes are known, or the context ends
			info, err := client.ClusterInfo(ctx).Result()
			must(err)
			if strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", nodes)) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return cluster
}

// Options returns a client's options for a user, without retries. TLS, if any, is verified against the server's CA.
func (s *RedisServer) Options(user, password string) *redis.Options {
	return &redis.Options{Addr: s.Addr(), Username: user, Password: password, MaxRetries: -1, TLSConfig: s.clientTLS()}
}

// Connect opens the administrator's client until the test's end.
func (s *RedisServer) Connect(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(s.Options(s.User, s.Password))
	t.Cleanup(func() { client.Close() })
	if err := client.Ping(context.Background()).Err(); err != nil {
		t.Fatalf("testserver: log in as the administrator: %v", err)
	}
	return client
}
