package mongodb

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"go.mongodb.org/mongo-driver/v2/bson"

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

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.session, cancel)()
	conn, err := connect(ctx, network, address, d.attempts[0])
	if len(d.attempts) > 1 && boundconn.MaybePlain(err) {
		// A broken connection is not an answer from the server.
		conn, err = connect(ctx, network, address, d.attempts[0])
		if boundconn.MaybePlain(err) && answersPlain(ctx, network, address) {
			conn, err = connect(ctx, network, address, d.attempts[1])
		}
	}
	if err != nil {
		d.end(err)
		return nil, err
	}
	context.AfterFunc(d.session, func() { _ = conn.Close() })
	return &bounded{Conn: conn, end: d.end}, nil
}

func connect(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
}

// answersPlain reports whether the server answers a hello, which names no user, without TLS.
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
func answersPlain(ctx context.Context, network, address string) bool {
	const id = 1
	document, err := bson.Marshal(bson.D{{Key: "hello", Value: 1}, {Key: "$db", Value: "admin"}})
	if err != nil {
		return false
	}
	message := make([]byte, 21, 21+len(document)) // header, flags, and the kind of the one section
	message = append(message, document...)
	for i, n := range []int{len(message), id, 0, opMsg} {
		binary.LittleEndian.PutUint32(message[4*i:], uint32(n))
	}
	header := boundconn.Ask(ctx, network, address, message, headerSize)
	return header != nil && binary.LittleEndian.Uint32(header[8:]) == id &&
		binary.LittleEndian.Uint32(header[12:]) == opMsg
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

// next reads a message. The connection is not used after an error.
func (b *bounded) next() error {
	message := make([]byte, headerSize)
	if _, err := io.ReadFull(b.Conn, message); err != nil {
		return err
	}
	length, kind := binary.LittleEndian.Uint32(message), binary.LittleEndian.Uint32(message[12:])
	var err error
	switch {
	case length < headerSize || kind != opReply && kind != opMsg:
		err = fmt.Errorf("the server's answer is not in MongoDB's protocol")
	case length > messageLimit:
		err = fmt.Errorf("the server sends a message of more than %d bytes", messageLimit)
	default:
		message = append(message, make([]byte, length-headerSize)...)
		if _, err := io.ReadFull(b.Conn, message[headerSize:]); err != nil {
			return err
		}
		if loginStep().Match(message) {
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
