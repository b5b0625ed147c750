// Package resp is a client for version 2 of the Redis protocol, for the engines that rotate users of Redis, Valkey,
// ElastiCache and MemoryDB.
//
// It is not a general client: it has no pool, retries or log, and sends only what an engine requests. The common client
// would add 1.8 MB to the function.
// Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
package resp

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
)

// Error is a server's error reply: a code in capitals, and text.
type Error string

// Error returns the reply as the server sent it.
func (e Error) Error() string { return string(e) }

// Code returns the first word of an error reply, such as WRONGPASS or NOPERM, or "" for any other error.
func Code(err error) string {
	e, _ := errors.AsType[Error](err)
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// unknown reports whether the server lacks the command or has renamed it. Only the beginning of the reply counts: the
// rest may quote text that anyone could have chosen, such as a user's name.
func unknown(e Error) bool {
	text := strings.ToLower(string(e))
	return strings.HasPrefix(text, "err unknown command") || strings.HasPrefix(text, "err unknown subcommand")
}

// Conn is a logged-in connection. It closes when the context passed to Login is done.
type Conn struct {
	Target engine.Target
	ctx    context.Context
	conn   net.Conn
	r      *bufio.Reader
}

// Login connects to the target, encrypted according to the policy, and logs in. names are the names that the target's
// certificate may have, by default only the target's own.
func Login(ctx context.Context, policy engine.TLSPolicy, t engine.Target, names ...string) (*Conn, error) {
	conn, err := dial(ctx, policy, t, names)
	if err != nil {
		return nil, classify(t, "no connection", ended(ctx, err))
	}
	c := &Conn{t, ctx, conn, bufio.NewReaderSize(conn, maxLine)}
	if _, err := c.Do("the login failed", "AUTH", t.User, t.Password); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Try logs in and checks that the server answers. A refusal because the user lacks the right to PING is also an answer.
func Try(ctx context.Context, policy engine.TLSPolicy, t engine.Target) error {
	c, err := Login(ctx, policy, t)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err = c.Do("the server did not answer PING", "PING"); Code(err) == "NOPERM" {
		return nil
	}
	return err
}

// dial connects with the first of the policy's attempts that the server supports.
func dial(ctx context.Context, policy engine.TLSPolicy, t engine.Target, names []string) (conn net.Conn, err error) {
	if len(names) == 0 {
		names = []string{t.CertificateName()}
	}
	plain := func() bool { // a server that refuses the command also speaks the protocol
		first := boundconn.Ask(ctx, t.Address(), []byte("PING\r\n"), 1)
		return first != nil && (first[0] == '+' || first[0] == '-')
	}
	for _, config := range policy.Attempts(t) {
		if config == nil {
			return boundconn.Dial(ctx, "tcp", t.Address())
		}
		for _, name := range names {
			config.ServerName = name
			conn, err = boundconn.Secure(ctx, t.Address(), config, plain)
			if _, other := errors.AsType[x509.HostnameError](err); !other {
				break
			}
		}
		if !errors.Is(err, boundconn.ErrPlain) {
			break
		}
	}
	return conn, err
}

// ended bounds an error's text and puts the context's error, which may be the reason, before it.
func ended(ctx context.Context, err error) error {
	err = boundconn.Shorten(err)
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// Close closes the connection.
func (c *Conn) Close() { c.conn.Close() }

// Do sends a command and returns its reply: a string, nil, or an []any of these and Errors. An error begins with what,
// and shows no password or hash that the server quotes.
func (c *Conn) Do(what string, args ...string) (any, error) {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	var reply any
	_, err := c.conn.Write(b)
	if err == nil {
		reply, err = read(c.r)
	}
	if err != nil {
		return nil, classify(c.Target, what, ended(c.ctx, err))
	}
	e, ok := reply.(Error)
	if !ok {
		return reply, nil
	}
	if unknown(e) {
		// The reply quotes the first 128 bytes of the words, and the scrubber would not recognize a truncated password.
		// Source: https://github.com/redis/redis/blob/7.0.15/src/server.c (commandCheckExistence)
		e = Error("ERR unknown command '" + args[0] + "'")
	}
	for _, a := range args {
		if hash, ok := strings.CutPrefix(a, "#"); ok && len(hash) == 2*sha256.Size {
			e = Error(strings.ReplaceAll(string(e), hash, "[hash]"))
		}
	}
	return nil, classify(c.Target, what, e)
}

// Address returns the address that the target's name resolved to.
func (c *Conn) Address() string { return c.conn.RemoteAddr().String() }

// Limits on a reply, far above what the engines' commands return. A secret names the server, so anyone who can write
// the secret may run a server that sends anything.
const (
	maxReply = 4 << 20 // bytes of a reply with all its elements
	overhead = 64      // added for each element
	maxLine  = 16 << 10
	maxDepth = 8
)

var (
	errReply   = errors.New("the server's answer is not in Redis's protocol")
	errTooLong = errors.New("the server's answer is too long")
)

// reply is a reply in progress.
type reply struct {
	r    *bufio.Reader
	left int // of maxReply
}

// read reads one reply.
func read(r *bufio.Reader) (any, error) { return (&reply{r, maxReply}).element(maxDepth) }

func (r *reply) element(depth int) (any, error) {
	line, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errTooLong
	}
	if err != nil {
		return nil, err
	}
	text, ended := strings.CutSuffix(string(line), "\r\n")
	if !ended || text == "" {
		return nil, errReply
	}
	if r.left -= len(text) + overhead; r.left < 0 {
		return nil, errTooLong
	}
	kind, text := text[0], text[1:]
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return Error(boundconn.Short(text)), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, errReply
	}
	switch {
	case kind != '$' && kind != '*' || n < -1 || kind == '*' && depth == 0:
		return nil, errReply
	case n == -1:
		return nil, nil
	case kind == '$':
		if r.left -= n; r.left < 0 {
			return nil, errTooLong
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r.r, b); err != nil {
			return nil, err
		}
		if text, ended := strings.CutSuffix(string(b), "\r\n"); ended {
			return text, nil
		}
		return nil, errReply
	}
	var list []any // grows as elements arrive, whatever length the server has announced
	for range n {
		e, err := r.element(depth - 1)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// classify adds a cause and advice to an error. WRONGPASS is the answer to a wrong password, an unknown user and a
// disabled user alike.
// Source: https://redis.io/docs/latest/commands/auth/
func classify(t engine.Target, what string, err error) error {
	cause, advice := engine.TargetFailed, "see the server's own message; Secrets Manager retries automatically"
	e, answer := errors.AsType[Error](err)
	switch {
	case Code(err) == "WRONGPASS":
		cause = engine.LoginRefused
		advice = "check the password, and that the user exists and is on; the server reports all three alike"
	case Code(err) == "NOPERM":
		cause, advice = engine.PrivilegeMissing, "grant the login what `rotatorctl policy` prints"
	case errors.Is(err, boundconn.ErrPlain):
		cause = engine.TLSFailed
		advice = `enable TLS on the server or, if the network can be trusted, set "ssl": false in the secret`
	case unknown(e):
		advice = "set host to a data node that has the command; for ElastiCache and MemoryDB, use their own engines"
	case !answer:
		if n := engine.NetworkError(t, err); n != nil {
			return n
		}
		advice = "check the secret's host and port"
	}
	return engine.Errorf(cause, advice, "%s: %s: %w", t.Address(), what, err)
}
