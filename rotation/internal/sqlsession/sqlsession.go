// Package sqlsession is shared by the engines that use database/sql: a session with one connection,
// and a table of what the server's messages mean.
package sqlsession

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"example.com/rotator/rotation/engine"
)

// Session is one connection. Classify gives an error its cause and advice, and returns nil for nil.
type Session struct {
	Conn     *sql.Conn
	Classify func(ctx context.Context, what string, err error) error
	db       *sql.DB
}

// connector connects for database/sql.
type connector func(context.Context) (driver.Conn, error)

// Connect returns a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) { return c(ctx) }

// Driver returns nil: database/sql only passes it on to its callers.
func (c connector) Driver() driver.Driver { return nil }

// Open connects with a driver. Its error is not classified.
func Open(ctx context.Context, connect func(context.Context) (driver.Conn, error),
	classify func(context.Context, string, error) error) (*Session, error) {
	s := &Session{db: sql.OpenDB(connector(connect)), Classify: classify}
	var err error
	if s.Conn, err = s.db.Conn(ctx); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the connection.
func (s *Session) Close() {
	s.Conn.Close()
	s.db.Close()
}

// Exec runs a statement that must not contain a password, because the error quotes it.
func (s *Session) Exec(ctx context.Context, statement string) error {
	_, err := s.Conn.ExecContext(ctx, statement)
	return s.Classify(ctx, statement, err)
}

// Bound runs a statement that limits lock waits to what is left of the call, in whole units. A
// frozen function cannot cancel anything, so the server must end the wait.
func (s *Session) Bound(ctx context.Context, statement string, unit time.Duration) error {
	end, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	return s.Exec(ctx, fmt.Sprintf("%s%d", statement, max(time.Until(end)/unit, 1)))
}

// Change runs a statement that must not contain a password, and reports it.
func (s *Session) Change(ctx context.Context, r *engine.Request, statement string) error {
	err := s.Exec(ctx, statement)
	if err == nil {
		r.Changed(statement)
	}
	return err
}

// Texts runs a query and returns its rows, all columns as text; NULL is "". what describes the
// query in errors.
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

// Meaning is what some messages of a server mean for a rotation.
type Meaning struct {
	codes  []int
	cause  engine.Cause
	advice string
}

// Means returns the meaning of the messages with the given codes.
func Means(cause engine.Cause, advice string, codes ...int) Meaning {
	return Meaning{codes, cause, advice}
}

// Explain returns the error for the first of the meanings that one of the codes has, or nil.
func Explain(meanings []Meaning, codes []int, what string, err error) error {
	for _, m := range meanings {
		if slices.ContainsFunc(m.codes, func(c int) bool { return slices.Contains(codes, c) }) {
			return engine.Errorf(m.cause, m.advice, "%s: %w", what, err)
		}
	}
	return nil
}
