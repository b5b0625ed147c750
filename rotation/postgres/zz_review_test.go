//go:build repro

package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fmt"

	"example.com/rotator/rotation/engine"
)

// P: a host in a secret asks for a SCRAM of two thousand million rounds: the time that
// is left does not bound it.
func TestZZScramOfManyRounds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	msg := func(kind byte, body []byte) []byte {
		return append(append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))...), body...)
	}
	read := func(c net.Conn, typed bool) []byte {
		h := make([]byte, 4)
		if typed {
			h = make([]byte, 5)
		}
		if _, err := io.ReadFull(c, h); err != nil {
			return nil
		}
		b := make([]byte, binary.BigEndian.Uint32(h[len(h)-4:])-4)
		_, _ = io.ReadFull(c, b)
		return b
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				read(c, false)
				_, _ = c.Write(msg('R', append(binary.BigEndian.AppendUint32(nil, 10), "SCRAM-SHA-256\x00\x00"...)))
				b := string(read(c, true))
				i := strings.LastIndex(b, "r=")
				if i < 0 {
					return
				}
				_, _ = c.Write(msg('R', append(binary.BigEndian.AppendUint32(nil, 11), "r="+b[i+2:]+"x,s=QUJDREVGRw==,i=40000000"...)))
				_ = read(c, true)
			}()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	v := engine.StringValue(fmt.Sprintf(`{"engine":"postgres","host":"127.0.0.1","port":%d,"ssl":false,"username":"u","password":"p"}`, l.Addr().(*net.TCPAddr).Port))
	begin := time.Now()
	err = New(engine.TLSPolicy{}).Verify(ctx, &engine.Request{Secret: "arn", Current: v, Pending: v, Login: v, Strategy: engine.SingleUser}, v)
	took := time.Since(begin)
	t.Logf("%v after %s with a deadline of 2 s", err, took)
	if took > 3*time.Second {
		t.Error("PROVED: the deadline does not end it (2,147,483,647 rounds would take 50 times as long)")
	}
}
