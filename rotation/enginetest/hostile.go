package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// lies are the beginnings of a hostile host's endless answers, in the protocols of the targets.
var lies = map[string][]byte{
	"zeros":                               nil,
	"a line without an end":               []byte("+"),
	"a text of 1 GiB in Redis's protocol": []byte("$1073741824\r\n"),
	"a list of 1 G items in Redis's":      []byte("*1073741824\r\n"),
	"lists within lists in Redis's":       bytes.Repeat([]byte("*1\r\n"), 1<<14),
	"an answer of HTTP without an end":    []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[\""),
	"a header of HTTP without an end":     []byte("HTTP/1.1 200 OK\r\nX: "),
	"a refusal of HTTP without an end":    []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"),
	"a message of 1 GiB in PostgreSQL's":  {'E', 0x40, 0, 0, 0, 'S'},
	"a message of 2 GiB in LDAP's": {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01, 0x01, 0x61,
		0x84, 0x7f, 0xff, 0xff, 0xf0},
	"packets without an end in MySQL's":   {0xff, 0xff, 0xff, 0, 0x0a},
	"a message of 48 MB in MongoDB's":     {0, 0, 0xe0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0xdd, 7, 0, 0},
	"a refusal of 64 KiB in SQL Server's": {4, 1, 0xff, 0xff, 0, 0, 1, 0, 0xaa, 0xff, 0xff},
}

// Limits of an invocation that meets a hostile host.
const (
	hostileTime   = 3 * time.Second
	hostileMemory = 128 << 20
	hostileText   = 8 << 10
)

// hostileHost lets a host send arbitrary answers. createSecret must end in time, with a cause and a text of bounded
// length, and use little memory.
func hostileHost(t testing.TB, h Harness) {
	if h.Target() == "" {
		return
	}
	w := newWorld(t, h)
	if w.first.IsObject() {
		w.store(w.first.WithJSON("ssl", []byte("false")))
	}
	token := w.begin()
	answers := map[string]func(net.Conn){
		"nothing": func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<20)); time.Sleep(hostileTime) },
		"a byte now and then": func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("1")); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		},
	}
	for name, lie := range lies {
		answers[name] = func(c net.Conn) {
			filler := bytes.Repeat([]byte{'a'}, 1<<16)
			if lie == nil {
				clear(filler)
			}
			_, err := c.Write(lie)
			for err == nil {
				_, err = c.Write(filler)
			}
		}
	}
	for name, answer := range answers {
		w.proxy.Answer(answer)
		if err := w.meets(token); err != nil {
			t.Errorf("a host that answers %s (%x): %v", name, lies[name][:min(len(lies[name]), 8)], err)
		}
	}
}

// live returns the memory in use at the last garbage collection, which leaves out what concurrent tests have released.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// meets runs createSecret and measures its time and memory.
func (w *world) meets(token string) error {
	runtime.GC()
	base, peak := live(), uint64(0)
	ctx, cancel := context.WithTimeout(context.Background(), hostileTime)
	defer cancel()
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- w.step(ctx, rotation.CreateSecret, token) }()
	var err error
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-time.After(20 * time.Millisecond):
			peak = max(peak, live())
		}
	}
	switch took := time.Since(begin); {
	case err == nil:
		return errors.New("createSecret succeeds")
	case engine.CauseOf(err) == engine.InternalError:
		return err
	case took > hostileTime+time.Second:
		return fmt.Errorf("createSecret took %s, but has %s", took, hostileTime)
	case len(err.Error()) > hostileText:
		return fmt.Errorf("the error has %d bytes", len(err.Error()))
	case peak > base+hostileMemory:
		return fmt.Errorf("createSecret uses %d MiB", (peak-base)>>20)
	}
	return nil
}
