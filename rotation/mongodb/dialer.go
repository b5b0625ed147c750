package mongodb

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/internal/boundconn"
)

// dialer opens the driver's connections. The first failure ends the session, because the driver would lose the reason.
// The session's end closes them, because the driver may wait for a silent server until its own time limit of 30 s.
type dialer struct {
	session  context.Context
	attempts []*tls.Config
	end      context.CancelCauseFunc
}

func (d *dialer) DialContext(_ context.Context, _, address string) (conn net.Conn, err error) {
	attempts := d.attempts
	if len(attempts) > 1 { // a connection may also break by accident, so TLS is tried twice
		attempts = append(attempts[:1:1], attempts...)
	}
	for i, config := range attempts {
		if i > 0 && config == nil && !answersPlain(d.session, address) {
			break
		}
		// A server may answer with and without TLS, so a slow handshake is no reason to ask.
		dial := new(net.Dialer).DialContext
		if config != nil {
			dial = (&tls.Dialer{Config: config}).DialContext
		}
		if conn, err = dial(d.session, "tcp", address); !boundconn.MaybePlain(err) {
			break
		}
	}
	if err != nil {
		d.end(err)
		return nil, err
	}
	b := &bounded{Conn: conn, end: d.end}
	context.AfterFunc(d.session, func() { _ = b.Conn.Close() })
	return b, nil
}

// answersPlain reports whether the server answers without TLS. The question is {hello: 1, $db: "admin"}, which names no
// user.
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ and https://bsonspec.org/spec.html
func answersPlain(ctx context.Context, address string) bool {
	const id, message = "\x01\x00\x00\x00", "\xdd\x07\x00\x00" // OP_MSG
	answer := boundconn.Ask(ctx, address, []byte("\x34\x00\x00\x00"+id+"\x00\x00\x00\x00"+message+
		"\x00\x00\x00\x00\x00"+"\x1f\x00\x00\x00\x10hello\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00admin\x00\x00"),
		headerSize)
	return answer != nil && string(answer[8:]) == id+message
}

const messageLimit = 2 << 20

// The header of a message, and the kinds of message that servers send. Compression is not requested.
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
const (
	headerSize = 16
	opReply    = 1
	opMsg      = 2013
)

// loginStep matches the field that holds a step of a login.
var loginStep = lazyregexp.New(`\x05payload\x00`)

// bounded checks each message before the driver sees it: a hostile server must not use unlimited memory or time.
type bounded struct {
	net.Conn
	end   context.CancelCauseFunc
	ready []byte // the part of a message that the driver has not read
}

func (b *bounded) Read(p []byte) (int, error) {
	if len(b.ready) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// next reads a message. An error ends the session: after a lost connection, the driver would wait for ten seconds before
// it tries another.
func (b *bounded) next() error {
	message := make([]byte, headerSize)
	_, err := io.ReadFull(b.Conn, message)
	length, kind := binary.LittleEndian.Uint32(message), binary.LittleEndian.Uint32(message[12:])
	switch {
	case err != nil:
	case length < headerSize || kind != opReply && kind != opMsg:
		err = fmt.Errorf("the server's answer is not in MongoDB's protocol")
	case length > messageLimit:
		err = fmt.Errorf("the server sends a message of more than %d bytes", messageLimit)
	default:
		message = append(message, make([]byte, length-headerSize)...)
		if _, err = io.ReadFull(b.Conn, message[headerSize:]); err == nil && loginStep().Match(message) {
			err = new(boundconn.Rounds).See(message)
		}
	}
	if err != nil {
		b.end(err)
		return err
	}
	b.ready = message
	return nil
}
