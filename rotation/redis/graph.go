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

// The secret's host names the other nodes. Who gets a password depends on who sets what it says:
//
//	named by                set by                      its certificate must be for             gets a password of
//	the secret              the secret's writer         the host, or as the policy says         the secret, the superuser
//	REDIS_TRUSTED_NODES     the operator                address, name or host, or as the policy the secret, the superuser
//	CLUSTER NODES           administrators, by the bus  address, name or host                   the secret, the superuser
//	INFO, as the primary    administrators              address or host                         the secret, the superuser
//	INFO, as a replica      the replica itself          host                                    the secret
//
// Here "host" is the name of the secret's host, and "name" is the node's name in the cluster. What
// a replica is listed as is its own word, which a user with no right but PSYNC and REPLCONF can give.
// Without TLS nothing proves whose a node is: there all others must be in REDIS_TRUSTED_NODES.
// Sources: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (nodes handshake),
// https://github.com/redis/redis/blob/7.0.15/src/replication.c (replconfCommand)

// neighbour is a node that another one names.
type neighbour struct {
	host    string
	port    int
	name    string // in the cluster, or ""
	source  string // what names it
	claimed bool   // by nothing but its own word
}

// trust returns the names that a node's certificate may be for, or why no password is sent there.
func (g *graph) trust(n neighbour, tls bool) (names []string, refusal string) {
	host := g.nodes[0].target.CertificateName()
	switch {
	case g.engine.trusted.allow(n.host):
	case !tls:
		return nil, "no password is sent there, as without TLS nothing proves whose it is"
	case n.claimed && g.superuser:
		return nil, "the superuser's password is not sent there, as whoever may replicate can have a node of any address listed"
	case n.claimed:
		return []string{host}, ""
	}
	if n.name != "" {
		names = append(names, n.name)
	}
	return append(names, n.host, host), ""
}

// login is who opens the nodes, and how.
type login struct {
	value     engine.Value
	superuser bool // the value is a superuser's
	// partial lets a login that may not be told of the other nodes be content
	// with those that it finds, and alone leaves them out.
	partial, alone bool
	// others are tried at a node that refuses value: where a change came as far
	// as some nodes only, each of them accepts what another may not.
	others []engine.Value
}

// graph finds the nodes of a target from the first of them.
type graph struct {
	login
	ctx    context.Context
	engine *Engine
	nodes  nodes
	known  map[string]bool // addresses that were logged in to
}

// limit is far above what Redis recommends for a cluster, and longestName is that of DNS.
const (
	limit       = 1000
	longestName = 255
)

// open logs in to every node of the target: of a cluster, or a primary and its
// replicas. What is open is returned with an error, too.
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
	g := &graph{login: l, ctx: ctx, engine: e, nodes: nodes{{Conn: conn, target: t}}, known: map[string]bool{t.Address(): true, conn.Address(): true}}
	alone := s.hostOnly || l.alone
	if !alone {
		alone, err = g.cluster()
	}
	// Outside a cluster the links between primaries and replicas are followed both ways.
	for i := 0; err == nil && i < len(g.nodes); i++ {
		var info map[string]string
		g.nodes[i].forgetful = s.forgetful
		if info, err = g.tell(g.nodes[i]); err == nil && !alone {
			err = g.add(neighbours(info))
		}
	}
	return g.nodes, err
}

// cluster logs in to every node of a cluster, replicas included. It reports false where there is no cluster.
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

// errList is for a list that no server makes.
var errList = errors.New("it cannot be read, or names too many nodes, or one whose name is too long")

// add logs in to neighbours, or returns the error with which they were read.
func (g *graph) add(list []neighbour, err error) error {
	for i := 0; err == nil && i < len(list); i++ {
		err = g.enter(list[i])
	}
	if errors.Is(err, errList) {
		err = engine.Errorf(engine.TargetFailed, "see what CLUSTER NODES and INFO replication answer", "%s: the list of nodes: %w", g.nodes[0].target.Address(), err)
	}
	return err
}

// enter logs in to a neighbour, if it may be given the password.
func (g *graph) enter(n neighbour) error {
	first := g.nodes[0].target
	t := first
	t.Host, t.Port = strings.Clone(n.host), n.port // not to keep the whole answer
	if g.known[t.Address()] {
		return nil
	}
	if len(g.nodes) == limit || len(n.host) > longestName {
		return errList
	}
	g.known[t.Address()] = true
	const advice = "name its address or network in the function's variable " + nodesVariable + ", or set the option " + nodesOption + " to host where it is not to be changed"
	names, refusal := g.trust(n, t.TLS != engine.TLSOff)
	if refusal != "" {
		return engine.Errorf(engine.TargetFailed, advice, "%s names the node %s at %s: %s", first.Address(), t.Address(), n.source, refusal)
	}
	allowed := g.engine.trusted.allow(n.host)
	if !allowed {
		t.TLS = engine.TLSOn // no fallback to plain text
	}
	conn, err := g.login.at(g.ctx, g.engine, t, names)
	e, ok := errors.AsType[*engine.Error](err)
	switch {
	case ok && e.Cause == engine.TLSFailed && !allowed:
		return engine.Errorf(e.Cause, "give it a certificate for "+first.CertificateName()+"; or "+advice, "%s names the node %s at %s: %w", first.Address(), t.Address(), n.source, e.Err)
	case ok && e.Cause == engine.LoginRefused:
		// It says nothing about the secret: the node is not as the others.
		return engine.Errorf(engine.TargetFailed, "make the user there what it is elsewhere, with ACL SETUSER; users are not replicated",
			"the node %s refuses the user %q, which %s accepts: %w", t.Address(), t.User, first.Address(), e.Err)
	case err != nil:
		return err
	}
	g.known[conn.Address()] = true
	g.nodes = append(g.nodes, &node{Conn: conn, target: t})
	return nil
}

// at logs in to a node with the first of the values that it does not refuse.
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

// tell returns what the node says of itself.
// Source: https://redis.io/docs/latest/commands/info/
func (g *graph) tell(n *node) (info map[string]string, err error) {
	reply, err := n.Do("INFO")
	if g.partial && resp.Code(err) == "NOPERM" || resp.Unknown(err) {
		return nil, nil
	}
	if err != nil {
		return nil, n.classify("INFO is not answered", err)
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
		return nil, engine.Errorf(engine.TargetFailed, "wait until the server is ready; Secrets Manager retries by itself", "%s: the server is loading its data", n.target.Address())
	}
	return info, nil
}

// neighbours returns a node's primary and its replicas.
func neighbours(info map[string]string) (list []neighbour, err error) {
	if info["role"] == "slave" {
		port, err := portOf(info["master_port"])
		if err != nil {
			return nil, err
		}
		list = append(list, neighbour{host: info["master_host"], port: port, source: "master_host"})
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
		list = append(list, neighbour{host: replica["ip"], port: port, source: source, claimed: true})
	}
}

// peers reads the other nodes from the answer to CLUSTER NODES, whose lines begin
//
//	id ip:port@bus[,name[,more]] flags
//
// One that is not there would come back with the old passwords, so that all must be.
// Source: https://redis.io/docs/latest/commands/cluster-nodes/
func peers(text string) (list []neighbour, err error) {
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
			return nil, engine.Errorf(engine.Unreachable, "bring it back, or have the cluster forget it: CLUSTER FORGET", "the cluster's node %.40s is not there", fields[0])
		}
		address, more, _ := strings.Cut(fields[1], ",")
		address, _, _ = strings.Cut(address, "@")
		n := neighbour{source: "CLUSTER NODES"}
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

// portOf reads a port's number.
func portOf(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errList
	}
	return int(port), nil
}
