package mongodb

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// message is one message of MongoDB's protocol.
type message struct {
	header [16]byte
	body   []byte
}

func readMessage(from io.Reader) (m message, err error) {
	if _, err = io.ReadFull(from, m.header[:]); err == nil {
		m.body = make([]byte, binary.LittleEndian.Uint32(m.header[:])-16)
		_, err = io.ReadFull(from, m.body)
	}
	return m, err
}

func (m message) kind() uint32 { return binary.LittleEndian.Uint32(m.header[12:]) }

func (m message) document() (d bson.D) {
	body := m.body[5:]
	if m.kind() == opReply {
		body = m.body[20:]
	}
	_ = bson.Unmarshal(body, &d)
	return d
}

// with replaces the document of a server's answer.
func (m message) with(d bson.D) []byte {
	out, _ := bson.Marshal(d)
	prefix := m.body[:5]
	if m.kind() == opReply {
		prefix = m.body[:20]
	}
	all := append(append(append([]byte{}, m.header[:]...), prefix...), out...)
	binary.LittleEndian.PutUint32(all, uint32(len(all)))
	return all
}

// front is a proxy in front of FerretDB that changes messages.
type front struct {
	port int

	mu       sync.Mutex
	commands []bson.D
}

// sent returns the names of the commands.
func (p *front) sent() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.commands {
		names = append(names, c[0].Key)
	}
	return names
}

// newFront starts a front that passes each answer to a hello through hello, and answers a command itself if answer
// returns a document.
func newFront(t *testing.T, f *fixture, hello func(bson.D) bson.D, answer func(bson.D) bson.D) *front {
	p := &front{}
	p.port = testserver.Hostile(t, nil, func(client net.Conn) {
		server, err := net.Dial("tcp", f.Addr())
		if err != nil {
			return
		}
		defer server.Close()
		for {
			m, err := readMessage(client)
			if err != nil {
				return
			}
			command := bson.D{}
			if m.kind() == opMsg {
				command = m.document()
				p.mu.Lock()
				p.commands = append(p.commands, command)
				p.mu.Unlock()
			}
			if _, err := server.Write(append(m.header[:], m.body...)); err != nil {
				return
			}
			back, err := readMessage(server)
			if err != nil {
				return
			}
			d := back.document()
			if instead := answer(command); instead != nil {
				d = instead
			} else if field(d, "maxWireVersion") != nil {
				d = hello(d)
			}
			if _, err := client.Write(back.with(d)); err != nil {
				return
			}
		}
	})
	return p
}

func nothing(bson.D) bson.D { return nil }

func field(d bson.D, name string) any {
	for _, e := range d {
		if e.Key == name {
			return e.Value
		}
	}
	return nil
}

func set(d bson.D, more ...bson.E) bson.D {
	for _, m := range more {
		for i := range d {
			if d[i].Key == m.Key {
				d = append(d[:i:i], d[i+1:]...)
				break
			}
		}
		d = append(d, m)
	}
	return d
}

// at returns a request's values with another port.
func at(r *engine.Request, port int) *engine.Request {
	for _, v := range []*engine.Value{&r.Current, &r.Pending, &r.Login} {
		*v = v.WithJSON("port", []byte(strconv.Itoa(port))).WithJSON("ssl", []byte("false"))
	}
	return r
}

// member returns the hello of a replica set whose members have internal names, as behind a load balancer, a
// PrivateLink endpoint or a tunnel. Its other member is at the given address.
func member(primary bool, other string) func(bson.D) bson.D {
	return func(d bson.D) bson.D {
		first := "mongo-0.internal.invalid:27017"
		named := first
		if !primary {
			named = other
		}
		return set(d, bson.E{Key: "ismaster", Value: primary}, bson.E{Key: "isWritablePrimary", Value: primary},
			bson.E{Key: "secondary", Value: !primary},
			bson.E{Key: "setName", Value: "rs0"}, bson.E{Key: "setVersion", Value: 1},
			bson.E{Key: "electionId", Value: bson.NewObjectID()},
			bson.E{Key: "hosts", Value: bson.A{first, other}}, bson.E{Key: "me", Value: first},
			bson.E{Key: "primary", Value: named})
	}
}

// A replica set is used at the host that the secret names, regardless of its members' names, and no credential is sent
// to a member that it names.
func TestReplicaSetByOtherNames(t *testing.T) {
	f := newFixture(t, ferretDBOptions{NoTLS: true})
	var contacted sync.Map
	other := testserver.Hostile(t, nil, func(net.Conn) { contacted.Store("other", true) })
	elsewhere := net.JoinHostPort("127.0.0.1", strconv.Itoa(other))
	within := func(t *testing.T, do func(context.Context) error) error {
		t.Helper()
		begin := time.Now()
		err := do(enginetest.Within(t))
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
		return err
	}
	name := f.user("shop")
	t.Run("primary", func(t *testing.T) {
		p := newFront(t, f, member(true, elsewhere), nothing)
		for _, r := range []*engine.Request{f.bySuperuser("shop", name, "first-"+name, "first-"+name),
			f.toOther("shop", name, name+"_clone")} {
			r = at(r, p.port)
			for _, do := range []func(context.Context) error{
				func(ctx context.Context) error { return f.engine.DryRun(ctx, r) },
				func(ctx context.Context) error { return f.engine.Set(ctx, r) },
				func(ctx context.Context) error { return f.engine.Verify(ctx, r, r.Pending) },
			} {
				if err := within(t, do); err != nil {
					t.Error(err)
				}
			}
		}
		// A command from a frozen function ends on the server in time.
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.commands {
			if c[0].Key == "updateUser" && field(c, "maxTimeMS") == nil {
				t.Errorf("%s has no maxTimeMS", c[0].Key)
			}
		}
	})
	t.Run("secondary", func(t *testing.T) {
		p := newFront(t, f, member(false, elsewhere), nothing)
		r := at(f.bySuperuser("shop", name, "first-"+name, "next-"+name), p.port)
		wrong := r.Current.With("password", "what the secondary does not know yet")
		for _, do := range []func(context.Context) error{
			func(ctx context.Context) error { return f.engine.DryRun(ctx, r) },
			func(ctx context.Context) error { return f.engine.Set(ctx, r) },
			func(ctx context.Context) error { return f.engine.Verify(ctx, r, r.Current) },
			func(ctx context.Context) error { return f.engine.Verify(ctx, r, wrong) },
		} {
			enginetest.WantCause(t, within(t, do), engine.TargetFailed, "not the primary of its replica set")
		}
		f.wantOpen("shop", name, "first-"+name, true)
	})
	if _, ok := contacted.Load("other"); ok {
		t.Error("a member that only the server names was contacted")
	}
}

// Two functions that create the second user concurrently have one outcome: the slower one finds the user, and the
// mark that FerretDB cannot store.
func TestUserThatIsCreatedConcurrently(t *testing.T) {
	f := newFixture(t, ferretDBOptions{NoTLS: true})
	ok := bson.E{Key: "ok", Value: 1.0}
	for name, stranger := range map[string]bool{"by the other call": false, "by a stranger": true} {
		t.Run(name, func(t *testing.T) {
			app := f.user("shop")
			clone := app + "_clone"
			var created atomic.Bool
			p := newFront(t, f, func(d bson.D) bson.D { return d }, func(command bson.D) bson.D {
				info, _ := field(command, "usersInfo").(bson.D)
				switch {
				case field(command, "createUser") != nil:
					created.Store(true)
					return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: userExists},
						{Key: "errmsg", Value: "User already exists"}}
				case field(command, "updateUser") != nil:
					return bson.D{ok}
				case field(info, "user") != clone || !created.Load():
					return nil
				}
				u := bson.D{{Key: "user", Value: clone}, {Key: "db", Value: "shop"}, {Key: "roles", Value: bson.A{}}}
				if !stranger {
					u = append(u, bson.E{Key: "customData", Value: bson.D{{Key: markField, Value: mark(app)}}})
				}
				return bson.D{{Key: "users", Value: bson.A{u}}, ok}
			})
			err := f.engine.Set(enginetest.Within(t), at(f.toOther("shop", app, clone), p.port))
			if stranger {
				enginetest.WantCause(t, err, engine.TakeoverRefused, "cannot be shown to belong")
			} else if err != nil {
				t.Error(err)
			}
			if sent := p.sent(); slices.Contains(sent, "updateUser") == stranger {
				t.Errorf("sent %q", sent)
			}
		})
	}
}

// The second user could log in from everywhere, so a pair with authenticationRestrictions is refused.
func TestUserWithRestrictionsDoesNotAlternate(t *testing.T) {
	f := newFixture(t, ferretDBOptions{NoTLS: true})
	app := f.user("shop")
	p := newFront(t, f, func(d bson.D) bson.D { return d }, func(command bson.D) bson.D {
		if field(command, "usersInfo") == nil {
			return nil
		}
		u := bson.D{{Key: "user", Value: app}, {Key: "db", Value: "shop"}, {Key: "roles", Value: bson.A{}}}
		if field(command, "showAuthenticationRestrictions") != nil {
			u = append(u, bson.E{Key: "authenticationRestrictions",
				Value: bson.A{bson.D{{Key: "clientSource", Value: bson.A{"10.0.0.0/8"}}}}})
		}
		return bson.D{{Key: "users", Value: bson.A{u}}, {Key: "ok", Value: 1.0}}
	})
	r := at(f.toOther("shop", app, app+"_clone"), p.port)
	enginetest.WantCause(t, f.engine.DryRun(enginetest.Within(t), r), engine.TargetFailed, "strategy single")
	if err := f.engine.DryRun(enginetest.Within(t), at(f.bySuperuser("shop", app, "a", "b"), p.port)); err != nil {
		t.Errorf("a single user: %v", err)
	}
}
