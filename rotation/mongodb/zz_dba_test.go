//go:build repro

package mongodb

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/rotation/engine"
)

// a member of a replica set that knows its members by names of its own, as behind
// an NLB, a PrivateLink endpoint, a tunnel or an alias.
func fakeMember(t *testing.T) (int, func() []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var got []string
	hello := bson.D{{Key: "ismaster", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "setName", Value: "rs0"}, {Key: "hosts", Value: bson.A{"mongo-0.internal.invalid:27017"}},
		{Key: "primary", Value: "mongo-0.internal.invalid:27017"}, {Key: "me", Value: "mongo-0.internal.invalid:27017"}, {Key: "setVersion", Value: 1}, {Key: "electionId", Value: bson.NewObjectID()},
		{Key: "maxBsonObjectSize", Value: 16777216}, {Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000}, {Key: "localTime", Value: time.Now()},
		{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21}, {Key: "readOnly", Value: false}, {Key: "ok", Value: 1.0}}
	serve := func(c net.Conn) {
		defer c.Close()
		for {
			var h [16]byte
			if _, err := io.ReadFull(c, h[:]); err != nil {
				return
			}
			n, id, op := binary.LittleEndian.Uint32(h[0:]), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[12:])
			body := make([]byte, n-16)
			if _, err := io.ReadFull(c, body); err != nil {
				return
			}
			var doc []byte
			if op == 2013 {
				doc = body[5:]
			} else {
				i := 4
				for body[i] != 0 {
					i++
				}
				doc = body[i+1+8:]
			}
			var cmd bson.D
			_ = bson.Unmarshal(doc, &cmd)
			name := cmd[0].Key
			mu.Lock()
			got = append(got, name)
			mu.Unlock()
			answer := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "Authentication failed."}, {Key: "code", Value: 18}}
			if strings.EqualFold(name, "ismaster") || name == "hello" {
				answer = hello
			}
			out, _ := bson.Marshal(answer)
			var m []byte
			if op == 2013 {
				m = append(make([]byte, 21), out...)
				binary.LittleEndian.PutUint32(m[12:], 2013)
			} else {
				m = append(make([]byte, 36), out...)
				binary.LittleEndian.PutUint32(m[12:], 1)
				binary.LittleEndian.PutUint32(m[32:], 1)
			}
			binary.LittleEndian.PutUint32(m[0:], uint32(len(m)))
			binary.LittleEndian.PutUint32(m[8:], id)
			if _, err := c.Write(m); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), got...) }
}

func TestZReplicaSetByOtherNames(t *testing.T) {
	port, got := fakeMember(t)
	v := engine.StringValue(fmt.Sprintf(`{"engine":"mongo","host":"127.0.0.1","port":%d,"username":"app","password":"pw","ssl":false}`, port))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := New(engine.TLSPolicy{}).Verify(ctx, &engine.Request{Current: v, Login: v}, v)
	t.Log("engine:", err)
	t.Log("commands:", got())
	port, got = fakeMember(t)
	out, err := exec.Command(os.Getenv("PYMONGO_PYTHON"), "-c", fmt.Sprintf(`
from pymongo import MongoClient
c = MongoClient(host='127.0.0.1', port=%d, connectTimeoutMS=5000, serverSelectionTimeoutMS=5000, ssl=False)
db = c['admin']
try:
    db.authenticate('app', 'pw')
except Exception as e:
    print(type(e).__name__, e)
`, port)).CombinedOutput()
	t.Log("AWS's template's calls (PyMongo 3.13):", strings.TrimSpace(string(out)), err)
	t.Log("commands:", got())
}
