package mongodb

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/internal/boundconn"
)

// dialer makes the driver's connections, encrypted, and keeps the first failure:
// the driver would go on trying until its time is up, and then tell it in words
// only.
type dialer struct {
	host     string // the secret's
	attempts []*tls.Config
	patient  bool // there are several hosts to try
	fail     context.CancelFunc

	mu        sync.Mutex
	reached   bool
	first     error
	bound     error // what a server does not keep to
	addresses map[string]bool
}

// addressLimit is how many servers are connected to: each one can name others.
const addressLimit = 256

// DialContext connects to one server. Its certificate must be for the host's own
// name, since a replica set has other names than the secret's.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.addresses[address] = true
	many := len(d.addresses) > addressLimit
	d.mu.Unlock()
	if many {
		return nil, d.exceeded(fmt.Errorf("the servers name more than %d others", addressLimit))
	}
	conn, err := d.dial(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		conn = &bounded{Conn: conn, exceeded: d.exceeded}
		d.reached = true
	} else if !d.reached && d.first == nil {
		d.first = err
		if !d.patient {
			d.fail()
		}
	}
	return conn, err
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	connect := func(config *tls.Config) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil || config == nil {
			return conn, err
		}
		config = config.Clone()
		if host != d.host { // the secret's has the name that the secret says
			config.ServerName = host
		}
		secure := tls.Client(conn, config)
		if err = secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
	conn, err := connect(d.attempts[0])
	if len(d.attempts) == 1 || !maybePlain(err) {
		return conn, err
	}
	// A connection that breaks is no answer of the server's.
	if conn, err = connect(d.attempts[0]); !maybePlain(err) || !answersPlain(ctx, network, address) {
		return conn, err
	}
	return connect(d.attempts[1])
}

// maybePlain reports whether a handshake has ended as it does at a server that
// does not know what it is, and also where the network broke.
func maybePlain(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// answersPlain asks the server for a hello without TLS, and without a name or a
// password.
// Source: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
func answersPlain(ctx context.Context, network, address string) bool {
	const opMsg, id = 2013, 1
	document, err := bson.Marshal(bson.D{{Key: "hello", Value: 1}, {Key: "$db", Value: "admin"}})
	if err != nil {
		return false
	}
	message := make([]byte, 21, 21+len(document)) // header, flags, and the kind of the one section
	message = append(message, document...)
	for i, n := range []int{len(message), id, 0, opMsg} {
		binary.LittleEndian.PutUint32(message[4*i:], uint32(n))
	}
	conn, err := boundconn.Dial(ctx, network, address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write(message); err != nil {
		return false
	}
	var header [16]byte
	_, err = io.ReadFull(conn, header[:])
	return err == nil && binary.LittleEndian.Uint32(header[8:]) == id && binary.LittleEndian.Uint32(header[12:]) == opMsg
}

// exceeded notes that a server does not keep to the bounds, which ends the session.
func (d *dialer) exceeded(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = cmp.Or(d.bound, err)
	d.fail()
	return err
}

// failure returns why the session was ended, or why there never was a connection, or nil.
func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reached || d.bound != nil {
		return d.bound
	}
	return d.first
}
