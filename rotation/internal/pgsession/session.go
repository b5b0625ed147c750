// Package pgsession is shared by the engines that use PostgreSQL's protocol: a connection with the
// machine's TLS rules, the meaning of the server's errors, and transactions with retries.
package pgsession

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/internal/errtree"
)

// Session is a connection to a target. It uses only the driver's lower half: the upper half supports every PostgreSQL
// type, which would make the function a sixth larger.
type Session struct {
	Conn   *pgconn.PgConn
	Target engine.Target
	Major  int // the server's version
	begin  string
}

// noTLS is the driver's error text if the server answers that it does not support TLS. Outer errors quote the user and
// the database, so a match within their text proves nothing.
const noTLS = "server refused TLS connection"

// Dial logs in, with TLS according to the policy. Every transaction begins with the given statements.
func Dial(ctx context.Context, policy engine.TLSPolicy, t engine.Target, begin string) (*Session, error) {
	// The driver requires a configuration from its own parser, which also reads PG* variables. Set everything that
	// decides where a password goes explicitly.
	cfg, err := pgconn.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, engine.Errorf(engine.InvalidConfiguration, "unset the PG* variables",
			"the driver's settings are invalid")
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = t.Host, uint16(t.Port), t.User, t.Password, t.Database
	cfg.Fallbacks = nil
	// Set the encoding, as libpq does: the database's owner can choose another default, in which one role's name has
	// the bytes of another's.
	cfg.RuntimeParams = map[string]string{"application_name": "rotator", "client_encoding": "UTF8"}
	cfg.ValidateConnect = nil
	cfg.MaxProtocolMessageBodyLen = limit // the driver allocates memory before reading
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return boundconn.Limit(c, limit), nil
	}
	login := true
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(&frugal{Reader: r, login: &login}, w)
	}
	s := &Session{Target: t, begin: begin}
	for i, tls := range policy.Attempts(t) {
		if i > 0 && !errtree.Is(err, noTLS) {
			break
		}
		cfg.TLSConfig, cfg.RequireAuth = tls, ""
		if tls == nil { // a server may ask for the plain password only over TLS
			cfg.RequireAuth = "!password"
		}
		if s.Conn, err = pgconn.ConnectConfig(ctx, cfg); err == nil {
			login = false
			_, _ = fmt.Sscan(s.Version(), &s.Major) // the rest of the text varies
			return s, nil
		}
	}
	if errtree.Is(err, noTLS) {
		return nil, engine.Errorf(engine.TLSFailed, "check that the secret's host and port are PostgreSQL's; "+
			`then enable TLS on the server, or set "ssl": false in the secret to send passwords in clear text`,
			"%s offers no TLS", t.Address())
	}
	return nil, s.Classify("no login at "+t.Address(), err)
}

// limit is how many bytes a server may send in one session, because a secret's writer may have chosen the server. The
// driver keeps it in memory, in up to ten times as many bytes: 16 MiB of parameters take 170 MiB. A session lists the
// rights of two users up to three times, so each can have about 7,500 rights.
const limit = 6 << 20

// frugal reads what a server sends, after decryption, and fails if a login asks for too much processor time.
type frugal struct {
	io.Reader
	login  *bool // whether the login is under way; later, the text of a row could look like such a message
	rounds boundconn.Rounds
}

func (f *frugal) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if *f.login {
		if err := f.rounds.See(p[:n]); err != nil {
			return 0, err
		}
	}
	return n, err
}

// Version returns the server's version as it reports it, such as "17.2 (Debian 17.2-1)".
func (s *Session) Version() string { return s.Conn.ParameterStatus("server_version") }

// Close closes the connection without waiting long for a hung server.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = s.Conn.Close(ctx)
}

// Work is a transaction.
type Work struct {
	*Session
	Request  *engine.Request // its reports are written once the changes are committed
	Password string          // to set; a rehearsal's is random
}

// Transaction runs do in a transaction, which it rolls back after a rehearsal. If two transactions change one role, the
// server fails with an internal error instead of waiting; if both create it, the second finds that it exists. Such
// transactions are retried from the start.
func (s *Session) Transaction(ctx context.Context, r *engine.Request, rehearsal bool, do func(*Work) error) error {
	password, _ := r.Pending.Text("password")
	if rehearsal {
		password = crand.Text()
	}
	for try := 0; ; try++ {
		buffered := *r
		var reports []func()
		if r.Report != nil {
			buffered.Report = func(level slog.Level, text string) {
				reports = append(reports, func() { r.Report(level, text) })
			}
		}
		err := s.Exec(ctx, "cannot begin a transaction", "BEGIN READ WRITE; "+s.begin)
		if err == nil {
			err = do(&Work{s, &buffered, password})
		}
		if err == nil && !rehearsal && s.Conn.TxStatus() == 'E' { // COMMIT would succeed, and roll back
			err = engine.Errorf(engine.TargetFailed, "report this as a defect", "the transaction failed before its end")
		}
		if err == nil && !rehearsal {
			err = s.Exec(ctx, "the change could not be committed", "COMMIT")
			for _, report := range reports {
				if err == nil {
					report()
				}
			}
		}
		if s.Conn.TxStatus() != 'I' { // idle
			_ = s.Exec(ctx, "", "ROLLBACK")
		}
		if try == 7 || !slices.Contains([]string{"XX000", "40001", "40P01", "23505", "42710"}, Code(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(rand.IntN(20<<try)) * time.Millisecond):
		}
	}
}

// Change runs a statement without secrets, and reports it.
func (w *Work) Change(ctx context.Context, statement string) error {
	err := w.Exec(ctx, statement, statement)
	if err == nil {
		w.Request.Changed(statement)
	}
	return err
}

// Exec runs statements that have no rows. what describes them in errors, and texts are removed from the server's message.
func (s *Session) Exec(ctx context.Context, what, statements string, texts ...string) error {
	_, err := s.Conn.Exec(ctx, statements).ReadAll()
	return s.Classify(what, without(err, texts))
}

// without returns the server's error with the texts removed from its message. A text too short to
// be a key stays, because it could match part of an ordinary word.
func without(err error, texts []string) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	bare := *e
	for _, t := range texts {
		if len(t) >= 6 {
			bare.Message = strings.ReplaceAll(bare.Message, t, "…")
		}
	}
	return &bare
}

// errUnexpected is the error for an answer that does not fit its query, which only a hostile server sends.
var errUnexpected = errors.New("the server's answer does not fit the query")

// Query returns the rows of a query, each with the given number of columns, as text; NULL is "". what describes the
// query in errors. The server infers the types of the arguments. No statement is prepared: a pooler in front of the
// server may not support that.
func (s *Session) Query(ctx context.Context, what string, columns int, query string, args ...any) ([][]string, error) {
	var rows [][]string
	var values [][]byte
	for _, a := range args {
		values = append(values, fmt.Append([]byte{}, a)) // nil would be NULL
	}
	result := s.Conn.ExecParams(ctx, query, values, nil, nil, nil).Read()
	for _, values := range result.Rows {
		if len(values) != columns {
			return nil, s.Classify(what, errUnexpected)
		}
		row := make([]string, columns)
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, s.Classify(what, result.Err)
}

// Texts returns the first column of a query's rows.
func (s *Session) Texts(ctx context.Context, what, query string, args ...any) (column []string, err error) {
	rows, err := s.Query(ctx, what, 1, query, args...)
	for _, row := range rows {
		column = append(column, row[0])
	}
	return column, err
}

// Text returns the text of a query that has one row with one column.
func (s *Session) Text(ctx context.Context, what, query string, args ...any) (string, error) {
	texts, err := s.Texts(ctx, what, query, args...)
	if err == nil && len(texts) != 1 {
		err = s.Classify(what, errUnexpected)
	}
	if err != nil {
		return "", err
	}
	return texts[0], nil
}

// Quote quotes a name.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Literal quotes a text. The meaning of a backslash depends on standard_conforming_strings, so E'…' fixes it.
func Literal(text string) string {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return "E'" + strings.ReplaceAll(text, `\`, `\\`) + "'"
	}
	return "'" + text + "'"
}

// Code returns the SQLSTATE of a server's error, or "". PgBouncer has one code for all refusals: a
// wrong password and an unknown user get PostgreSQL's code instead.
// Source: https://github.com/pgbouncer/pgbouncer/blob/pgbouncer_1_24_1/src/client.c (disconnect_client)
func Code(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	if e.Code == "08P01" && slices.Contains([]string{"SASL authentication failed", "password authentication failed",
		"no such user"}, e.Message) {
		return "28P01"
	}
	return e.Code
}

// item matches a name in a list, as the server writes it: in double quotes where needed.
var item = lazyregexp.New(`"(?:[^"]|"")*"|[^", ]+`)

// Names splits a list of names, separated by commas.
func Names(list string) []string {
	items := item().FindAllString(list, -1)
	for i, text := range items {
		if text[0] == '"' {
			items[i] = strings.ReplaceAll(text[1:len(text)-1], `""`, `"`)
		}
	}
	return items
}

// meanings maps the server's error codes to causes and advice.
// Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
var meanings = map[string]engine.Error{
	"28P01": {Cause: engine.LoginRefused,
		Advice: "check the password, that the user exists, and that its VALID UNTIL has not passed; " +
			"the server reports all three alike"},
	// No other password would change this answer, so it does not refuse the credential.
	"28000": {Cause: engine.PrivilegeMissing,
		Advice: "allow the user to log in over TLS from the function's address: see LOGIN and pg_hba.conf, " +
			"in Redshift require_ssl"},
	"42501": {Cause: engine.PrivilegeMissing, Advice: "grant the login what `rotatorctl policy` prints"},
	"2BP01": {Cause: engine.PrivilegeMissing,
		Advice: "as a superuser, run the statement with CASCADE at the end, or grant both users the same rights"},
	"55P03": {Cause: engine.Locked,
		Advice: "find what holds the lock in pg_locks and pg_stat_activity, and end it or wait; " +
			"Secrets Manager retries automatically"},
	"57014": {Cause: engine.TargetFailed,
		Advice: "find the session that holds a lock in pg_locks, in Redshift in svv_transactions, and end it " +
			"or wait; or reduce the server's load"},
	"3D000": {Cause: engine.InvalidSecret, Advice: "correct the secret's field dbname"},
	"25006": {Cause: engine.TargetFailed, Advice: adviceWriter},
	"0A000": {Cause: engine.TargetFailed, Advice: adviceWriter},
}

const adviceWriter = "set the secret's host to the writer, because a standby cannot change users; " +
	"otherwise see the server's message"

// Classify adds a cause and advice to an error of the server or its connection, and returns an *engine.Error or nil
// unchanged. Redshift derives from PostgreSQL 8.0, which had no separate code for a wrong password: only the text of a
// 28000 shows it.
// Source: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/database-authentication.html (rds_iam)
func (s *Session) Classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e
	}
	code, says := Code(err), err.Error()
	if e := engine.NetworkError(s.Target, err); e != nil && code == "" {
		return e
	}
	m, known := meanings[code]
	switch {
	case code == "28000" && strings.Contains(says, "password authentication failed"):
		m = meanings["28P01"]
	case code == "28000" && strings.Contains(says, "PAM authentication failed"):
		m.Advice = "REVOKE rds_iam FROM the user, or from the role that makes it a member: on RDS, members log in " +
			"with tokens instead of passwords"
	case code == "42501" && s.Conn == nil: // the login
		m.Advice = "GRANT CONNECT ON DATABASE " + Quote(s.Target.Database) + " TO " + Quote(s.Target.User)
	case !known:
		m = engine.Error{Cause: engine.TargetFailed, Advice: "see the server's message and log"}
	}
	return engine.Errorf(m.Cause, m.Advice, "%s: %w", what, err)
}
