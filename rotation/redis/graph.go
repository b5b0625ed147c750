package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/resp"
)

// login is who opens the nodes, and how.
type login struct {
	value     engine.Value
	superuser bool // the value is a superuser's
	// partial lets a login that may not be told of the other nodes be content
	// with those that it finds.
	partial bool
	// others are tried at a node that refuses value: where a change came as far
	// as some nodes only, each of them accepts what another may not.
	others []engine.Value
}

// open logs in to every node of the target: of a cluster, or a primary and its
// replicas. What is open is returned with an error, too.
//
// The secret's host names the others, and how far it is to be believed depends on
// where it has them from. The nodes of a cluster come from the cluster's own bus, and
// a replica's primary from its configuration: both are set by administrators, and
// clients of a cluster log in there as well. So their certificate may be for the
// address or the name that they are known by. Of its replicas a primary knows what these
// say of themselves, and a user with no right but PSYNC and REPLCONF may say
// anything: such a node must have a certificate for the name of the secret's host, and
// a superuser's password goes there only if the operator allows the address.
// Without TLS the operator must allow any neighbour.
// Sources: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ (nodes handshake),
// https://github.com/redis/redis/blob/7.0.15/src/replication.c (replconfCommand)
func (e *Engine) open(ctx context.Context, s settings, l login) (nodes, error) {
	t, err := parse(l.value)
	if err != nil {
		return nil, err
	}
	conn, err := resp.Login(ctx, e.tls, t)
	if err != nil {
		return nil, err
	}
	g := &graph{login: l, ctx: ctx, engine: e, nodes: nodes{{Conn: conn, target: t}}, known: map[string]bool{t.Address(): true, conn.Address(): true}}
	if s.hostOnly {
		_, err = g.tell(g.nodes[0])
	} else {
		err = g.explore()
	}
	return g.nodes, err
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

func (g *graph) explore() error {
	seed := g.nodes[0]
	reply, err := seed.Do("CLUSTER", "NODES")
	text, _ := reply.(string)
	e, answered := err.(resp.Error)
	switch {
	case err == nil:
		return g.cluster(text)
	case failed(err, "NOPERM") && g.partial:
		return nil
	case answered && (strings.Contains(string(e), "cluster support disabled") || e.Unknown()):
		return g.replicas()
	}
	return seed.classify("the nodes of the cluster cannot be listed", err)
}

// cluster logs in to every node of a cluster, replicas included. One that is not
// there would come back with the old passwords, so that all must be.
func (g *graph) cluster(text string) error {
	seed := g.nodes[0]
	peers, err := parsePeers(text)
	if err != nil || len(peers) > limit {
		return engine.Errorf(engine.TargetFailed, "see what CLUSTER NODES answers", "%s: the list of the cluster's nodes cannot be read", seed.target.Address())
	}
	for _, p := range peers {
		if p.myself {
			continue
		}
		if p.absent {
			return engine.Errorf(engine.Unreachable, "bring it back, or have the cluster forget it: CLUSTER FORGET", "%s: the cluster's node %.40s is not there", seed.target.Address(), p.id)
		}
		if err := g.add(neighbour{host: p.host, port: p.port, name: p.name, source: "CLUSTER NODES"}); err != nil {
			return err
		}
	}
	for _, n := range g.nodes {
		if _, err := g.tell(n); err != nil {
			return err
		}
	}
	return nil
}

// replicas follows the links between primaries and replicas both ways.
func (g *graph) replicas() error {
	ids := make(map[string]bool)
	for i := 0; i < len(g.nodes); i++ {
		n := g.nodes[i]
		info, err := g.tell(n)
		if err != nil {
			return err
		}
		// One that is reached by two addresses needs no second connection.
		if id := fmt.Sprintf("%.40s", info["run_id"]); ids[id] {
			n.Close()
			g.nodes = slices.Delete(g.nodes, i, i+1)
			i--
			continue
		} else if id != "" {
			ids[id] = true
		}
		others, err := neighbours(info)
		if err != nil {
			return engine.Errorf(engine.TargetFailed, "see what INFO replication answers", "%s: its replicas cannot be told", n.target.Address())
		}
		for _, o := range others {
			if err := g.add(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// neighbour is a node that another one names.
type neighbour struct {
	host   string
	port   int
	name   string // a name that its certificate may be for, or ""
	source string // what names it
	// claimed is set where the node is named by nothing but its own word.
	claimed bool
}

// add logs in to a neighbour.
func (g *graph) add(n neighbour) error {
	first := g.nodes[0].target
	t := first
	t.Host, t.Port = strings.Clone(n.host), n.port // not to keep the whole answer
	if g.known[t.Address()] {
		return nil
	}
	if len(g.nodes) == limit || len(n.host) > longestName {
		return engine.Errorf(engine.TargetFailed, "see what CLUSTER NODES and INFO replication answer", "%s names more than %d nodes, or one whose name is too long", first.Address(), limit)
	}
	g.known[t.Address()] = true
	const advice = "name its address or network in the function's variable " + nodesVariable + ", or set the option " + nodesOption + " to host where it is not to be changed"
	allowed := g.engine.trusted.allow(n.host)
	names := []string{n.host}
	if n.name != "" {
		names = append(names, n.name)
	}
	names = append(names, first.CertificateName())
	if !allowed {
		switch {
		case t.TLS == engine.TLSOff:
			return engine.Errorf(engine.TargetFailed, advice, "%s names the node %s at %s: no password is sent there, as without TLS nothing proves whose it is", first.Address(), t.Address(), n.source)
		case n.claimed && g.superuser:
			return engine.Errorf(engine.TargetFailed, advice, "%s names the node %s at %s: the superuser's password is not sent there, as whoever may replicate can have a node of any address listed", first.Address(), t.Address(), n.source)
		case n.claimed:
			names = []string{first.CertificateName()}
		}
		t.TLS = engine.TLSOn // no fallback to plain text
	}
	conn, err := g.enter(t, names)
	if e, ok := errors.AsType[*engine.Error](err); ok && e.Cause == engine.TLSFailed && !allowed {
		return engine.Errorf(e.Cause, "give it a certificate for "+first.CertificateName()+"; or "+advice, "%s names the node %s at %s: %w", first.Address(), t.Address(), n.source, e.Err)
	}
	if err != nil {
		return err
	}
	g.known[conn.Address()] = true
	g.nodes = append(g.nodes, &node{Conn: conn, target: t})
	return nil
}

// enter logs in to a neighbour that may be given the password. That it refuses what the
// secret's host accepts says nothing about the secret: the node is not as the others.
func (g *graph) enter(t engine.Target, names []string) (*resp.Conn, error) {
	var tried []string
	var refused *engine.Error
	for _, v := range append([]engine.Value{g.value}, g.others...) {
		l, err := parse(v)
		if err != nil || slices.Contains(tried, l.Password) {
			continue
		}
		tried = append(tried, l.Password)
		t.Password = l.Password
		conn, err := resp.Login(g.ctx, g.engine.tls, t, names...)
		e, ok := errors.AsType[*engine.Error](err)
		if !ok || e.Cause != engine.LoginRefused {
			return conn, err
		}
		refused = e
	}
	return nil, engine.Errorf(engine.TargetFailed, "make the user there what it is elsewhere, with ACL SETUSER; users are not replicated",
		"the node %s refuses the user %q, which %s accepts: %w", t.Address(), t.User, g.nodes[0].target.Address(), refused.Err)
}

// tell returns what the node says of itself.
// Source: https://redis.io/docs/latest/commands/info/
func (g *graph) tell(n *node) (info map[string]string, err error) {
	reply, err := n.Do("INFO")
	if g.partial && failed(err, "NOPERM") || absent(err) {
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
		list = append(list, neighbour{host: info["master_host"], source: "master_host"})
		if list[0].port, err = strconv.Atoi(info["master_port"]); err != nil {
			return nil, err
		}
	}
	for i := 0; ; i++ {
		name := "slave" + strconv.Itoa(i)
		line, ok := info[name]
		if !ok {
			return list, nil
		}
		replica := make(map[string]string)
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(part, "=")
			replica[name] = value
		}
		port, err := strconv.Atoi(replica["port"])
		if err != nil {
			return nil, err
		}
		list = append(list, neighbour{host: replica["ip"], port: port, source: name, claimed: true})
	}
}

// peer is a cluster's node as another sees it.
type peer struct {
	id, host, name string
	port           int
	myself, absent bool
}

// parsePeers reads the answer to CLUSTER NODES, whose lines begin
//
//	id ip:port@bus[,name[,more]] flags
//
// Source: https://redis.io/docs/latest/commands/cluster-nodes/
func parsePeers(text string) ([]peer, error) {
	var peers []peer
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 3 {
			return nil, strconv.ErrSyntax
		}
		p := peer{id: fields[0]}
		address, more, _ := strings.Cut(fields[1], ",")
		p.name, _, _ = strings.Cut(more, ",")
		for flag := range strings.SplitSeq(fields[2], ",") {
			p.myself = p.myself || flag == "myself"
			p.absent = p.absent || flag == "fail" || flag == "noaddr" || flag == "handshake"
		}
		if !p.myself && !p.absent {
			address, _, _ = strings.Cut(address, "@")
			colon := strings.LastIndexByte(address, ':')
			if colon < 1 {
				return nil, strconv.ErrSyntax
			}
			var err error
			p.host = address[:colon]
			if p.port, err = strconv.Atoi(address[colon+1:]); err != nil || p.port < 1 || p.port > 65535 {
				return nil, strconv.ErrSyntax
			}
		}
		peers = append(peers, p)
	}
	return peers, nil
}
