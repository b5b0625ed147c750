package redis

import (
	"context"
	"crypto/x509"
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
}

// longestName is DNS's limit.
const longestName = 255

// open logs in to all nodes of a cluster, or a primary and its replicas, and reads what they store about the user. The
// first of the logins must open the secret's host. It returns the open nodes even with an error.
func (e *Engine) open(ctx context.Context, r *engine.Request, user string, logins ...engine.Value) (nodes, error) {
	t, err := parse(logins[0])
	if err != nil {
		return nil, err
	}
	conn, err := resp.Login(ctx, e.tls, t)
	if err != nil {
		return nil, err
	}
	g := &graph{ctx, e, r, logins, nodes{{Conn: conn}}}
	for i := 0; err == nil && i < len(g.nodes); i++ {
		err = g.visit(g.nodes[i], user)
	}
	return g.nodes, err
}

// visit inspects a node and logs in to those that it names. The secret's host names all nodes of a cluster, replicas
// included. Outside a cluster, links between primaries and replicas are followed both ways.
func (g *graph) visit(n *node, user string) error {
	info, err := n.info()
	if err != nil {
		return err
	}
	first := n == g.nodes[0]
	if first {
		g.request.Met("Redis " + info["redis_version"])
	}
	var list []neighbor
	switch {
	case info["cluster_enabled"] == "0":
		list = neighbors(info)
	case first:
		list, err = n.cluster()
	}
	for i := 0; err == nil && i < len(list); i++ {
		err = g.enter(list[i])
	}
	if err == nil {
		err = n.inspect(user)
	}
	if err != nil {
		return err
	}
	return n.inspectFiles(user, info["config_file"] != "")
}

// enter logs in to a node, unless it is open already.
func (g *graph) enter(n neighbor) error {
	port, err := strconv.ParseUint(n.port, 10, 16)
	if err != nil || port == 0 || n.host == "" || len(n.host) > longestName {
		return g.nodes[0].fail("check the answers to CLUSTER NODES and INFO replication",
			"the server's list of nodes cannot be parsed, or has too long a name")
	}
	first := g.nodes[0].Target
	t := first
	t.Host, t.Port = n.host, int(port)
	if slices.ContainsFunc(g.nodes, func(known *node) bool {
		return t.Address() == known.Target.Address() || t.Address() == known.Address()
	}) {
		return nil
	}
	if !g.engine.trusted.allow(n.host) {
		return engine.Errorf(engine.TargetFailed, "add its address or network to the function's variable "+nodesVariable,
			"%s names the node %s, which is not trusted, so no password is sent there", first.Address(), t.Address())
	}
	names := []string{n.host, first.CertificateName()}
	if n.name != "" {
		names = append(names, n.name)
	}
	conn, err := g.login(t, names)
	e, _ := errors.AsType[*engine.Error](err)
	_, named := errors.AsType[x509.HostnameError](err)
	switch {
	case err == nil:
		g.nodes = append(g.nodes, &node{Conn: conn})
	case e.Cause == engine.LoginRefused: // not a refusal of the secret: the node differs from the others
		return engine.Errorf(engine.TargetFailed, "set its password there with ACL SETUSER; users are not replicated",
			"the node %s refuses the user %q, which %s accepts: %w", t.Address(), t.User, first.Address(), e.Err)
	case named:
		e.Advice = "give the node a certificate for this address or for the secret's host; in a cluster, the name in " +
			"cluster-announce-hostname also counts"
	}
	return err
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

// cluster asks a node of a cluster for the others.
func (n *node) cluster() ([]neighbor, error) {
	reply, err := n.Do("the nodes of the cluster cannot be listed", "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	return peers(text)
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
			return append(list, neighbor{}), nil // which enter reports
		}
		flags := strings.Split(fields[2], ",")
		if slices.Contains(flags, "myself") {
			continue
		}
		if slices.ContainsFunc(flags, func(f string) bool { return f == "fail" || f == "noaddr" || f == "handshake" }) {
			return nil, engine.Errorf(engine.Unreachable, "bring it back, or run CLUSTER FORGET at every other node",
				"the cluster's node %.40s is down", fields[0])
		}
		address, more, _ := strings.Cut(fields[1], ",")
		address, _, _ = strings.Cut(address, "@")
		name, _, _ := strings.Cut(more, ",")
		colon := max(strings.LastIndexByte(address, ':'), 0)
		list = append(list, neighbor{address[:colon], strings.TrimPrefix(address[colon:], ":"), name})
	}
	return list, nil
}
