package redis

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/operator"
)

func nodesAt(t testing.TB, text string) Nodes {
	t.Helper()
	n, err := ParseNodes(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestParseNodes(t *testing.T) {
	n := nodesAt(t, "10.0.3.0/24, 192.168.1.7\nfd00::/8 FE80::2 Redis-2.example.com.")
	for host, want := range map[string]bool{
		"10.0.3.9": true, "10.0.4.9": false, "192.168.1.7": true, "192.168.1.8": false,
		"fd00::1": true, "fe80::1": false, "fe80::2": true,
		"redis-2.example.com": true, "redis-2.example.com.": true, "redis-3.example.com": false,
		"example.com": false, "": false,
	} {
		if n.allow(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
	if (Nodes{}).allow("10.0.3.9") {
		t.Error("an empty list allows a node")
	}
	for _, bad := range []string{"10.0.3.0/33", "10.0.3.9:6379", "*.example.com", "redis://h", "u@h"} {
		_, err := ParseNodes("h " + bad)
		enginetest.WantCause(t, err, engine.InvalidConfiguration, bad)
	}
}

// thief listens at 127.0.0.9 as a server with a certificate for the name, and forwards what it receives.
func thief(t *testing.T, ca *testserver.CA, name string) (port string, stolen <-chan string) {
	t.Helper()
	cert, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert.CertPEM, cert.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.9:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	return strconv.Itoa(testserver.Serve(t, l, func(conn net.Conn) {
		if words, err := command(bufio.NewReader(conn)); err == nil {
			told <- strings.Join(words, " ")
		}
		_, _ = io.WriteString(conn, "-ERR no\r\n") // the client may be gone
	})), told
}

// announce makes the server list a replica at any address.
func (f *fixture) announce(user, host, port string) {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.Addr(), f.CA.ClientTLS("localhost"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	r := bufio.NewReader(conn)
	for _, c := range []string{"AUTH " + user + " first-" + user, "REPLCONF listening-port " + port,
		"REPLCONF ip-address " + host, "PSYNC ? -1"} {
		_, _ = io.WriteString(conn, c+"\r\n")
		if line, err := r.ReadString('\n'); err != nil || line[0] != '+' {
			f.t.Fatalf("%s: %q, %v", strings.Fields(c)[0], line, err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(fmt.Sprint(f.do("INFO", "replication")),
		"ip="+host+",port="+port); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatal("the replica is not listed")
		}
	}
}

// A user that may replicate, with the rights that the engine's page lists for it, can list any address as a replica.
// No password may be sent there.
func TestNoPasswordIsSentToAReplicaThatListsItself(t *testing.T) {
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, cert, trusted string
		superuser, sent     bool
		want                engine.Cause
		advice              string
	}{
		{"superuser", "localhost", "", true, false, engine.TargetFailed, nodesVariable},
		{"superuser, another node trusted", "127.0.0.9", "127.0.0.8", true, false, engine.TargetFailed, nodesVariable},
		{"superuser, trusted", "127.0.0.9", "127.0.0.9", true, true, engine.TargetFailed, ""},
		{"user", "localhost", "", false, false, engine.TargetFailed, nodesVariable},
		{"user, trusted", "localhost", "127.0.0.0/8", false, true, engine.TargetFailed, ""},
		{"user, trusted, another's certificate", "127.0.0.7", "127.0.0.0/8", false, false, engine.TLSFailed,
			"certificate for this address or for the secret's host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, testserver.Redis, testserver.RedisOptions{CA: ca})
			f.engine.trusted = nodesAt(t, c.trusted)
			user := f.user("+@all", "~*")
			port, stolen := thief(t, ca, c.cert)
			f.announce(f.user("+psync", "+replconf", "+ping"), "127.0.0.9", port)
			r := f.request(user, "first-"+user, "second")
			if !c.superuser {
				r = f.self(user, "first-"+user, "second")
			}
			for step, err := range map[string]error{"DryRun": f.engine.DryRun(enginetest.Within(t), r),
				"Set": f.engine.Set(enginetest.Within(t), r)} {
				enginetest.WantCause(t, err, c.want, c.advice)
				if !strings.Contains(fmt.Sprint(err), "127.0.0.9:"+port) {
					t.Errorf("%s: the error does not name the node: %v", step, err)
				}
			}
			f.wantPasswords(user, "first-"+user)
			select {
			case got := <-stolen:
				if !c.sent {
					t.Errorf("sent: %s ***", strings.Join(strings.Fields(got)[:2], " "))
				}
			default:
				if c.sent {
					t.Error("nothing was sent")
				}
			}
		})
	}
}

// linked waits until a replica has its data from its primary.
func (f *fixture) linked() {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(f.do("INFO", "replication").(string),
		"master_link_status:up"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatal("the replica does not replicate")
		}
	}
}

// A user name that contains "unknown" must not look like a server without CLUSTER, where only the secret's host would
// be changed.
func TestRefusalIsNotAnAbsentCommand(t *testing.T) {
	v := scripted(t, map[string]string{
		"CLUSTER": "-NOPERM User unknown-device has no permissions to run the 'cluster|nodes' command\r\n"})
	r := &engine.Request{Current: v, Pending: v.With("password", "second"), Login: v}
	err := New(engine.TLSPolicy{}, Nodes{}).DryRun(enginetest.Within(t), r)
	enginetest.WantCause(t, err, engine.PrivilegeMissing, "the nodes of the cluster cannot be listed")
}

// A server without AUTH quotes a truncated command. A part of a password is not recognized when secrets are removed
// from errors.
func TestErrorsContainNoPartOfAPassword(t *testing.T) {
	password := strings.Repeat("k", 120) + "-the-end"
	a := newAccount(newFixture(t, testserver.Redis, testserver.RedisOptions{Config: `rename-command AUTH ""`,
		Users: "user default on nopass ~* &* +@all"}))
	_, err := a.rotate(a.secret(a.value("app", password)))
	enginetest.WantCause(t, err, engine.TargetFailed, "unknown command 'AUTH'")
	if err != nil && strings.Contains(err.Error(), "kkkk") {
		t.Error("part of the password is in the error")
	}
}

// A node without the user is not a refusal of a credential that the secret's host accepts: refusals move labels.
func TestNodeWithoutTheUserIsNamed(t *testing.T) {
	nodes, user := newCluster(t)
	nodes[0].do("ACL", "SETUSER", user, "+@all")
	nodes[2].do("ACL", "DELUSER", user)
	a := newAccount(nodes[0])
	at := fmt.Sprintf("127.0.0.1:%d", nodes[2].Port)
	v := a.value(user, "first")
	r := &engine.Request{Strategy: engine.SingleUser, Current: v, Pending: v, Login: v}
	enginetest.WantCause(t, a.engine.Verify(enginetest.Within(t), r, v), engine.TargetFailed, at)
	for name, v := range map[string]engine.Value{
		"by itself": v, "by a superuser": v.With("masterarn", a.secret(a.value(a.User, a.Password)))} {
		arn := a.secret(v)
		_, err := a.rotate(arn)
		enginetest.WantCause(t, err, engine.TargetFailed, at)
		d, err := operator.Diagnose(enginetest.Within(t), a.rotator(), arn)
		if d.Action != "" && d.Opens != "AWSCURRENT" {
			t.Errorf("%s: recover would %s (%v)", name, d.Action, err)
		}
	}
	nodes[0].wantPasswords(user, "first")
}

// The next rotation repairs a node that missed one.
func TestNodeThatMissedARotationIsRepaired(t *testing.T) {
	nodes, user := newCluster(t)
	nodes[0].do("ACL", "SETUSER", user, "+@all")
	a := newAccount(nodes[0])
	arn := a.secret(a.value(user, "first").With("masterarn", a.secret(a.value(a.User, a.Password))))
	second, err := a.rotate(arn)
	if err != nil {
		t.Fatal(err)
	}
	nodes[1].do("ACL", "SETUSER", user, "resetpass", ">first")
	third, err := a.rotate(arn)
	if err != nil {
		t.Fatal(err)
	}
	nodes[0].wantPasswords(user, second, third)
	nodes[1].wantPasswords(user, third)
}

// If a user changes itself, an interrupted change is completed even though no password opens all nodes; the secret's
// host is changed last.
func TestInterruptedChangeByTheUserItselfIsCompleted(t *testing.T) {
	nodes, user := newCluster(t)
	for _, n := range nodes {
		n.do("ACL", "SETUSER", user, "+@all")
	}
	// Current is not valid on the second node, so it is not kept there.
	nodes[1].do("ACL", "SETUSER", user, "resetpass", ">second")
	r := nodes[0].self(user, "first", "second")
	if err := errors.Join(nodes[0].engine.DryRun(enginetest.Within(t), r),
		nodes[0].engine.Set(enginetest.Within(t), r)); err != nil {
		t.Fatal(err)
	}
	nodes[0].wantPasswords(user, "first", "second")
	nodes[1].wantPasswords(user, "second")
	nodes[2].wantPasswords(user, "first", "second")
}
