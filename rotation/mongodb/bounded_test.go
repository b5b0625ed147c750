package mongodb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// hostile returns the value of a secret that names a hostile server. The server answers each command with what answer
// returns, in messages of the given kind.
func hostile(t *testing.T, kind func(command uint32) uint32, answer func(command bson.Raw) bson.D) engine.Value {
	port := testserver.Hostile(t, nil, func(c net.Conn) {
		for {
			var h [16]byte
			if _, err := io.ReadFull(c, h[:]); err != nil {
				return
			}
			body := make([]byte, binary.LittleEndian.Uint32(h[:])-16)
			if _, err := io.ReadFull(c, body); err != nil {
				return
			}
			document := body[5:] // OP_MSG
			op := binary.LittleEndian.Uint32(h[12:])
			if op == 2004 { // OP_QUERY: flags, name, two numbers
				document = body[4+strings.IndexByte(string(body[4:]), 0)+1+8:]
			}
			out, err := bson.Marshal(answer(document))
			if err != nil {
				return
			}
			head := map[uint32]int{1: 36, 2012: 25, 2013: 21}
			message := make([]byte, head[kind(op)], len(out)+36)
			if kind(op) == 1 {
				binary.LittleEndian.PutUint32(message[32:], 1)
			}
			message = append(message, out...)
			binary.LittleEndian.PutUint32(message, uint32(len(message)))
			copy(message[8:], h[4:8])
			binary.LittleEndian.PutUint32(message[12:], kind(op))
			if _, err := c.Write(message); err != nil {
				return
			}
		}
	})
	return engine.StringValue(fmt.Sprintf(
		`{"engine":"mongo","host":"127.0.0.1","port":%d,"ssl":false,"username":"app","password":"first-password"}`,
		port))
}

// asked returns the kind of message that matches the request.
func asked(command uint32) uint32 {
	if command == 2004 {
		return 1
	}
	return 2013
}

// hello is a server's first answer, with more fields.
func hello(more ...bson.E) bson.D {
	return append(bson.D{{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true},
		{Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true}, {Key: "maxWireVersion", Value: 21},
		{Key: "minWireVersion", Value: 0}, {Key: "maxBsonObjectSize", Value: 1 << 30},
		{Key: "maxMessageSizeBytes", Value: 1 << 30}, {Key: "maxWriteBatchSize", Value: 100000}}, more...)
}

// scram answers a login with the mechanism's first message, with a count of rounds; payload receives what the client
// sends.
func scram(mechanism, rounds string, payload *[]string) func(bson.Raw) bson.D {
	first := func(d bson.Raw) bson.D {
		_, p, _ := d.Lookup("payload").BinaryOK()
		*payload = append(*payload, string(p))
		i := strings.LastIndex(string(p), "r=")
		if i < 0 {
			return bson.D{{Key: "ok", Value: 0.0}}
		}
		return bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: false}, {Key: "ok", Value: 1.0},
			{Key: "payload", Value: []byte("r=" + string(p)[i+2:] + "x,s=QUJDREVGRw==,i=" + rounds)}}
	}
	return func(command bson.Raw) bson.D {
		elements, _ := command.Elements()
		if len(elements) > 0 && elements[0].Key() == "saslStart" {
			return first(command)
		}
		answer := hello(bson.E{Key: "saslSupportedMechs", Value: bson.A{mechanism}})
		if d, ok := command.Lookup("speculativeAuthenticate").DocumentOK(); ok {
			answer = append(answer, bson.E{Key: "speculativeAuthenticate", Value: first(d)})
		}
		return answer
	}
}

func verify(t *testing.T, v engine.Value) error {
	return New(engine.TLSPolicy{}).Verify(enginetest.Within(t),
		&engine.Request{Secret: "arn", Current: v, Pending: v, Login: v, Strategy: engine.SingleUser}, v)
}

// A count of rounds that would outlast any deadline is refused before the computation.
func TestManyRoundsOfSCRAMAreRefused(t *testing.T) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano())
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1"} {
		for _, rounds := range []string{"5000000", "2000000000", "+1000000", "0001000000"} {
			var payload []string
			before := cpu()
			err := verify(t, hostile(t, asked, scram(mechanism, rounds, &payload)))
			if used := cpu() - before; err == nil || !strings.Contains(err.Error(), "rounds of SCRAM") ||
				used > 300*time.Millisecond {
				t.Errorf("%s, %s rounds: %v, %s of processor time", mechanism, rounds, err, used)
			}
		}
	}
}

// A server that offers only PLAIN does not get the password.
func TestPasswordIsNotSentInPlainText(t *testing.T) {
	var payload []string
	err := verify(t, hostile(t, asked, scram("PLAIN", "4096", &payload)))
	if s := strings.Join(payload, " "); err == nil || len(payload) == 0 || strings.Contains(s, "first-password") {
		t.Errorf("%v; the client sends %q", err, s)
	}
}

func TestServerTakesALimitedAmountOfMemory(t *testing.T) {
	var empty bson.A
	for range 100000 {
		empty = append(empty, bson.D{})
	}
	for name, c := range map[string]struct {
		kind   func(uint32) uint32
		answer func(bson.Raw) bson.D
		text   string
	}{
		"a large message": {asked, func(bson.Raw) bson.D {
			return hello(bson.E{Key: "x", Value: strings.Repeat("x", 3<<20)})
		}, "sends a message of more than"},
		"many elements": {asked, func(bson.Raw) bson.D { return hello(bson.E{Key: "x", Value: empty}) },
			"unable to authenticate"},
		"compressed": {func(uint32) uint32 { return 2012 }, func(bson.Raw) bson.D { return hello() },
			"not in MongoDB's protocol"},
	} {
		v := hostile(t, c.kind, c.answer)
		var err error
		used := testserver.PeakMemory(func() { err = verify(t, v) })
		t.Logf("%s: %d MiB, %v", name, used>>20, err)
		if err == nil || errors.Is(err, context.DeadlineExceeded) || used > 64<<20 ||
			!strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, %d MiB", name, err, used>>20)
		}
	}
}
