package redis

import (
	"net/netip"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

const nodesVariable = "REDIS_TRUSTED_NODES"

// Nodes are servers that may get passwords if other servers name them. Only the operator, no secret or tag, sets them.
type Nodes struct {
	networks []netip.Prefix
	names    []string
}

// ParseNodes reads addresses, networks such as 10.0.3.0/24 and host names, separated by commas or spaces. The error has
// the cause InvalidConfiguration.
func ParseNodes(text string) (n Nodes, err error) {
	for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) }) {
		if a, err := netip.ParseAddr(word); err == nil {
			a = a.Unmap()
			n.networks = append(n.networks, netip.PrefixFrom(a, a.BitLen()))
		} else if p, err := netip.ParsePrefix(word); err == nil {
			n.networks = append(n.networks, p)
		} else if strings.ContainsAny(word, "/:*@") {
			return Nodes{}, engine.Errorf(engine.InvalidConfiguration, "list hosts and networks without ports",
				"%s has %q", nodesVariable, word)
		} else {
			n.names = append(n.names, word)
		}
	}
	return n, nil
}

// allow reports whether a host is one of the nodes. Names are compared as text and not resolved.
func (n Nodes) allow(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return slices.ContainsFunc(n.networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
	}
	return slices.ContainsFunc(n.names, func(name string) bool {
		return strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(host, "."))
	})
}
