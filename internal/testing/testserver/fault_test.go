package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestBlackholeAcceptsAndAnswersNothing(t *testing.T) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", Blackhole(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte("hello\n"))
	if err := errors.Join(err, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond))); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestProxyForwardsAndCuts(t *testing.T) {
	ctx := context.Background()
	s := SharedPostgres(t, PostgresOptions{NoTLS: true})
	proxy := Proxy(t, s.Addr())
	config, err := pgx.ParseConfig(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	config.Port = uint16(proxy.Port)
	connect := func() *pgx.Conn {
		t.Helper()
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}

	// Use a plain connection to see the cut itself: a driver may notice it first and then only
	// report a closed connection.
	plain, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil { // SSLRequest
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := plain.Read(answer); err != nil || answer[0] != 'N' {
		t.Errorf("forwarding: %q, %v, want N for a server without TLS", answer, err)
	}
	proxy.Cut()
	if _, err := plain.Read(answer); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a cut: %v, want a reset", err)
	}

	// The response to a statement is lost, but the statement is not.
	conn := connect()
	if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
		t.Errorf("forwarding: %v", err)
	}
	role := Unique("role_")
	var sent atomic.Bool
	proxy.Filter(func(c Chunk) bool {
		if !c.FromServer && bytes.Contains(c.Bytes, []byte("CREATE ROLE")) {
			sent.Store(true)
		}
		return !sent.Load() || !c.FromServer
	})
	if _, err := conn.Exec(ctx, "CREATE ROLE "+role); err == nil || !conn.IsClosed() {
		t.Errorf("the answer came: %v", err)
	}
	proxy.Filter(nil)
	var there bool
	conn = connect()
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
		role).Scan(&there); err != nil || !there {
		t.Errorf("the statement did not reach the server: %v", err)
	}
}
