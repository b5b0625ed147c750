//go:build repro

package mongodb

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
)

// fakeMongo speaks as much as a login takes, and asks for many rounds of SCRAM.
func fakeMongo(t *testing.T, rounds string, mechanisms bson.A, seen *[]string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	address := l.Addr().String()
	hello := bson.D{{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true}, {Key: "maxWireVersion", Value: 21}, {Key: "minWireVersion", Value: 0},
		{Key: "maxBsonObjectSize", Value: 16777216}, {Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000}, {Key: "saslSupportedMechs", Value: mechanisms}, {Key: "me", Value: address}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					h := make([]byte, 16)
					if _, err := io.ReadFull(c, h); err != nil {
						return
					}
					body := make([]byte, binary.LittleEndian.Uint32(h)-16)
					if _, err := io.ReadFull(c, body); err != nil {
						return
					}
					id, op := binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[12:])
					var doc bson.Raw
					if op == 2004 {
						end := strings.IndexByte(string(body[4:]), 0) + 5 + 8
						doc = bson.Raw(body[end:])
					} else {
						doc = bson.Raw(body[5:])
					}
					first := ""
					if es, err := doc.Elements(); err == nil && len(es) > 0 {
						first = es[0].Key()
					}
					answer := hello
					sasl := func(d bson.Raw) bson.D {
						mech, _ := d.Lookup("mechanism").StringValueOK()
						_, payload, _ := d.Lookup("payload").BinaryOK()
						*seen = append(*seen, mech+" "+string(payload))
						i := strings.LastIndex(string(payload), "r=")
						if i < 0 {
							return bson.D{{Key: "ok", Value: 0.0}}
						}
						return bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: false}, {Key: "ok", Value: 1.0},
							{Key: "payload", Value: []byte("r=" + string(payload)[i+2:] + "x,s=QUJDREVGRw==,i=" + rounds)}}
					}
					switch first {
					case "saslStart":
						answer = sasl(doc)
					default:
						if s, err := doc.LookupErr("speculativeAuthenticate"); err == nil {
							if d, ok := s.DocumentOK(); ok {
								answer = append(append(bson.D{}, hello...), bson.E{Key: "speculativeAuthenticate", Value: sasl(d)})
							}
						}
					}
					out, _ := bson.Marshal(answer)
					var msg []byte
					if op == 2004 {
						msg = make([]byte, 36)
						binary.LittleEndian.PutUint32(msg[12:], 1)
						binary.LittleEndian.PutUint32(msg[32:], 1)
					} else {
						msg = make([]byte, 21)
						binary.LittleEndian.PutUint32(msg[12:], 2013)
					}
					msg = append(msg, out...)
					binary.LittleEndian.PutUint32(msg, uint32(len(msg)))
					binary.LittleEndian.PutUint32(msg[8:], id)
					_, _ = c.Write(msg)
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano())
}

func TestZZScramOfManyRounds(t *testing.T) {
	var seen []string
	port := fakeMongo(t, "30000000", bson.A{"SCRAM-SHA-256"}, &seen)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	v := engine.StringValue(fmt.Sprintf(`{"engine":"mongo","host":"127.0.0.1","port":%d,"ssl":false,"username":"u","password":"p-secret-password"}`, port))
	begin := time.Now()
	err := New(engine.TLSPolicy{}).Verify(ctx, &engine.Request{Secret: "arn", Current: v, Pending: v, Login: v, Strategy: engine.SingleUser}, v)
	t.Logf("%v after %s with a deadline of 2 s", err, time.Since(begin))
	before := cpu()
	time.Sleep(3 * time.Second)
	t.Logf("processor used in the 3 s after it has returned: %s; seen %q", cpu()-before, seen)
	if time.Since(begin) > 3*time.Second+3*time.Second {
		t.Error("PROVED: the rounds go on after the call has ended (2,147,483,647 are allowed)")
	}
}

// A server that offers PLAIN alone is not given the password.
func TestZZPlainIsNotChosen(t *testing.T) {
	var seen []string
	port := fakeMongo(t, "4096", bson.A{"PLAIN"}, &seen)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	v := engine.StringValue(fmt.Sprintf(`{"engine":"mongo","host":"127.0.0.1","port":%d,"ssl":false,"username":"u","password":"p-secret-password"}`, port))
	err := New(engine.TLSPolicy{}).Verify(ctx, &engine.Request{Secret: "arn", Current: v, Pending: v, Login: v, Strategy: engine.SingleUser}, v)
	t.Logf("%v; %q", err, seen)
	for _, s := range seen {
		if strings.Contains(s, "p-secret-password") {
			t.Error("PROVED")
		}
	}
}
