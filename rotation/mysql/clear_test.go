package mysql

import (
	"bytes"
	"net"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
)

// TestNoPasswordInClear: a server that asks for the plain-text password, in its greeting or in its answer to the login,
// does not get it.
func TestNoPasswordInClear(t *testing.T) {
	const password = "fixture-password"
	packet := func(n byte, body string) []byte {
		return append([]byte{byte(len(body)), byte(len(body) >> 8), 0, n}, body...)
	}
	greeting := func(plugin string) []byte {
		// Protocol 10, and the flags of a server without TLS.
		return packet(0, "\x0a8.4.0\x00\x01\x00\x00\x00saltsalt\x00\x01\x82\x21\x02\x00\x08\x00\x15"+
			"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00saltsaltsalt\x00"+plugin+"\x00")
	}
	for name, plugin := range map[string]string{"in the greeting": "mysql_clear_password",
		"in an answer": "caching_sha2_password"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []byte, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
			_, _ = conn.Write(greeting(plugin))
			buf := make([]byte, 4096)
			n, _ := conn.Read(buf)
			_, _ = conn.Write(packet(2, "\xfemysql_clear_password\x00"))
			m, _ := conn.Read(buf[n:])
			got <- buf[:n+m]
		}()
		v := engine.StringValue(`{"engine":"mysql","host":"127.0.0.1","username":"app","password":"`+password+
			`","ssl":false}`).
			With("port", l.Addr().String()[len("127.0.0.1:"):])
		err = New(engine.TLSPolicy{}).Verify(t.Context(), &engine.Request{Current: v}, v)
		sent := <-got
		if err == nil || bytes.Contains(sent, []byte(password)) {
			t.Errorf("%s: the server received the password: %v; %v", name, bytes.Contains(sent, []byte(password)), err)
		}
		t.Logf("%s: %d bytes, %v", name, len(sent), err)
		l.Close()
	}
}
