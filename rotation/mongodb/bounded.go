package mongodb

import (
	"encoding/binary"
	"fmt"
	"net"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/internal/boundconn"
)

// The bounds of one message of a server, in bytes, and of one that names other servers: the driver
// connects to all of these. A replica set has 50 members.
const (
	messageLimit  = 2 << 20
	topologyLimit = 8 << 10
)

// namesServers are the fields whose servers the driver connects to, and loginStep is the field that
// a step of a login is in.
var (
	namesServers = lazyregexp.New(`\x04(hosts|passives|arbiters)\x00`)
	loginStep    = lazyregexp.New(`\x05payload\x00`)
)

// bounded is a connection of which whole messages are read and looked at before the driver sees
// them. A server that a secret's writer may have chosen can then not take memory or time without
// bounds.
type bounded struct {
	net.Conn
	exceeded func(error) error
	read     []byte // of the message that is being read
	ready    []byte // what the driver has not taken of a message
}

// Read can fail between two pieces of a message and be called again, as the driver does.
func (b *bounded) Read(p []byte) (int, error) {
	for len(b.ready) == 0 {
		need, err := b.missing()
		if err != nil {
			return 0, b.exceeded(err)
		}
		if need == 0 {
			b.ready, b.read = b.read, nil
			break
		}
		piece := make([]byte, min(need, 64<<10)) // not what the server announces
		n, err := b.Conn.Read(piece)
		b.read = append(b.read, piece[:n]...)
		if err != nil && n == 0 {
			return 0, err
		}
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// missing returns how many bytes of the message are still to be read, or what is wrong with it.
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
func (b *bounded) missing() (int, error) {
	const header, opReply, opMsg = 16, 1, 2013
	if len(b.read) < header {
		return header - len(b.read), nil
	}
	length, kind := binary.LittleEndian.Uint32(b.read), binary.LittleEndian.Uint32(b.read[12:])
	switch {
	case length < header || kind != opReply && kind != opMsg: // compressed messages were not asked for
		return 0, fmt.Errorf("the server's answer is not in MongoDB's protocol")
	case length > messageLimit:
		return 0, fmt.Errorf("the server sends a message of more than %d bytes", messageLimit)
	case int(length) > len(b.read):
		return int(length) - len(b.read), nil
	case length > topologyLimit && namesServers.Match(b.read):
		return 0, fmt.Errorf("the server names more members than a replica set has")
	case loginStep.Match(b.read):
		return 0, new(boundconn.Rounds).See(b.read)
	}
	return 0, nil
}
