package mongodb

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// dialer makes the driver's connections, encrypted, and keeps the first failure:
// the driver would go on trying until its time is up, and then tell it in words
// only.
type dialer struct {
	attempts []*tls.Config
	patient  bool // there are several hosts to try
	fail     context.CancelFunc

	mu      sync.Mutex
	reached bool
	first   error
}

// DialContext connects to one server. Its certificate must be for the host's own
// name, since a replica set has other names than the secret's.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
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
	for i, config := range d.attempts {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil || config == nil {
			return conn, err
		}
		config = config.Clone()
		config.ServerName = host
		secure := tls.Client(conn, config)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
		conn.Close()
		if i+1 == len(d.attempts) || !speaksNoTLS(err) {
			return nil, err
		}
	}
	return nil, errors.New("no way to connect is allowed") // unreachable: there is one attempt at least
}

// speaksNoTLS reports whether a server has ended the handshake as one does that
// does not know what it is.
func speaksNoTLS(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// failure returns why there never was a connection, or nil.
func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reached {
		return nil
	}
	return d.first
}
