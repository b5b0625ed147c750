package redis

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"example.com/rotator/internal/resp"
	"example.com/rotator/rotation"
)

// open logs in to every node of the target: of a cluster, or a primary and its
// replicas. Where partial is set, a login that may not be told of the others is
// content with those that it finds.
//
// The other nodes are those that the secret's host names, and are trusted as it
// is: their certificate must be for the address or the name that it gives them, or
// for its own name. What is open is returned with an error, too.
func (e *Engine) open(ctx context.Context, s settings, login rotation.Value, partial bool) (nodes, error) {
	t, err := parse(login)
	if err != nil {
		return nil, err
	}
	conn, err := resp.Login(ctx, e.tls, t)
	if err != nil {
		return nil, err
	}
	g := &graph{ctx: ctx, tls: e.tls, partial: partial, nodes: nodes{{Conn: conn, target: t}}, known: map[string]bool{t.Address(): true}}
	if s.hostOnly {
		return g.nodes, g.tell(g.nodes[0])
	}
	err = g.explore()
	return g.nodes, err
}

// graph finds the nodes of a target from the first of them.
type graph struct {
	ctx     context.Context
	tls     rotation.TLSPolicy
	partial bool
	nodes   nodes
	known   map[string]bool // addresses that were logged in to
}

// limit is far above what Redis recommends for a cluster.
const limit = 1000

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
	case answered && strings.Contains(string(e), "cluster support disabled") || absent(err):
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
		return rotation.Errorf(rotation.TargetFailed, "see what CLUSTER NODES answers", "%s: the list of the cluster's nodes cannot be read", seed.target.Address())
	}
	for _, p := range peers {
		if p.myself {
			continue
		}
		if p.absent {
			return rotation.Errorf(rotation.Unreachable, "bring it back, or have the cluster forget it: CLUSTER FORGET", "%s: the cluster's node %s is not there", seed.target.Address(), p.id)
		}
		if err := g.add(p.host, p.port, p.name); err != nil {
			return err
		}
	}
	for _, n := range g.nodes {
		if err := g.tell(n); err != nil {
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
		if err := g.tell(n); err != nil {
			return err
		}
		// One that is reached by two addresses needs no second connection.
		if id := n.info["run_id"]; ids[id] {
			n.Close()
			g.nodes = slices.Delete(g.nodes, i, i+1)
			i--
			continue
		} else if id != "" {
			ids[id] = true
		}
		for _, address := range neighbours(n.info) {
			host, text, err := net.SplitHostPort(address)
			port, perr := strconv.Atoi(text)
			if err != nil || perr != nil || len(g.nodes) > limit {
				return rotation.Errorf(rotation.TargetFailed, "see what INFO replication answers", "%s: its replicas cannot be told", n.target.Address())
			}
			if err := g.add(host, port); err != nil {
				return err
			}
		}
	}
	return nil
}

// add logs in to a node as to the first. names are what its certificate may be
// for beside its address.
func (g *graph) add(host string, port int, names ...string) error {
	first := g.nodes[0].target
	t := first
	t.Host, t.Port = host, port
	if g.known[t.Address()] {
		return nil
	}
	g.known[t.Address()] = true
	names = slices.DeleteFunc(append(names, first.Host), func(s string) bool { return s == "" })
	conn, err := resp.Login(g.ctx, g.tls, t, names...)
	if err != nil {
		return err
	}
	g.nodes = append(g.nodes, &node{Conn: conn, target: t})
	return nil
}

// tell reads what the node says of itself.
// Source: https://redis.io/docs/latest/commands/info/
func (g *graph) tell(n *node) error {
	reply, err := n.Do("INFO")
	if g.partial && failed(err, "NOPERM") || absent(err) {
		return nil
	}
	if err != nil {
		return n.classify("INFO is not answered", err)
	}
	text, _ := reply.(string)
	n.info = make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			n.info[name] = value
		}
	}
	if s := n.info["loading"]; s == "1" {
		return rotation.Errorf(rotation.TargetFailed, "wait until the server is ready; Secrets Manager retries by itself", "%s: the server is loading its data", n.target.Address())
	}
	return nil
}

// neighbours returns the addresses of a node's replicas and of its primary.
func neighbours(info map[string]string) (addresses []string) {
	if info["role"] == "slave" {
		addresses = append(addresses, net.JoinHostPort(info["master_host"], info["master_port"]))
	}
	for i := 0; ; i++ {
		line, ok := info["slave"+strconv.Itoa(i)]
		if !ok {
			return addresses
		}
		replica := make(map[string]string)
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(part, "=")
			replica[name] = value
		}
		addresses = append(addresses, net.JoinHostPort(replica["ip"], replica["port"]))
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
