// Package boundconn provides connections that close when a context is done, for drivers that check their context only
// between messages. It also limits how much the function reads from a server, because a secret's writer may have chosen
// it.
package boundconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

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

// Close closes the connection and releases the context.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// MaybePlain reports whether a TLS handshake failed the way it does at a server without TLS. A network failure can look
// the same.
func MaybePlain(err error) bool {
	_, header := errors.AsType[tls.RecordHeaderError](err)
	return header || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// ErrPlain is Secure's error if the server answers without TLS.
var ErrPlain error = tls.RecordHeaderError{Msg: "the server answers without TLS"}

// patience is how long a handshake may take before the server is asked whether it answers without TLS.
const patience = 500 * time.Millisecond

// Secure connects with TLS, and closes the connection when ctx is done. A server without TLS may end the connection, or
// wait for the rest of what it takes for a message. plain asks it something without TLS, and reports whether it answers.
func Secure(ctx context.Context, address string, config *tls.Config, plain func() bool) (net.Conn, error) {
	conn, err := Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	handshake, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ask := func() {
		if plain() {
			cancel(ErrPlain)
		}
	}
	defer time.AfterFunc(patience, ask).Stop()
	client := tls.Client(conn, config)
	if err = client.HandshakeContext(handshake); err == nil {
		return client, nil
	}
	conn.Close()
	if MaybePlain(err) {
		ask()
	}
	if cause := context.Cause(handshake); errors.Is(cause, ErrPlain) {
		err = cause
	}
	return nil, err
}

// Ask sends a message without TLS and returns the first n bytes of the answer, or nil on failure. It waits for three
// seconds at most: a server that needs TLS may wait for the rest of a handshake.
func Ask(ctx context.Context, address string, message []byte, n int) []byte {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := Dial(ctx, "tcp", address)
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

// Limit returns a connection that fails once more than limit bytes are read from it.
func Limit(c net.Conn, limit int) net.Conn { return limited{c, LimitReader(c, limit)} }

type limited struct {
	net.Conn
	reader io.Reader
}

func (l limited) Read(b []byte) (int, error) { return l.reader.Read(b) }

// LimitReader returns a reader that fails once more than limit bytes are read from it.
func LimitReader(r io.ReadCloser, limit int) io.ReadCloser { return &limitedReader{r, limit, limit} }

type limitedReader struct {
	io.ReadCloser
	limit, left int
}

func (l *limitedReader) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b[:min(len(b), l.left+1)])
	if l.left -= n; l.left < 0 {
		l.left = 0
		return 0, fmt.Errorf("the server sends more than %d bytes", l.limit)
	}
	return n, err
}

// textLimit limits the bytes that a message quotes from a server.
const textLimit = 1 << 10

// Short returns a server's text, truncated to a safe length.
func Short(text string) string {
	if len(text) <= textLimit {
		return text
	}
	return strings.ToValidUTF8(text[:textLimit], "") + " …"
}

// Shorten returns err with a bounded text: clients quote what they cannot parse, and all names in a certificate.
func Shorten(err error) error {
	if err == nil || len(err.Error()) <= textLimit {
		return err
	}
	return shortened{err}
}

type shortened struct{ error }

func (e shortened) Error() string { return Short(e.error.Error()) }

func (e shortened) Unwrap() error { return e.error }

// manyRounds matches a SCRAM server-first message that asks for a million rounds or more. Real servers ask for 4,096 to
// about 100,000. A million take a second, during which no deadline is checked.
// Source: https://www.rfc-editor.org/rfc/rfc5802#section-7
var manyRounds = lazyregexp.New(`,i=[+-]?[0-9]{7}`)

// Rounds inspects what a server sends during a login, in pieces of any length, and fails if it asks for too many rounds
// of SCRAM. The zero value is ready to use.
type Rounds struct{ tail []byte }

// See inspects the next piece.
func (r *Rounds) See(piece []byte) error {
	r.tail = append(r.tail, piece...)
	if manyRounds().Match(r.tail) {
		return fmt.Errorf("the server asks for a million rounds of SCRAM or more")
	}
	r.tail = append([]byte(nil), r.tail[max(0, len(r.tail)-len(",i=+000000")):]...)
	return nil
}
