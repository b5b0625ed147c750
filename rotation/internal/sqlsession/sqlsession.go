// Package sqlsession is shared by the engines that use database/sql: a session with one connection,
// and a table of what the server's messages mean.
package sqlsession

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Server describes the errors of an engine's server.
type Server struct {
	// Read returns the codes of the server's messages in an error, and the error to show.
	Read     func(error) (codes []int, shown error)
	Meanings []Meaning // the first match applies; other server errors are TargetFailed
}

// Meaning is what some of a server's message codes mean for a rotation.
type Meaning struct {
	codes  []int
	cause  engine.Cause
	advice string
}

// Means returns the meaning of the messages with the given codes.
func Means(cause engine.Cause, advice string, codes ...int) Meaning {
	return Meaning{codes, cause, advice}
}

// Session is one connection.
type Session struct {
	Conn   *sql.Conn
	Target engine.Target
	server Server
	db     *sql.DB
}

// connector connects for database/sql.
type connector func(context.Context) (driver.Conn, error)

// Connect returns a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) { return c(ctx) }

// Driver returns nil: database/sql only returns it to callers of DB.Driver.
func (c connector) Driver() driver.Driver { return nil }

// Open logs in with a driver, in plain text only if the policy allows that and noTLS recognizes the server's answer.
func (server Server) Open(ctx context.Context, policy engine.TLSPolicy, t engine.Target, noTLS func(error) bool,
	connect func(context.Context, *tls.Config) (driver.Conn, error)) (*Session, error) {
	s := &Session{Target: t, server: server}
	var err error
	for _, config := range policy.Attempts(t) {
		s.db = sql.OpenDB(connector(func(ctx context.Context) (driver.Conn, error) { return connect(ctx, config) }))
		if s.Conn, err = s.db.Conn(ctx); err == nil {
			return s, nil
		}
		s.db.Close()
		if config == nil || !noTLS(err) {
			return nil, s.Classify(ctx, "no login at "+t.Address(), err)
		}
	}
	return nil, engine.Errorf(engine.TLSFailed, `enable TLS on the server, set port to one with TLS, or set "ssl": false `+
		"in the secret to send passwords in plain text", "%s does not offer TLS: %w", t.Address(), err)
}

// Close closes the connection.
func (s *Session) Close() {
	s.Conn.Close()
	s.db.Close()
}

// Exec runs a statement that must not contain a password, because the error quotes it.
func (s *Session) Exec(ctx context.Context, statement string) error {
	return s.Secretly(ctx, statement, statement)
}

// Secretly runs a statement that the error does not quote; what describes the statement instead.
func (s *Session) Secretly(ctx context.Context, what, statement string) error {
	_, err := s.Conn.ExecContext(ctx, statement)
	return s.Classify(ctx, what, err)
}

// Change runs a statement that must not contain a password, and reports it.
func (s *Session) Change(ctx context.Context, r *engine.Request, statement string) error {
	err := s.Exec(ctx, statement)
	if err == nil {
		r.Changed(statement)
	}
	return err
}

// Texts runs a query and returns its rows, all columns as text; NULL is "". what describes the query in errors.
func (s *Session) Texts(ctx context.Context, what, query string, args ...any) ([][]string, error) {
	rows, err := s.Conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.Classify(ctx, what, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	var all [][]string
	for err == nil && rows.Next() {
		cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		err = rows.Scan(into...)
		row := make([]string, len(columns))
		for i, c := range cells {
			row[i] = c.String
		}
		all = append(all, row)
	}
	if err == nil {
		err = rows.Err()
	}
	return all, s.Classify(ctx, what, err)
}

// Classify adds a cause and advice to an error, and returns an *engine.Error or nil unchanged.
func (s *Session) Classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	codes, err := s.server.Read(err)
	for _, m := range s.server.Meanings {
		if slices.ContainsFunc(m.codes, func(c int) bool { return slices.Contains(codes, c) }) {
			return engine.Errorf(m.cause, m.advice, "%s: %w", what, err)
		}
	}
	if codes == nil {
		// When a call ends, its connection is closed while the driver uses it.
		if over := ctx.Err(); over != nil {
			err = fmt.Errorf("%w: %w", over, err)
		} else if strings.Contains(err.Error(), "use of closed network connection") {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		if e := engine.NetworkError(s.Target, err); e != nil {
			return e
		}
	}
	return engine.Errorf(engine.TargetFailed, "see the server's message and log", "%s: %w", what, err)
}
