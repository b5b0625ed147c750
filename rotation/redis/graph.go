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

// The secret's host names the other nodes. Which node gets a password depends on who controls the answer:
//
//	named by             set by                     its certificate must be for              gets a password of
//	the secret           the secret's writer        the host, or as the policy says          the secret, the superuser
//	REDIS_TRUSTED_NODES  the operator               address, name, host, or as in the policy the secret, the superuser
//	CLUSTER NODES        administrators, by the bus address, name or host                    the secret, the superuser
//	INFO, as the primary administrators             address or host                          the secret, the superuser
//	INFO, as a replica   the replica itself         host                                     the secret
//
// Here "host" is the name of the secret's host, and "name" the node's name in the cluster. A replica chooses the
// address under which it is listed, and a user needs only PSYNC and REPLCONF for that. Without TLS nothing proves a
// node's identity, so all other nodes must be in REDIS_TRUSTED_NODES.
// Sources: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (nodes handshake),
// https://github.com/redis/redis/blob/7.0.15/src/replication.c (replconfCommand)

type neighbor struct {
	host    string
	port    int
	name    string // in the cluster, or ""
	source  string // the answer that names it
	claimed bool   // chosen by the node itself
}

// trust returns the names that are accepted in a node's certificate, or why no password is sent to the node.
func (g *graph) trust(n neighbor, tls bool) (names []string, refusal string) {
	host := g.nodes[0].target.CertificateName()
	switch {
	case g.engine.trusted.allow(n.host):
	case !tls:
		return nil, "no password is sent there, because without TLS nothing proves whose it is"
	case n.claimed && g.superuser:
		return nil, "the superuser's password is not sent there, because anyone who may replicate can list any address"
	case n.claimed:
		return []string{host}, ""
	}
	if n.name != "" {
		names = append(names, n.name)
	}
	return append(names, n.host, host), ""
}

type login struct {
	value     engine.Value
	superuser bool // value is a superuser's
	// partial tolerates a login that may not list all other nodes; alone skips them.
	partial, alone bool
	// others are tried on a node that refuses value: after an interrupted change, nodes accept different passwords.
	others []engine.Value
}

type graph struct {
	login
	ctx    context.Context
	engine *Engine
	nodes  nodes
	known  map[string]bool // addresses already logged in to
}

// limit is far above what Redis recommends for a cluster, and longestName is DNS's limit.
const (
	limit       = 1000
	longestName = 255
)

// open logs in to all nodes of a cluster, or a primary and its replicas. It returns the open ones even with an error.
func (e *Engine) open(ctx context.Context, r *engine.Request, l login) (nodes, error) {
	s, err := read(r)
	t, perr := parse(l.value)
	if err = cmp.Or(err, perr); err != nil {
		return nil, err
	}
	conn, err := resp.Login(ctx, e.tls, t)
	if err != nil {
		return nil, err
	}
	g := &graph{login: l, ctx: ctx, engine: e, nodes: nodes{{Conn: conn, target: t}},
		known: map[string]bool{t.Address(): true, conn.Address(): true}}
	alone := s.hostOnly || l.alone
	if !alone {
		alone, err = g.cluster()
	}
	// Outside a cluster, links between primaries and replicas are followed both ways.
	for i := 0; err == nil && i < len(g.nodes); i++ {
		var info map[string]string
		g.nodes[i].forgetful = s.forgetful
		if info, err = g.tell(g.nodes[i]); i == 0 && info != nil {
			r.Met("Redis " + info["redis_version"])
		}
		if err == nil && !alone {
			err = g.add(neighbors(info))
		}
	}
	return g.nodes, err
}

// cluster logs in to every node of a cluster, replicas included. It returns false if there is no cluster.
func (g *graph) cluster() (bool, error) {
	seed := g.nodes[0]
	reply, err := seed.Do("CLUSTER", "NODES")
	text, _ := reply.(string)
	switch {
	case err == nil:
		return true, g.add(peers(text))
	case resp.Code(err) == "NOPERM" && g.partial:
		return true, nil
	case resp.Unknown(err) || resp.Code(err) == "ERR" && strings.Contains(err.Error(), "cluster support disabled"):
		return false, nil
	}
	return false, seed.classify("the nodes of the cluster cannot be listed", err)
}

// errList is the error for a list that no real server returns.
var errList = errors.New("it cannot be parsed, or has too many nodes or too long a name")

func (g *graph) add(list []neighbor, err error) error {
	for i := 0; err == nil && i < len(list); i++ {
		err = g.enter(list[i])
	}
	if errors.Is(err, errList) {
		err = g.nodes[0].fail("check the answers to CLUSTER NODES and INFO replication", "the list of nodes: %w", err)
	}
	return err
}

func (g *graph) enter(n neighbor) error {
	first := g.nodes[0].target
	t := first
	t.Host, t.Port = strings.Clone(n.host), n.port // the clone lets the whole answer be freed
	if g.known[t.Address()] {
		return nil
	}
	if len(g.nodes) == limit || len(n.host) > longestName {
		return errList
	}
	g.known[t.Address()] = true
	const advice = "add its address or network to the function's variable " + nodesVariable + ", or set " +
		nodesOption + " to host to leave it unchanged"
	names, refusal := g.trust(n, t.TLS != engine.TLSOff)
	if refusal != "" {
		return engine.Errorf(engine.TargetFailed, advice, "%s names the node %s at %s: %s", first.Address(),
			t.Address(), n.source, refusal)
	}
	allowed := g.engine.trusted.allow(n.host)
	if !allowed {
		t.TLS = engine.TLSOn // no fallback to plain text
	}
	conn, err := g.login.at(g.ctx, g.engine, t, names)
	e, ok := errors.AsType[*engine.Error](err)
	switch {
	case ok && e.Cause == engine.TLSFailed && !allowed:
		return engine.Errorf(e.Cause, "give it a certificate for "+first.CertificateName()+"; or "+advice,
			"%s names the node %s at %s: %w", first.Address(), t.Address(), n.source, e.Err)
	case ok && e.Cause == engine.LoginRefused:
		// This is not a refusal of the secret: the node differs from the others.
		return engine.Errorf(engine.TargetFailed, "set it there with ACL SETUSER; users are not replicated",
			"the node %s refuses the user %q, which %s accepts: %w", t.Address(), t.User, first.Address(), e.Err)
	case err != nil:
		return err
	}
	g.known[conn.Address()] = true
	g.nodes = append(g.nodes, &node{Conn: conn, target: t})
	return nil
}

// at logs in to a node with the first value that it does not refuse.
func (l login) at(ctx context.Context, e *Engine, t engine.Target, names []string) (conn *resp.Conn, err error) {
	for i, v := range append([]engine.Value{l.value}, l.others...) {
		as, perr := parse(v)
		if perr != nil || i > 0 && as.Password == t.Password {
			continue
		}
		t.Password = as.Password
		if conn, err = resp.Login(ctx, e.tls, t, names...); !errors.Is(err, engine.LoginRefused) {
			break
		}
	}
	return conn, err
}

// tell returns what the node reports about itself.
// Source: https://redis.io/docs/latest/commands/info/
func (g *graph) tell(n *node) (info map[string]string, err error) {
	reply, err := n.Do("INFO")
	if g.partial && resp.Code(err) == "NOPERM" || resp.Unknown(err) {
		return nil, nil
	}
	if err != nil {
		return nil, n.classify("INFO failed", err)
	}
	text, _ := reply.(string)
	info = make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[name] = value
		}
	}
	n.configured = info["config_file"] != ""
	if info["loading"] == "1" {
		return nil, n.fail("wait; Secrets Manager retries automatically", "the server is loading its data")
	}
	return info, nil
}

func neighbors(info map[string]string) (list []neighbor, err error) {
	if info["role"] == "slave" {
		port, err := portOf(info["master_port"])
		if err != nil {
			return nil, err
		}
		list = append(list, neighbor{host: info["master_host"], port: port, source: "master_host"})
	}
	for i := 0; ; i++ {
		source := "slave" + strconv.Itoa(i)
		line, ok := info[source]
		if !ok {
			return list, nil
		}
		replica := make(map[string]string)
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(part, "=")
			replica[name] = value
		}
		port, err := portOf(replica["port"])
		if err != nil {
			return nil, err
		}
		list = append(list, neighbor{host: replica["ip"], port: port, source: source, claimed: true})
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
		if len(fields) < 3 || len(list) > limit {
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
		n := neighbor{source: "CLUSTER NODES"}
		n.name, _, _ = strings.Cut(more, ",")
		colon := strings.LastIndexByte(address, ':')
		if colon < 1 {
			return nil, errList
		}
		n.host = address[:colon]
		if n.port, err = portOf(address[colon+1:]); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func portOf(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errList
	}
	return int(port), nil
}
