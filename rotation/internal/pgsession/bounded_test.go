package pgsession

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// message encodes a server's message.
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

// hostile starts a server that answers the startup message with what answer writes.
func hostile(t *testing.T, answer func(b *pgproto3.Backend, c net.Conn)) engine.Target {
	port := testserver.Hostile(t, nil, func(c net.Conn) {
		b := pgproto3.NewBackend(c, c)
		if _, err := b.ReceiveStartupMessage(); err == nil {
			answer(b, c)
		}
	})
	return engine.Target{Host: "127.0.0.1", Port: port, User: "app", Password: "fixture", TLS: engine.TLSOff}
}

// An iteration count that would outlast the deadline is refused before it is used, however it is split into packets.
func TestManyRoundsOfSCRAMAreRefused(t *testing.T) {
	for _, rounds := range []string{"9000000", "40000000", "0001000000"} {
		target := hostile(t, func(b *pgproto3.Backend, c net.Conn) {
			b.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}})
			_ = b.Flush()
			_ = b.SetAuthType(pgproto3.AuthTypeSASL)
			m, _ := b.Receive()
			first, ok := m.(*pgproto3.SASLInitialResponse)
			if !ok {
				return
			}
			nonce := string(first.Data[strings.LastIndex(string(first.Data), "r=")+2:])
			for _, piece := range message('R', "\x00\x00\x00\x0br="+nonce+"x,s=QUJDREVGRw==,i="+rounds) {
				_, _ = c.Write([]byte{piece})
			}
			_, _ = b.Receive()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		begin := time.Now()
		_, err := Dial(ctx, engine.TLSPolicy{}, target, "")
		cancel()
		if err == nil || !strings.Contains(err.Error(), "rounds of SCRAM") {
			t.Errorf("%s rounds: %v after %s", rounds, err, time.Since(begin))
		}
	}
}

func TestServerTakesALimitedAmountOfMemory(t *testing.T) {
	number := 0
	for name, next := range map[string]func() []byte{
		"parameters":     func() []byte { number++; return message('S', fmt.Sprintf("%x\x00\x00", number)) },
		"a long message": func() []byte { return append([]byte{'N', 0x3f, 0xff, 0xff, 0xf0}, make([]byte, 1<<20)...) },
		"many messages":  func() []byte { return message('N', "MA very long notice\x00\x00") },
	} {
		target := hostile(t, func(_ *pgproto3.Backend, c net.Conn) {
			for {
				var block []byte
				for len(block) < 1<<20 {
					block = append(block, next()...)
				}
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		})
		var err error
		used := testserver.PeakMemory(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			_, err = Dial(ctx, engine.TLSPolicy{}, target, "")
		})
		if err == nil || errors.Is(err, context.DeadlineExceeded) || used > 96<<20 {
			t.Errorf("%s: %v, %d MiB", name, err, used>>20)
		}
	}
}

// TestFailedTransactionIsNotCommitted: COMMIT would succeed, and roll back.
func TestFailedTransactionIsNotCommitted(t *testing.T) {
	target := hostile(t, func(b *pgproto3.Backend, _ net.Conn) {
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		for b.Flush() == nil {
			m, err := b.Receive()
			if err != nil {
				return
			}
			status := byte('I')
			if q, ok := m.(*pgproto3.Query); ok && strings.HasPrefix(q.String, "BEGIN") {
				status = 'E'
			}
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("ROLLBACK")})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: status})
		}
	})
	s, err := Dial(t.Context(), engine.TLSPolicy{}, target, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reported := false
	r := &engine.Request{Report: func(slog.Level, string) { reported = true }}
	err = s.Transaction(t.Context(), r, false, func(w *Work) error { w.Request.Changed("it"); return nil })
	if !errors.Is(err, engine.TargetFailed) || reported {
		t.Errorf("%v, reported: %t", err, reported)
	}
}

// TestAnswersThatDoNotFitTheQuery: a wrong number of rows or columns is an error.
func TestAnswersThatDoNotFitTheQuery(t *testing.T) {
	for name, rows := range map[string][][][]byte{
		"no row": nil, "no column": {{}}, "two rows": {{[]byte("a")}, {[]byte("b")}}, "two columns": {{[]byte("a"), []byte("b")}},
	} {
		target := hostile(t, func(b *pgproto3.Backend, _ net.Conn) {
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			for b.Flush() == nil {
				m, err := b.Receive()
				if _, ok := m.(*pgproto3.Sync); err != nil || !ok {
					continue
				}
				b.Send(&pgproto3.ParseComplete{})
				b.Send(&pgproto3.BindComplete{})
				for _, row := range rows {
					b.Send(&pgproto3.DataRow{Values: row})
				}
				b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		s, err := Dial(ctx, engine.TLSPolicy{}, target, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if text, err := s.Text(ctx, "the answer", "SELECT 'a'"); !errors.Is(err, errUnexpected) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
