package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/mysql"
)

func TestCausesOfLoginErrors(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]struct {
			prepare string // %u stands for the account
			change  func(engine.Value) engine.Value
			cause   engine.Cause
			words   string
		}{
			"wrong password": {change: func(v engine.Value) engine.Value { return v.With("password", "wrong") },
				cause: engine.LoginRefused, words: "name and password"},
			"unknown user": {change: func(v engine.Value) engine.Value {
				return v.With("username", testserver.Unique("absent"))
			}, cause: engine.LoginRefused},
			"locked": {prepare: "ALTER USER %u ACCOUNT LOCK", cause: engine.TargetFailed,
				words: "locked"},
			"expired": {prepare: "ALTER USER %u PASSWORD EXPIRE", cause: engine.TargetFailed,
				words: "expired"},
			"certificate": {prepare: "ALTER USER %u REQUIRE X509", cause: engine.LoginRefused, words: "REQUIRE"},
			"TLS required": {prepare: "ALTER USER %u REQUIRE SSL", change: func(v engine.Value) engine.Value {
				return v.With("ssl", "false")
			}, cause: engine.LoginRefused, words: "REQUIRE SSL"},
			"unknown database": {prepare: "GRANT SELECT ON *.* TO %u", change: func(v engine.Value) engine.Value {
				return v.With("dbname", "absent")
			}, cause: engine.InvalidSecret, words: "dbname"},
			"foreign database": {change: func(v engine.Value) engine.Value { return v.With("dbname", "mysql") },
				cause: engine.PrivilegeMissing, words: "database 'mysql'"},
			"own limit": {prepare: "ALTER USER %u WITH MAX_CONNECTIONS_PER_HOUR 1", cause: engine.TargetFailed,
				words: "max_connections_per_hour"},
		} {
			t.Run(name, func(t *testing.T) {
				user, password := f.user()
				if c.prepare != "" {
					f.sql(strings.ReplaceAll(c.prepare, "%u", account(user, "%")))
				}
				if name == "own limit" {
					f.opens(user, true, password)
				}
				v := f.value(user, password)
				if c.change != nil {
					v = c.change(v)
				}
				r := f.single(user, password, "Second-Pw-2")
				r.Current, r.Login, r.Pending = v, v, v.With("password", "Second-Pw-2")
				fails(t, f.engine.Verify(context.Background(), r, v), c.cause, c.words)
				fails(t, f.engine.DryRun(context.Background(), r), c.cause, c.words)
				fails(t, f.engine.Set(context.Background(), r), c.cause, c.words)
			})
		}
	})
}

func TestAnonymousAccountIsNotTheUser(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sql("CREATE USER ''@'localhost' IDENTIFIED BY 'Anon-Pw-1'")
		t.Cleanup(func() { f.sql("DROP USER ''@'localhost'") })
		err := f.engine.Set(context.Background(), f.single("whoever", "Anon-Pw-1", "Second-Pw-2"))
		fails(t, err, engine.InvalidSecret, "create an account of the user")
	})
}

func TestOlderServerIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ real, old string }{
		"mariadb": {"10.11.", "10.3.1"}, // 10.3.11-MariaDB
		"mysql":   {"9.7.", "5.7."},
	} {
		only(t, name, func(t *testing.T, f *fixture) {
			user, old := f.user()
			p := testserver.Proxy(t, f.server.Addr())
			p.Filter(func(chunk testserver.Chunk) bool {
				if chunk.FromServer {
					copy(chunk.Bytes, bytes.ReplaceAll(chunk.Bytes, []byte(c.real), []byte(c.old)))
				}
				return true
			})
			r := f.single(user, old, "Second-Pw-2")
			r.Login = r.Login.WithJSON("port", fmt.Append(nil, p.Port)).WithJSON("ssl", []byte("false"))
			fails(t, f.engine.DryRun(t.Context(), r), engine.TargetFailed, c.old, "upgrade")
		})
	}
}

func TestReadOnlyServer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		f.sql("SET GLOBAL read_only = ON")
		t.Cleanup(func() { f.sql("SET GLOBAL read_only = OFF") })
		r := f.single(user, first, "Second-Pw-2")
		fails(t, f.engine.DryRun(context.Background(), r), engine.TargetFailed, "writer")
		fails(t, f.engine.Set(context.Background(), r), engine.TargetFailed, "writer")
	})
}

func TestTooManyConnections(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		var limit int
		if err := f.db.QueryRow("SELECT @@max_connections").Scan(&limit); err != nil {
			t.Fatal(err)
		}
		var hold []*sql.Conn
		f.sql("SET GLOBAL max_connections = 10")
		t.Cleanup(func() {
			for _, c := range hold {
				c.Close()
			}
			if _, err := f.db.Exec("SET GLOBAL max_connections = ?", limit); err != nil {
				t.Error(err)
			}
		})
		db := f.server.Connect(t, "")
		for range 20 {
			c, err := db.Conn(context.Background())
			if err != nil {
				break
			}
			hold = append(hold, c)
		}
		r := f.single(user, first, "Second-Pw-2")
		fails(t, f.engine.Set(context.Background(), r), engine.TargetFailed, "onnections")
	})
}

func TestTLSIsVerifiedAndDemanded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		r := f.single(user, first, "Second-Pw-2")
		fails(t, mysql.New(engine.TLSPolicy{}).Set(context.Background(), r), engine.TLSFailed, "CA")
		// This fails even if plain text is allowed, because the server does offer TLS.
		fails(t, mysql.New(engine.TLSPolicy{AllowPlaintext: true}).Set(context.Background(), r), engine.TLSFailed, "CA")

		f.sql("SET GLOBAL require_secure_transport = ON")
		t.Cleanup(func() { f.sql("SET GLOBAL require_secure_transport = OFF") })
		r.Login = r.Login.With("ssl", "false")
		if f.name == "mariadb" {
			// The answer is the same as for a wrong password.
			fails(t, f.engine.Set(context.Background(), r), engine.LoginRefused, `"ssl": false`)
			return
		}
		fails(t, f.engine.Set(context.Background(), r), engine.TLSFailed, `remove "ssl": false`)
	})
}

func TestServerWithoutTLS(t *testing.T) {
	for name, start := range systems {
		t.Run(name, func(t *testing.T) {
			server := start(t, serverOptions{NoTLS: true})
			f := &fixture{t: t, name: name, server: server, db: server.Connect(t, ""),
				engine: mysql.New(engine.TLSPolicy{})}
			user, first := f.user()
			r := f.single(user, first, "Second-Pw-2")
			fails(t, f.engine.Set(context.Background(), r), engine.TLSFailed, "does not offer TLS")
			f.engine = mysql.New(engine.TLSPolicy{AllowPlaintext: true})
			f.set(r)
			r.Login = r.Login.With("ssl", "true").With("password", "Second-Pw-2")
			fails(t, f.engine.Set(context.Background(), r), engine.TLSFailed, "does not offer TLS")
			r = f.single(user, "Second-Pw-2", "Third-Pw-3")
			r.Login, r.Pending = r.Login.With("ssl", "false"), r.Pending.With("ssl", "false")
			f.engine = mysql.New(engine.TLSPolicy{})
			f.set(r)
		})
	}
}

func TestSilentHostEndsWithTheContext(t *testing.T) {
	value, err := json.Marshal(map[string]any{"engine": "mysql", "host": "127.0.0.1", "port": testserver.Blackhole(t),
		"username": "u", "password": "p"})
	if err != nil {
		t.Fatal(err)
	}
	v := engine.StringValue(string(value))
	r := &engine.Request{Strategy: engine.SingleUser, Current: v, Pending: v.With("password", "q"), Login: v}
	subject := mysql.New(engine.TLSPolicy{})
	for name, call := range map[string]func(context.Context) error{
		"Set":    func(ctx context.Context) error { return subject.Set(ctx, r) },
		"DryRun": func(ctx context.Context) error { return subject.DryRun(ctx, r) },
		"Verify": func(ctx context.Context) error { return subject.Verify(ctx, r, v) },
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		begin := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		fails(t, err, engine.Unreachable, "in time")
	}
}

func TestServerThatStopsAnsweringAtAnyPoint(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, first := f.user()
		proxy := testserver.Proxy(t, f.server.Addr())
		over := make(chan bool)
		t.Cleanup(func() { close(over) })
		r := f.single(user, first, "Second-Pw-2")
		r.Login = r.Login.WithJSON("port", fmt.Append(nil, proxy.Port))
		for silent := int64(1); ; silent++ {
			var answers atomic.Int64
			proxy.Filter(func(c testserver.Chunk) bool {
				if c.FromServer && answers.Add(1) >= silent {
					<-over
				}
				return true
			})
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			begin := time.Now()
			err := f.engine.DryRun(ctx, r)
			took := time.Since(begin)
			cancel()
			if err == nil {
				if silent < 5 {
					t.Errorf("done after %d answers", silent)
				}
				break
			}
			fails(t, err, engine.Unreachable, "in time")
			if took > 3*time.Second {
				t.Errorf("silent from answer %d on: took %v", silent, took)
			}
		}
	})
}

func TestClosedPortAndUnknownName(t *testing.T) {
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	number, _ := json.Marshal(port)
	v := engine.StringValue(`{"engine":"mysql","host":"127.0.0.1","username":"u","password":"p"}`).
		WithJSON("port", number)
	r := &engine.Request{Strategy: engine.SingleUser, Current: v, Pending: v, Login: v}
	subject := mysql.New(engine.TLSPolicy{})
	fails(t, subject.Set(context.Background(), r), engine.Unreachable, "security groups")
	r.Login = v.With("host", "absent.invalid")
	fails(t, subject.Set(context.Background(), r), engine.NameNotResolved)
}

func TestFormatIsCheckedFirst(t *testing.T) {
	subject := mysql.New(engine.TLSPolicy{})
	long := strings.Repeat("u", 27)
	for name, c := range map[string]struct{ value, words string }{
		"nothing":         {`{}`, "host is missing, password is missing, username is missing"},
		"a list of hosts": {`{"engine":"mysql","host":"a,b","username":"u","password":"p"}`, "one host name"},
		"four-byte name":  {`{"engine":"mysql","host":"h","username":"u😀","password":"p"}`, "U+FFFF"},
		"white space":     {`{"engine":"mysql","host":"h","username":" u","password":"p"}`, "white space"},
		"MySQL's limit": {`{"engine":"mysql","host":"h","username":"` + long + `","password":"p"}`,
			"32 characters"},
		"suffix and no user": {`{"engine":"mysql","host":"h","username":"_clone","password":"p"}`,
			"consists only of the suffix"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := subject.Next(context.Background(),
				&engine.Request{Strategy: engine.AlternatingUsers, Current: engine.StringValue(c.value)})
			fails(t, err, engine.InvalidSecret, c.words)
		})
	}
	next, err := subject.Next(context.Background(),
		&engine.Request{Strategy: engine.AlternatingUsers, Passwords: subject.Kind().Passwords, UserLimit: 80,
			Current: engine.StringValue(`{"engine":"mariadb","host":"h","username":"` + long + `","password":"p"}`)})
	if user, _ := next.Text("username"); err != nil || user != long+"_clone" {
		t.Errorf("MariaDB's longer names: %q, %v", user, err)
	}
}
