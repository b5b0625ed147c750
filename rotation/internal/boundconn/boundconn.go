// Package boundconn makes connections that end with a context, for drivers that look at theirs only between
// messages, and bounds what is read of a server that a secret's writer may have chosen.
package boundconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"example.com/rotator/internal/lazyregexp"
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

// MaybePlain reports whether a TLS handshake ended as it does at a server without TLS, and also where
// the network broke.
func MaybePlain(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// Ask sends a message without TLS and returns the first n bytes of the answer, or nil.
func Ask(ctx context.Context, network, address string, message []byte, n int) []byte {
	conn, err := Dial(ctx, network, address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	answer := make([]byte, n)
	if _, err = conn.Write(message); err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err != nil {
		return nil
	}
	return answer
}

// Limit returns a connection that fails once more than limit bytes are read of it.
func Limit(c net.Conn, limit int) net.Conn { return &limited{c, limit, limit} }

type limited struct {
	net.Conn
	limit, left int
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b[:min(len(b), l.left+1)])
	if l.left -= n; l.left < 0 {
		l.left = 0
		return 0, fmt.Errorf("the server sends more than %d bytes", l.limit)
	}
	return n, err
}

// manyRounds is how a server's first message of SCRAM asks for a million rounds or more. Servers ask for
// 4,096 to some 100,000; a million take a second, in which no deadline is looked at.
// Source: https://www.rfc-editor.org/rfc/rfc5802#section-7
var manyRounds = lazyregexp.New(`,i=[+-]?[0-9]{7}`)

// Rounds looks at what a server sends during a login, in pieces of any length, and fails where it asks for
// too many rounds of SCRAM. The zero value is ready for use.
type Rounds struct{ tail []byte }

// See looks at the next piece.
func (r *Rounds) See(piece []byte) error {
	r.tail = append(r.tail, piece...)
	if manyRounds.Match(r.tail) {
		return fmt.Errorf("the server asks for a million rounds of SCRAM or more")
	}
	r.tail = append([]byte(nil), r.tail[max(0, len(r.tail)-len(",i=+000000")):]...)
	return nil
}
