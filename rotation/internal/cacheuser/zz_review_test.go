//go:build repro

package cacheuser_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/awsfake"
	"example.com/rotator/internal/testing/zzworld"
	"example.com/rotator/rotation/engine"
)

const known = "Known-To-The-Writer-0123456789"

// C1: whoever may put a value, and nothing else, gets a password of the user that
// works: the function gives the user the one in AWSCURRENT beside the new one.
func TestZZWriterGivesTheUserAPasswordItKnows(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		v, _, err := c.New(t.Context(), "localhost", c.server.Port)
		if err != nil {
			t.Fatal(err)
		}
		w := zzworld.New(t, c.Engine())
		arn := w.Secret("app/cache", string(v.Reveal()))
		if err := c.Bind(t.Context(), arn, v); err != nil {
			t.Fatal(err)
		}
		user := id(v)
		arnField, _ := v.Text("user_arn")
		mark := `"engine":"memorydb"`
		if arnField != "" {
			mark = fmt.Sprintf(`"user_arn":%q`, arnField)
		}
		// The attacker cannot read the secret. It needs no host.
		w.Put(arn, fmt.Sprintf(`{%s,"username":%q,"password":%q}`, mark, user, known))
		err = w.Rotate(arn)
		got := c.fake.User(c.service, user).Passwords
		t.Logf("rotate: %v; passwords: %d", err, len(got))
		for _, p := range got {
			if p == known {
				t.Error("PROVED: the real user has the writer's password, without host")
			}
		}
	})
}

// C2: the same with a host of the writer's own, which accepts anything.
func TestZZWriterGivesTheUserAPasswordByAHostOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, c *cache) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					r := bufio.NewReader(conn)
					for {
						line, err := r.ReadString('\n')
						if err != nil {
							return
						}
						if strings.EqualFold(strings.TrimSpace(line), "AUTH") || strings.EqualFold(strings.TrimSpace(line), "PING") {
							if strings.EqualFold(strings.TrimSpace(line), "AUTH") {
								for range 4 {
									_, _ = r.ReadString('\n')
								}
							}
							_, _ = io.WriteString(conn, "+OK\r\n")
						}
					}
				}()
			}
		}()
		v, _, err := c.New(t.Context(), "localhost", c.server.Port)
		if err != nil {
			t.Fatal(err)
		}
		w := zzworld.New(t, c.Engine())
		arn := w.Secret("app/cache", string(v.Reveal()))
		if err := c.Bind(t.Context(), arn, v); err != nil {
			t.Fatal(err)
		}
		w.Put(arn, string(v.With("password", known).WithJSON("port", fmt.Append(nil, l.Addr().(*net.TCPAddr).Port)).WithJSON("ssl", []byte("false")).Reveal()))
		err = w.Rotate(arn)
		got := c.fake.User(c.service, id(v)).Passwords
		t.Logf("rotate: %v; %d", err, len(got))
		for _, p := range got {
			if p == known {
				t.Error("PROVED: the real user has the writer's password")
			}
		}
	})
}

var _ = tls.Config{}
var _ engine.Value

// C3: with SECRET_ARN and USER_NAME the name alone is compared; in ElastiCache several
// users have one name, and ids tell them apart.
func TestZZAnotherUserOfTheSameName(t *testing.T) {
	c := newCache(t, "elasticache")
	v, _, err := c.New(t.Context(), "localhost", c.server.Port)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := v.Text("username")
	victim := c.fake.Add("elasticache", awsfake.CacheUser{ID: "victim-id", Name: name, Passwords: []string{"Victims-Passw0rd-0123456789"}})
	c.options.SecretARN, c.options.UserName = "", name
	w := zzworld.New(t)
	arn := w.Secret("app/cache", string(bare(v).With("user_arn", victim).Reveal()))
	c.options.SecretARN = arn
	w.Engines = []engine.Engine{c.Engine()}
	err = w.Rotate(arn)
	got := c.fake.User("elasticache", "victim-id").Passwords
	t.Logf("rotation: %v; the victim has %d passwords", err, len(got))
	for _, p := range got {
		if p == "Victims-Passw0rd-0123456789" {
			return
		}
	}
	t.Error("PROVED: another user of that name is changed")
}
