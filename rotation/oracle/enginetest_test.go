package oracle

import (
	"context"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness makes a user for each rotation of the suite: at the recorder, which
// has no wire to break, or at a real server.
type harness struct {
	engine   *Engine
	target   string // "" for the recorder
	fields   string // more fields of the secret
	database string
	admin    engine.Value
	make     func(user, password string) error
	restore  func(user, password string) error
	open     func(ctx context.Context, user, password string) error
}

func TestEngineSingleUser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return recorded(newRecorder(), false) })
}

// TestEngineSingleUserWithRollover rotates without a pause, so that every rotation
// but the first falls into the rollover period of the one before: then the server
// drops the password between, and there is no overlap to be had, but nobody may be
// locked out for it either.
func TestEngineSingleUserWithRollover(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		o := newRecorder()
		o.rollover = true
		return recorded(o, false)
	})
}

func TestEngineAlternatingUsers(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return recorded(newRecorder(), true) })
}

func recorded(o *recorder, alternating bool) *harness {
	h := &harness{engine: o.engine(), database: "ORCL"}
	if alternating {
		h.admin = o.admin()
	}
	set := func(user, password string) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		u := o.users[user]
		if u == nil {
			u = &oracleUser{status: "OPEN", tablespace: "USERS", profile: "DEFAULT"}
			furnish(u)
			o.users[user] = u
		}
		u.password, u.old, u.status = password, "", "OPEN"
		return nil
	}
	h.make, h.restore = set, set
	h.open = func(_ context.Context, user, password string) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if u := o.users[user]; u == nil || password != u.password && (u.old == "" || password != u.old) {
			return engine.LoginRefused
		}
		return nil
	}
	return h
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.target }

func (h *harness) Overlap() bool { return false }

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := canonical(testserver.Unique("suite_")), "First-Passw0rd-"+testserver.Unique("")
	value = engine.StringValue(fmt.Sprintf(`{"engine":"oracle","host":%q,"dbname":%q,"username":%q,"password":%q%s}`, host, h.database, user, password, h.fields))
	if !h.admin.IsZero() {
		superuser = h.admin.With("host", host)
	}
	if port != 0 {
		value = value.With("port", fmt.Sprint(port))
		if !superuser.IsZero() {
			superuser = superuser.With("port", fmt.Sprint(port))
		}
	}
	return value, superuser, h.make(user, password)
}

func (h *harness) Open(ctx context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.open(ctx, canonical(user), password)
}

func (h *harness) Restore(_ context.Context, v engine.Value) error {
	user, _ := v.Text("username")
	password, _ := v.Text("password")
	return h.restore(canonical(user), password)
}
