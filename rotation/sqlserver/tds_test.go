package sqlserver

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// tdsServer implements enough of TDS 7.4 for a login and a batch, because SQL Server itself cannot run here. It checks
// passwords, records batches, executes statements that change a password, and answers queries as the test specifies. It
// supports no other Transact-SQL.
// Source: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/
type tdsServer struct {
	t        testing.TB
	listener net.Listener
	tls      *tls.Config // nil: the server has no TLS
	insist   bool        // require TLS, even if the client wants none
	history  bool        // logins may not reuse a password

	mu      sync.Mutex
	logins  map[string]string   // passwords
	used    map[string]bool     // name and password of every change
	refusal map[string][]tdsErr // the answers to logins that fail
	batches []string
	dbs     []string                             // the requested databases
	plain   int                                  // logins without TLS
	answer  func(sql string) ([][]string, error) // nil rows: no result
}

// tdsErr is a message of the server.
type tdsErr struct {
	number int32
	text   string
}

func (e tdsErr) Error() string { return e.text }

func newTDS(t testing.TB, withTLS bool) *tdsServer {
	t.Helper()
	s := &tdsServer{t: t, logins: map[string]string{}, used: map[string]bool{}, refusal: map[string][]tdsErr{}}
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		s.listener.Close()
		serving.Wait()
	})
	if withTLS {
		ca := certificates(t)
		leaf, err := ca.Issue("localhost", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		// With TLS 1.3 the server's tickets would follow the handshake in packets that the client no longer expects
		// to be wrapped. SQL Server uses TLS 1.2 here.
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}
	}
	return s
}

var certificates = func() func(testing.TB) *testserver.CA {
	once := sync.OnceValues(testserver.NewCA)
	return func(t testing.TB) *testserver.CA {
		t.Helper()
		ca, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
}()

func (s *tdsServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// sent returns the batches so far and forgets them.
func (s *tdsServer) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.batches
	s.batches = nil
	return b
}

func (s *tdsServer) value(user, password string, more string) engine.Value {
	v := engine.StringValue(fmt.Sprintf(`{"engine":"sqlserver","host":"localhost","port":%d%s}`, s.port(), more))
	return v.With("username", user).With("password", password)
}

// wrapped wraps a handshake in packets.
type wrapped struct {
	net.Conn
	in bytes.Buffer
	on bool
}

func (w *wrapped) Read(b []byte) (int, error) {
	if !w.on {
		return w.Conn.Read(b)
	}
	if w.in.Len() == 0 {
		_, payload, err := readMessage(w.Conn)
		if err != nil {
			return 0, err
		}
		w.in.Write(payload)
	}
	return w.in.Read(b)
}

func (w *wrapped) Write(b []byte) (int, error) {
	if !w.on {
		return w.Conn.Write(b)
	}
	return len(b), writeMessage(w.Conn, 0x12, b)
}

func readMessage(r io.Reader) (kind byte, payload []byte, err error) {
	for {
		var h [8]byte
		if _, err = io.ReadFull(r, h[:]); err != nil {
			return 0, nil, err
		}
		n := int(binary.BigEndian.Uint16(h[2:])) - 8
		part := make([]byte, max(n, 0))
		if _, err = io.ReadFull(r, part); err != nil {
			return 0, nil, err
		}
		payload = append(payload, part...)
		if h[1]&1 != 0 {
			return h[0], payload, nil
		}
	}
}

func writeMessage(w io.Writer, kind byte, payload []byte) error {
	for {
		part := payload[:min(len(payload), 4000)]
		payload = payload[len(part):]
		h := []byte{kind, 0, 0, 0, 0, 0, 1, 0}
		if len(payload) == 0 {
			h[1] = 1
		}
		binary.BigEndian.PutUint16(h[2:], uint16(len(part)+8))
		if _, err := w.Write(append(h, part...)); err != nil || len(payload) == 0 {
			return err
		}
	}
}

func (s *tdsServer) serve(raw net.Conn) {
	defer raw.Close()
	kind, prelogin, err := readMessage(raw)
	if err != nil || kind != 0x12 {
		return
	}
	wants := option(prelogin, 1)
	encrypt := byte(2) // not supported
	if s.tls != nil && (wants != 2 || s.insist) {
		encrypt = 1
	}
	reply := []byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, encrypt}
	if writeMessage(raw, 4, reply) != nil {
		return
	}
	var conn io.ReadWriter = raw
	if encrypt == 1 {
		w := &wrapped{Conn: raw, on: true}
		secure := tls.Server(w, s.tls)
		if secure.Handshake() != nil {
			return
		}
		w.on = false
		conn = secure
	}
	kind, login, err := readMessage(conn)
	if err != nil || kind != 0x10 {
		return
	}
	user, password, database := field(login, 40), secret(login, 44), field(login, 68)
	s.mu.Lock()
	s.dbs = append(s.dbs, database)
	if encrypt != 1 {
		s.plain++
	}
	known, ok := s.logins[user]
	errs := s.refusal[user]
	s.mu.Unlock()
	if errs == nil && (!ok || known != password) {
		errs = []tdsErr{{18456, "Login failed for user '" + user + "'."}}
	}
	if errs != nil {
		_ = writeMessage(conn, 4, failed(errs...))
		return
	}
	ack := append([]byte{1, 0x74, 0, 0, 4}, short("Microsoft SQL Server")...)
	ack = append(ack, 16, 0, 0, 0)
	if writeMessage(conn, 4, append(append([]byte{0xad, byte(len(ack)), 0}, ack...), done(0)...)) != nil {
		return
	}
	for {
		kind, payload, err := readMessage(conn)
		if err != nil {
			return
		}
		if kind != 1 {
			_ = writeMessage(conn, 4, failed(tdsErr{102, "only batches are understood"}))
			continue
		}
		sql := decode(payload[binary.LittleEndian.Uint32(payload):])
		if writeMessage(conn, 4, s.batch(user, sql)) != nil {
			return
		}
	}
}

// batch executes a statement that changes a password, and leaves the rest to the test.
func (s *tdsServer) batch(user, sql string) []byte {
	s.mu.Lock()
	s.batches = append(s.batches, sql)
	answer := s.answer
	s.mu.Unlock()
	var rows [][]string
	var err error
	if answer != nil {
		rows, err = answer(sql)
	}
	if rest, ok := strings.CutPrefix(sql, "SET XACT_ABORT ON; BEGIN TRANSACTION; CREATE LOGIN "); ok && err == nil {
		// The test handles what follows the password.
		a, cut, _ := strings.Cut(rest, ", DEFAULT_DATABASE")
		if made, perr := parseAlter("ALTER LOGIN " + a); perr != nil || cut == "" {
			err = tdsErr{102, "Incorrect syntax"}
		} else {
			s.mu.Lock()
			s.logins[made.name] = made.password
			s.mu.Unlock()
		}
	}
	if words := strings.Fields(sql); err == nil && len(words) > 1 && words[0] == "ALTER" &&
		(words[1] == "LOGIN" || words[1] == "USER") && strings.Contains(sql, "PASSWORD") {
		err = s.alter(user, sql)
	}
	if e, ok := errors.AsType[tdsErr](err); ok {
		return failed(e)
	}
	return append(result(rows), done(0)...)
}

func (s *tdsServer) alter(user, sql string) error {
	a, err := parseAlter(sql)
	if err != nil {
		return tdsErr{102, err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.logins[a.name]
	if !ok || a.name == user && a.old != known {
		return tdsErr{15151, "Cannot alter the login '" + a.name +
			"', because it does not exist or you do not have permission."}
	}
	if s.history && s.used[a.name+" "+a.password] {
		return tdsErr{15115, "Password validation failed. The password cannot be used at this time."}
	}
	s.logins[a.name], s.used[a.name+" "+a.password] = a.password, true
	return nil
}

// option returns the first byte of a PRELOGIN option.
func option(prelogin []byte, token byte) byte {
	for i := 0; i+5 <= len(prelogin) && prelogin[i] != 0xff; i += 5 {
		if prelogin[i] == token {
			return prelogin[binary.BigEndian.Uint16(prelogin[i+1:])]
		}
	}
	return 0
}

func raw(login []byte, at int) []byte {
	from, n := binary.LittleEndian.Uint16(login[at:]), binary.LittleEndian.Uint16(login[at+2:])
	return login[from : from+2*n]
}

func field(login []byte, at int) string { return decode(raw(login, at)) }

// secret reverses a client's encoding of a password.
func secret(login []byte, at int) string {
	b := bytes.Clone(raw(login, at))
	for i := range b {
		b[i] ^= 0xa5
		b[i] = b[i]<<4 | b[i]>>4
	}
	return decode(b)
}

func decode(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func encode(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// short returns a string preceded by its length in one byte.
func short(s string) []byte {
	return append([]byte{byte(len(utf16.Encode([]rune(s))))}, encode(s)...)
}

func done(status uint16) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{0xfd}, status), make([]byte, 10)...)
}

func failed(errs ...tdsErr) []byte {
	var all []byte
	for _, e := range errs {
		body := binary.LittleEndian.AppendUint32(nil, uint32(e.number))
		body = append(body, 1, 14)
		body = binary.LittleEndian.AppendUint16(body, uint16(len(utf16.Encode([]rune(e.text)))))
		body = append(body, encode(e.text)...)
		body = append(body, short("srv")...)
		body = append(body, 0, 1, 0, 0, 0)
		all = append(all, append(binary.LittleEndian.AppendUint16([]byte{0xaa}, uint16(len(body))), body...)...)
	}
	return append(all, done(2)...)
}

// result encodes a table of strings.
func result(rows [][]string) []byte {
	if rows == nil {
		return nil
	}
	columns := 1
	if len(rows) > 0 {
		columns = len(rows[0])
	}
	b := []byte{0x81, byte(columns), 0}
	for range columns {
		b = append(b, 0, 0, 0, 0, 0, 0, 0xe7, 0x40, 0x1f, 9, 4, 0xd0, 0, 0x34)
		b = append(b, short("c")...)
	}
	for _, r := range rows {
		b = append(b, 0xd1)
		for _, v := range r {
			e := encode(v)
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(e))), e...)
		}
	}
	return b
}

// alteration is a parsed statement that changes a password.
type alteration struct{ name, password, old string }

// parseAlter reads ALTER {LOGIN|USER} [name] WITH PASSWORD = N'text' [OLD_PASSWORD = N'text'] by the lexical rules of
// Transact-SQL and refuses anything else, so nothing can be injected through a name or a password.
// Source: https://learn.microsoft.com/en-us/sql/t-sql/language-elements/delimited-identifiers-transact-sql
func parseAlter(sql string) (a alteration, err error) {
	rest := sql
	fail := func() { err = fmt.Errorf("incorrect syntax near %q", rest) }
	literal := func(want string) {
		if err == nil && !strings.HasPrefix(rest, want) {
			fail()
		}
		rest = strings.TrimPrefix(rest, want)
	}
	quoted := func(end string) string {
		var out strings.Builder
		for err == nil {
			i := strings.Index(rest, end)
			if i < 0 {
				fail()
				return ""
			}
			out.WriteString(rest[:i])
			rest = rest[i+1:]
			if !strings.HasPrefix(rest, end) {
				break
			}
			out.WriteString(end)
			rest = rest[1:]
		}
		// A backslash before the end of a line joins the lines.
		return strings.NewReplacer("\\\r\n", "", "\\\n", "").Replace(out.String())
	}
	if strings.HasPrefix(rest, "ALTER USER") {
		literal("ALTER USER [")
	} else {
		literal("ALTER LOGIN [")
	}
	a.name = quoted("]")
	literal(" WITH PASSWORD = N'")
	a.password = quoted("'")
	if rest != "" {
		literal(" OLD_PASSWORD = N'")
		a.old = quoted("'")
	}
	if err == nil && rest != "" {
		fail()
	}
	return a, err
}
