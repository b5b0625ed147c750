package influxdb

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
	"example.com/rotator/rotation/pair"
)

// front forwards statements to the server over plain HTTP. If grant is set, it answers GRANT.
func (f *fixture) front(grant *atomic.Pointer[http.HandlerFunc]) (port int) {
	f.t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		statement := r.FormValue("q")
		if answer := grant.Load(); strings.HasPrefix(statement, "GRANT ") && answer != nil {
			(*answer)(w, r)
			return
		}
		user, password, _ := r.BasicAuth()
		status, body := f.Query(f.t, user, password, statement)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	f.t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// The pending password opens the second user only after the user has its grants: setSecret treats an accepted login as
// success. A repeated step recognizes the user that it created.
func TestSecondUserWithoutItsGrantsRefusesThePendingPassword(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"refused grant": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"results":[{"statement_id":0,"error":"database not found"}]}`)
		},
		"cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			app, database := f.user(), f.database()
			other := app + "_clone"
			f.must("GRANT READ ON " + identifier(database) + " TO " + identifier(app))
			var grant atomic.Pointer[http.HandlerFunc]
			grant.Store(&fault)
			r := f.toOther(app, other)
			r.Proofs = []engine.Value{r.Current}
			r.Login = value("127.0.0.1", f.front(&grant), f.User, f.Password).WithJSON("ssl", []byte("false"))
			for range 2 {
				if err := f.engine.Set(enginetest.Within(t), r); engine.CauseOf(err) == engine.TakeoverRefused ||
					err == nil {
					t.Errorf("the change with a fault: %v", err)
				}
				if f.opens(other, "next-"+other) {
					t.Fatal("the pending password opens a user without grants")
				}
			}
			grant.Store(nil)
			if err := f.engine.Set(enginetest.Within(t), r); err != nil {
				t.Fatal(err)
			}
			rows := f.must("SHOW GRANTS FOR " + identifier(other))
			if !f.opens(other, "next-"+other) || len(rows) != 1 || rows[0][0] != database || rows[0][1] != "READ" {
				t.Errorf("after the retry the grants are %v", rows)
			}
		})
	}
}

// A writer of the secret who knows the second user's password cannot pass it off as a birth password: that requires
// the current user's password.
func TestBirthPasswordOfAnUnprovedUserIsNotAMark(t *testing.T) {
	f := newFixture(t)
	app := f.user()
	other := app + "_clone"
	r := f.toOther(app, other)
	r.Current = r.Current.With("password", "a guess")
	f.must("CREATE USER " + identifier(other) + " WITH PASSWORD " + literal(pair.BirthPassword(r, other)))
	r.Proofs = []engine.Value{r.Pending.With("password", pair.BirthPassword(r, other))}
	enginetest.WantCause(t, f.engine.Set(enginetest.Within(t), r), engine.TakeoverRefused, other)
}

// TestAnswerOfManyValuesIsNotRead: a few bytes of JSON can take a hundred in memory.
func TestAnswerOfManyValuesIsNotRead(t *testing.T) {
	body := `{"results":[{"series":[{"values":[` + strings.TrimSuffix(strings.Repeat(`[0],`, 1<<20), ",") + `]}]}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	v := value("127.0.0.1", s.Listener.Addr().(*net.TCPAddr).Port, "app", "password").WithJSON("ssl", []byte("false"))
	enginetest.WantCause(t, New(engine.TLSPolicy{}).Verify(enginetest.Within(t), &engine.Request{Current: v, Login: v},
		v), engine.TargetFailed, "unexpected format")
}
