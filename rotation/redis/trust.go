package redis

import (
	"net/netip"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

const nodesVariable = "REDIS_TRUSTED_NODES"

// Nodes are networks, addresses and names of servers that may get passwords if other servers name them. Only the
// operator, no secret or tag, sets them.
type Nodes []string

// ParseNodes reads addresses, networks such as 10.0.3.0/24 and host names, separated by commas or spaces. The error has
// the cause InvalidConfiguration.
func ParseNodes(text string) (Nodes, error) {
	nodes := strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(", \t\r\n", c) })
	for _, word := range nodes {
		_, address := netip.ParseAddr(word)
		_, network := netip.ParsePrefix(word)
		if address != nil && network != nil && strings.ContainsAny(word, "/:*@") {
			return nil, engine.Errorf(engine.InvalidConfiguration, "list hosts and networks without ports",
				"%s has %q", nodesVariable, word)
		}
	}
	return nodes, nil
}

// allow reports whether a host is one of the nodes. Names are compared as text and not resolved.
func (n Nodes) allow(host string) bool {
	address, _ := netip.ParseAddr(host)
	return slices.ContainsFunc(n, func(word string) bool {
		network, err := netip.ParsePrefix(word)
		return err == nil && network.Contains(address) ||
			strings.EqualFold(strings.TrimSuffix(word, "."), strings.TrimSuffix(host, "."))
	})
}
