// Package boundconn makes connections that end with a context, for drivers that
// look at theirs only between messages: a server that hangs then holds nobody up
// beyond the time that the caller allows.
package boundconn

import (
	"context"
	"net"
)

// Dial connects, and closes the connection when ctx is done.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{c, context.AfterFunc(ctx, func() { c.Close() })}, nil
}

type conn struct {
	net.Conn
	stop func() bool
}

// Close closes the connection and forgets the context.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}
