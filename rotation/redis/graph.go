package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/resp"
)

// The secret's host names the other nodes, but a password is sent only to those that the operator trusts: without TLS
// nothing proves a node's identity, anyone who reaches the cluster bus can join, and a replica, which needs only the
// rights for PSYNC and REPLCONF, chooses the address under which it is listed.
// Sources: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (nodes handshake),
// https://github.com/redis/redis/blob/7.0.15/src/replication.c (replconfCommand)

type neighbor struct {
	host, port string
	name       string // in the cluster, or ""
}

type graph struct {
	ctx     context.Context
	engine  *Engine
	request *engine.Request
	// logins are tried in order on a node: after an interrupted change, nodes accept different passwords.
	logins []engine.Value
	nodes  nodes
	known  map[string]bool // addresses already logged in to
}

// longestName is DNS's limit.
const longestName = 255

// open logs in to all nodes of a cluster, or a primary and its replicas, and reads what they store about the user. The
// first of the logins must open the secret's host. It returns the open nodes even with an error.
func (e *Engine) open(ctx context.Context, r *engine.Request, user string, logins ...engine.Value) (nodes, error) {
	service, err := managed(r)
	t, perr := parse(logins[0])
	if err = cmp.Or(err, perr); err != nil {
		return nil, err
	}
	conn, err := resp.Login(ctx, e.tls, t)
	if err != nil {
		return nil, err
	}
	g := &graph{ctx, e, r, logins, nodes{{Conn: conn}},
		map[string]bool{t.Address(): true, conn.Address(): true}}
	if service {
		return g.nodes, g.nodes[0].inspect(user)
	}
	cluster, err := g.cluster()
	for i := 0; err == nil && i < len(g.nodes); i++ {
		err = g.visit(g.nodes[i], user, cluster)
	}
	return g.nodes, err
}

// visit inspects a node. Outside a cluster, links between primaries and replicas are followed both ways.
func (g *graph) visit(n *node, user string, cluster bool) error {
	info, err := n.info()
	if err != nil {
		return err
	}
	if n == g.nodes[0] {
		g.request.Met("Redis " + info["redis_version"])
	}
	if !cluster {
		if err := g.add(neighbors(info), nil); err != nil {
			return err
		}
	}
	if err := n.inspect(user); err != nil {
		return err
	}
	return n.inspectFiles(user, info["config_file"] != "")
}

// cluster logs in to every node of a cluster, replicas included. It returns false if there is no cluster.
func (g *graph) cluster() (bool, error) {
	reply, err := g.nodes[0].Do("the nodes of the cluster cannot be listed", "CLUSTER", "NODES")
	if resp.Unknown(err) || resp.Code(err) == "ERR" && strings.Contains(err.Error(), "cluster support disabled") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text, _ := reply.(string)
	return true, g.add(peers(text))
}

// errList is the error for a list that no real server returns.
var errList = errors.New("the server's list of nodes cannot be parsed, or has too long a name")

func (g *graph) add(list []neighbor, err error) error {
	for i := 0; err == nil && i < len(list); i++ {
		err = g.enter(list[i])
	}
	if errors.Is(err, errList) {
		err = g.nodes[0].fail("check the answers to CLUSTER NODES and INFO replication", "%w", err)
	}
	return err
}

func (g *graph) enter(n neighbor) error {
	port, err := strconv.ParseUint(n.port, 10, 16)
	if err != nil || port == 0 || n.host == "" || len(n.host) > longestName {
		return errList
	}
	first := g.nodes[0].Target
	t := first
	t.Host, t.Port = n.host, int(port)
	if g.known[t.Address()] {
		return nil
	}
	g.known[t.Address()] = true
	if !g.engine.trusted.allow(n.host) {
		return engine.Errorf(engine.TargetFailed, "add its address or network to the function's variable "+nodesVariable,
			"%s names the node %s, which is not trusted, so no password is sent there", first.Address(), t.Address())
	}
	names := []string{n.host, first.CertificateName()}
	if n.name != "" {
		names = append(names, n.name)
	}
	conn, err := g.login(t, names)
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Cause == engine.LoginRefused {
		// This is not a refusal of the secret: the node differs from the others.
		return engine.Errorf(engine.TargetFailed, "set it there with ACL SETUSER; users are not replicated",
			"the node %s refuses the user %q, which %s accepts: %w", t.Address(), t.User, first.Address(), e.Err)
	}
	if err != nil {
		return err
	}
	g.known[conn.Address()] = true
	g.nodes = append(g.nodes, &node{Conn: conn})
	return nil
}

// login logs in to a node with the first of the passwords that it does not refuse.
func (g *graph) login(t engine.Target, names []string) (conn *resp.Conn, err error) {
	for _, v := range g.logins {
		t.Password, _ = v.Text("password")
		if conn, err = resp.Login(g.ctx, g.engine.tls, t, names...); !errors.Is(err, engine.LoginRefused) {
			break
		}
	}
	return conn, err
}

// neighbors reads the other nodes from the answer to INFO.
func neighbors(info map[string]string) (list []neighbor) {
	if info["role"] == "slave" {
		list = append(list, neighbor{host: info["master_host"], port: info["master_port"]})
	}
	for i := 0; ; i++ {
		line, ok := info["slave"+strconv.Itoa(i)] // ip=…,port=…,…
		if !ok {
			return list
		}
		host, rest, _ := strings.Cut(strings.TrimPrefix(line, "ip="), ",port=")
		port, _, _ := strings.Cut(rest, ",")
		list = append(list, neighbor{host: host, port: port})
	}
}

// peers reads the other nodes from the answer to CLUSTER NODES, whose lines begin
//
//	id ip:port@bus[,name[,more]] flags
//
// All nodes must be present: a missing one would come back with the old passwords.
// Source: https://redis.io/docs/latest/commands/cluster-nodes/
func peers(text string) (list []neighbor, err error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 3 {
			return nil, errList
		}
		flags := strings.Split(fields[2], ",")
		if slices.Contains(flags, "myself") {
			continue
		}
		if slices.ContainsFunc(flags, func(f string) bool { return f == "fail" || f == "noaddr" || f == "handshake" }) {
			return nil, engine.Errorf(engine.Unreachable, "bring it back, or remove it with CLUSTER FORGET",
				"the cluster's node %.40s is down", fields[0])
		}
		address, more, _ := strings.Cut(fields[1], ",")
		address, _, _ = strings.Cut(address, "@")
		name, _, _ := strings.Cut(more, ",")
		colon := strings.LastIndexByte(address, ':')
		if colon < 0 {
			return nil, errList
		}
		list = append(list, neighbor{address[:colon], address[colon+1:], name})
	}
	return list, nil
}
