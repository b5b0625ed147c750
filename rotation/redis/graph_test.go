package redis

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/internal/resp"
)

// newCluster starts a cluster and creates a user on each of its nodes.
func newCluster(t *testing.T) (nodes []*fixture, user string) {
	t.Helper()
	user = testserver.Unique("app-")
	for _, s := range startCluster(t) {
		f := &fixture{s, t, s.Connect(t), New(engine.TLSPolicy{ExtraCAs: s.CA.PEM}, nodesAt(t, "127.0.0.0/8"))}
		f.do("ACL", "SETUSER", user, "on", ">first", "+ping")
		nodes = append(nodes, f)
	}
	return nodes, user
}

func TestClusterIsChangedAtEveryNode(t *testing.T) {
	nodes, user := newCluster(t)
	r := nodes[0].request(user, "first", "second")
	if err := errors.Join(nodes[0].engine.DryRun(enginetest.Within(t), r),
		nodes[0].engine.Set(enginetest.Within(t), r)); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.wantPasswords(user, "first", "second")
	}
	nodes[1].restart()
	nodes[1].wantPasswords(user, "first", "second")
}

// If a superuser changes the user, testSecret asks the host alone. A retry repairs another node that lost the password.
func TestHostDecidesIfASuperuserChangesTheUser(t *testing.T) {
	nodes, user := newCluster(t)
	r := nodes[0].request(user, "first", "second")
	set := func() error { return nodes[0].engine.Set(enginetest.Within(t), r) }
	verify := func() error { return nodes[0].engine.Verify(enginetest.Within(t), r, r.Pending) }
	if err := set(); err != nil {
		t.Fatal(err)
	}
	nodes[1].do("ACL", "SETUSER", user, "resetpass", ">first")
	if err := errors.Join(verify(), set()); err != nil {
		t.Error(err)
	}
	nodes[1].wantPasswords(user, "first", "second")
	nodes[0].do("ACL", "SETUSER", user, "resetpass", ">first")
	enginetest.WantCause(t, verify(), engine.LoginRefused, "")
}

// A change that stops halfway leaves the current password valid everywhere, and a retry from any node completes it.
func TestClusterConvergesAfterAnInterruptedChange(t *testing.T) {
	nodes, user := newCluster(t)
	for _, stopped := range nodes {
		if err := os.Chmod(stopped.Dir, 0o500); err != nil {
			t.Fatal(err)
		}
		r := nodes[0].request(user, "first", "second")
		if err := nodes[0].engine.Set(enginetest.Within(t), r); !errors.Is(err, engine.TargetFailed) {
			t.Fatalf("a node that cannot save: %v", err)
		}
		// The secret's host comes last, so it accepts the new password only when all nodes do.
		if slices.Contains(nodes[0].hashes(user), hash("second")) != (stopped == nodes[0]) {
			t.Errorf("%s cannot save, and the secret's host was not the last", stopped.Addr())
		}
		for _, n := range nodes {
			if !slices.Contains(n.hashes(user), hash("first")) {
				t.Errorf("%s: the current password was lost", n.Addr())
			}
		}
		if err := os.Chmod(stopped.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := nodes[1].engine.Set(enginetest.Within(t), nodes[1].request(user, "first", "second")); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			n.wantPasswords(user, "first", "second")
			n.do("ACL", "SETUSER", user, "resetpass", ">first")
		}
	}
}

func TestClusterWithoutANodeIsNotChanged(t *testing.T) {
	nodes, user := newCluster(t)
	nodes[1].do("ACL", "DELUSER", user)
	r := nodes[0].request(user, "first", "second")
	if err := nodes[0].engine.Set(enginetest.Within(t), r); !errors.Is(err, engine.TargetFailed) ||
		!strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a node without the user: %v", err)
	}
	nodes[0].wantPasswords(user, "first")
	nodes[1].do("ACL", "SETUSER", user, "on", ">first", "+ping")
	if err := nodes[2].Halt(); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].engine.Set(enginetest.Within(t), r); !errors.Is(err, engine.Unreachable) {
		t.Errorf("a node that just stopped: %v", err)
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := nodes[0].engine.Set(enginetest.Within(t), r)
		if !errors.Is(err, engine.Unreachable) {
			t.Fatalf("a stopped node: %v", err)
		}
		if strings.Contains(err.Error(), "is down") {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal("the cluster does not detect the stopped node")
		}
	}
	for _, n := range nodes[:2] {
		n.wantPasswords(user, "first")
	}
	if err := nodes[2].Resume(enginetest.Within(t)); err != nil {
		t.Fatal(err)
	}
}

// A primary and its replica have separate users. Replication has its own user, which is refused.
func TestReplicasAreChanged(t *testing.T) {
	ca, err := testserver.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	o := testserver.RedisOptions{CA: ca, Password: "administrator",
		Users:  "user link on >first ~* &* +@all\nuser app on >first ~* &* +get",
		Config: "tls-replication yes\nmasteruser link\nmasterauth first\nrepl-timeout 5"}
	primary := newFixture(t, testserver.Redis, o)
	o.Config += fmt.Sprintf("\nreplicaof 127.0.0.1 %d", primary.Port)
	replica := newFixture(t, testserver.Redis, o)
	replica.linked()
	current := "first"
	for i, pending := range []string{"second", "third", "fourth"} {
		// The secret's host may be either of them.
		seed := []*fixture{primary, replica}[i%2]
		if err := seed.engine.Set(enginetest.Within(t), seed.request("app", current, pending)); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*fixture{primary, replica} {
			f.wantPasswords("app", current, pending)
		}
		replica.restart()
		replica.linked()
		replica.wantPasswords("app", current, pending)
		current = pending
		r := seed.request("link", "first", "second")
		for _, change := range []error{seed.engine.DryRun(enginetest.Within(t), r),
			seed.engine.Set(enginetest.Within(t), r)} {
			enginetest.WantCause(t, change, engine.TargetFailed, "replicates as the user")
		}
	}
	for _, f := range []*fixture{primary, replica} {
		f.wantPasswords("link", "first")
	}
}

func TestPeers(t *testing.T) {
	const text = "a 127.0.0.1:7001@17001,host.example myself,master - 0 0 1 connected 0-5460\n" +
		"b ::1:7002@17002,,tls-port=7003 slave a 0 0 2 connected\n" +
		"c 10.0.0.1:7003 master,fail? - 0 0 3 connected 5461\n" +
		"d 10.0.0.2:7004@17004,second.example master - 0 0 3 connected\n\n"
	got, err := peers(text)
	want := []neighbor{{"::1", "7002", ""}, {"10.0.0.1", "7003", ""}, {"10.0.0.2", "7004", "second.example"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"a", "a b c", "a b:x@1 master", "a :7001@1 master",
		"a h:70000@1 master", "a h:0@1 master"} {
		list, err := peers(bad)
		if err != nil || len(list) != 1 {
			t.Fatalf("%q: %v, %v", bad, list, err)
		}
		enginetest.WantCause(t, (&graph{nodes: nodes{{Conn: &resp.Conn{}}}}).enter(list[0]), engine.TargetFailed,
			"cannot be parsed")
	}
	for _, gone := range []string{"d :0@0 master,noaddr -", "e 10.0.0.2:7004@17004,second.example master,fail -",
		"f h:1@1 handshake"} {
		if _, err := peers(text + gone); !errors.Is(err, engine.Unreachable) {
			t.Errorf("%q: %v", gone, err)
		}
	}
}

func FuzzPeers(f *testing.F) {
	f.Add("a 127.0.0.1:7001@17001,host.example myself,master - 0 0 1 connected 0-5460\nb ::1:7002@17002 slave a 0 0 " +
		"2 connected")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := peers(text)
		if err != nil && list != nil {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// scripted starts a server that answers commands by their first words as scripted, and all others with +OK.
func scripted(t *testing.T, script map[string]string) engine.Value {
	port := listen(t, func(command string) string {
		for _, words := range slices.Backward(slices.Sorted(maps.Keys(script))) {
			if strings.HasPrefix(command, words) {
				return script[words]
			}
		}
		return "+OK\r\n"
	})
	return engine.StringValue(fmt.Sprintf(
		`{"host":"127.0.0.1","port":%d,"username":"u","password":"the-password","ssl":false}`, port))
}

// These states are too brief on a real server, or exist only on older or closed servers.
func TestAnswersOfOtherServers(t *testing.T) {
	const (
		account = "*4\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$9\r\npasswords\r\n*0\r\n"
		noFile  = "$17\r\ncluster_enabled:0\r\n"
	)
	for _, c := range []struct {
		name   string
		script map[string]string
		want   engine.Cause
		text   string
	}{
		{"loading", map[string]string{"PING": "-LOADING Redis is loading the dataset in memory\r\n"},
			engine.TargetFailed, "loading the dataset"},
		{"protected", map[string]string{"AUTH": "-DENIED Redis is running in protected mode\r\n"},
			engine.TargetFailed, "protected mode"},
		{"version 5", map[string]string{"AUTH": "-ERR wrong number of arguments for 'auth' command\r\n"},
			engine.TargetFailed, "number of arguments"},
		{"forgotten", map[string]string{"PING": "-NOAUTH Authentication required.\r\n"},
			engine.TargetFailed, "retries"},
		{"not Redis", map[string]string{"AUTH": "HTTP/1.1 400 Bad Request\r\n"},
			engine.TargetFailed, "not in Redis's protocol"},
		{"cut", map[string]string{"AUTH": ""}, engine.Unreachable, "failed"},
	} {
		v := scripted(t, c.script)
		err := New(engine.TLSPolicy{}, Nodes{}).
			Verify(enginetest.Within(t), &engine.Request{SuperuserChanges: true, Pending: v}, v)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.want, c.text)
		}
		if err != nil && strings.Contains(err.Error(), "the-password") {
			t.Errorf("%s: the password is in the error", c.name)
		}
	}
	for _, c := range []struct {
		name         string
		script       map[string]string
		text, advice string
	}{
		{"no file", map[string]string{"INFO": noFile, "ACL GETUSER": account, "CONFIG GET": "*0\r\n"},
			"no file", "configuration or ACL file"},
		{"no CONFIG, as at ElastiCache", map[string]string{"INFO": noFile, "ACL GETUSER": account,
			"CONFIG": "-ERR unknown command 'CONFIG'\r\n"}, "cannot be read", "ElastiCache"},
		{"a Sentinel", map[string]string{"INFO": "$19\r\nredis_mode:sentinel\r\n",
			"CLUSTER": "-ERR unknown command 'CLUSTER', with args beginning with: 'NODES' \r\n"},
			"unknown command 'CLUSTER'", "a data node"},
		// No replica is connected then, and all these commands work.
		{"loading, as INFO says", map[string]string{
			"INFO": "$26\r\nconfig_file:x\r\nloading:1\r\n\r\n", "ACL GETUSER": account,
			"CONFIG GET": "*0\r\n"}, "the server is loading its data", "wait"},
	} {
		v := scripted(t, c.script)
		e := New(engine.TLSPolicy{}, Nodes{})
		r := &engine.Request{Current: v, Pending: v.With("password", "second"), Login: v}
		for step, err := range map[string]error{"DryRun": e.DryRun(enginetest.Within(t), r),
			"Set": e.Set(enginetest.Within(t), r)} {
			if !errors.Is(err, engine.TargetFailed) || !strings.Contains(err.Error(), c.text) ||
				!strings.Contains(err.Error(), c.advice) {
				t.Errorf("%s: %s: %v", c.name, step, err)
			}
		}
	}
}

// A server that names many others in long answers costs little memory: almost nothing of the answers is kept.
func TestLongAnswersUseLittleMemory(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	replicas, count := "", 50
	info := func() string {
		text := replicas + "cluster_enabled:0\r\nrun_id:" + testserver.Unique("") + strings.Repeat("r", 1<<20) + "\r\nconfig_file:" +
			strings.Repeat("c", 1<<20) + "\r\n"
		return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	}
	testserver.Serve(t, l, answers(func(command string) string {
		switch {
		case strings.HasPrefix(command, "INFO"):
			return info()
		case strings.HasPrefix(command, "ACL GETUSER"):
			return "*4\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$9\r\npasswords\r\n*100\r\n" +
				strings.Repeat("$64\r\n"+hash("x")+"\r\n", 100)
		}
		return "+OK\r\n"
	}))
	v := engine.StringValue(fmt.Sprintf(`{"host":"127.0.0.1","port":%s,"username":"u","password":"first","ssl":false}`,
		port))
	e := New(engine.TLSPolicy{}, nodesAt(t, "127.0.0.0/8"))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for i := range count {
		replicas += fmt.Sprintf("slave%d:ip=127.0.1.%d,port=%s\r\n", i, i+1, port)
	}
	before := heap()
	all, err := e.open(enginetest.Within(t), &engine.Request{}, "u", v)
	if err != nil {
		t.Fatal(err)
	}
	if took := int64(heap()-before) >> 20; len(all) != count+1 || took > 20 {
		t.Errorf("%d nodes take %d MiB", len(all), took)
	}
	all.close()
	replicas = "slave0:ip=" + strings.Repeat("x", 300) + ",port=1\r\n"
	_, err = e.open(enginetest.Within(t), &engine.Request{}, "u", v)
	enginetest.WantCause(t, err, engine.TargetFailed, "too long")
}

// Except for the login, the server receives only hashes of passwords. An error that quotes the command does not reveal
// a hash.
func TestServerReceivesOnlyHashes(t *testing.T) {
	sent := make(chan string, 100)
	port := listen(t, func(command string) string {
		sent <- command
		switch {
		case strings.HasPrefix(command, "INFO"):
			return "$32\r\nconfig_file:x\r\ncluster_enabled:0\r\n"
		case strings.HasPrefix(command, "ACL GETUSER"):
			return "*4\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$9\r\npasswords\r\n*1\r\n$64\r\n" + hash("first") + "\r\n"
		case strings.HasPrefix(command, "CONFIG GET"):
			return "*0\r\n"
		case strings.HasPrefix(command, "ACL SETUSER"):
			return "-ERR Error in ACL SETUSER modifier '#" + hash("second") + "': Syntax error\r\n"
		}
		return "+OK\r\n"
	})
	v := engine.StringValue(fmt.Sprintf(`{"host":"127.0.0.1","port":%d,"username":"u","password":"first","ssl":false}`,
		port))
	err := New(engine.TLSPolicy{}, Nodes{}).
		Set(enginetest.Within(t), &engine.Request{Current: v, Pending: v.With("password", "second"), Login: v})
	if err == nil || !strings.Contains(err.Error(), "[hash]") || strings.Contains(err.Error(), hash("second")) {
		t.Errorf("%v", err)
	}
	close(sent)
	var last string
	for command := range sent {
		if last = command; !strings.HasPrefix(command, "AUTH") && (strings.Contains(command, "first") ||
			strings.Contains(command, "second")) {
			t.Errorf("sent: %s", command)
		}
	}
	if want := "ACL SETUSER u resetpass #" + hash("second") + " #" + hash("first"); last != want {
		t.Errorf("sent %q, want %q", last, want)
	}
}
