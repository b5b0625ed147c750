package oracle

import (
	"context"
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// harness creates a user for each rotation of the suite: in the recorder, which has no connection to break, or on a
// real server.
type harness struct {
	engine   *Engine
	target   string // "" for the recorder
	fields   string // more fields of the secret
	database string
	admin    engine.Value
	make     func(user, password string) error
	restore  func(user, password string) error
	open     func(ctx context.Context, user, password string) error
	env      map[string]string
}

func TestEngineSingleUser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return recorded(newRecorder(), false) })
}

// TestEngineSingleUserWithRollover rotates without a pause, so all but the first rotation fall into the previous
// rollover period. The server then drops the intermediate password: there is no overlap, but nobody may be locked out.
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

// TestEngineSingleUserBySuperuser: the superuser changes a user, with a rollover.
func TestEngineSingleUserBySuperuser(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		o := newRecorder()
		o.rollover = true
		h := recorded(o, true)
		h.env = map[string]string{"STRATEGY": "single"}
		return h
	})
}

// modeled is a harness whose recorder has rights.
type modeled struct {
	*harness
	recorder *recorder
}

func recorded(o *recorder, superuser bool) modeled {
	h := &harness{engine: o.engine(), database: "ORCL"}
	if superuser {
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
		u.password, u.old, u.status, u.passwordless = password, "", "OPEN", false
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
	return modeled{h, o}
}

// Administrators are users that Oracle maintains, holders of the role DBA, such as RDS's master user, and holders of
// privileges with which a user can become any other, even through nested roles.
func (h modeled) Administrators(_ context.Context, v engine.Value) (ways []enginetest.Act, err error) {
	user, _ := v.Text("username")
	o := h.recorder
	add := func(name string, do func(u *oracleUser)) {
		ways = append(ways, enginetest.Act{Name: name, Do: func(context.Context) (func(), error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			do(o.users[canonical(user)])
			return nil, nil
		}})
	}
	add("being Oracle's", func(u *oracleUser) { u.maintained = true })
	add("the role DBA", func(u *oracleUser) { u.roles = append(u.roles, []string{"DBA", "NO", "NO", "YES"}) })
	add("a role with DBA", func(u *oracleUser) {
		o.user("KEEPERS", "").roles = [][]string{{"DBA", "NO", "NO", "YES"}}
		u.roles = append(u.roles, []string{"KEEPERS", "NO", "NO", "YES"})
	})
	for _, privilege := range []string{"ALTER USER", "BECOME USER", "GRANT ANY ROLE", "GRANT ANY PRIVILEGE",
		"GRANT ANY OBJECT PRIVILEGE"} {
		add(privilege, func(u *oracleUser) { u.system = append(u.system, []string{privilege, "NO"}) })
	}
	return ways, nil
}

func (h *harness) Engine() engine.Engine { return h.engine }

func (h *harness) Target() string { return h.target }

func (h *harness) Traits() enginetest.Traits { return enginetest.Traits{Env: h.env} }

func (h *harness) New(_ context.Context, host string, port int) (value, superuser engine.Value, err error) {
	user, password := canonical(testserver.Unique("suite_")), "First-Passw0rd-"+testserver.Unique("")
	value = engine.StringValue(fmt.Sprintf(`{"engine":"oracle","host":%q,"dbname":%q,"username":%q,"password":%q%s}`,
		host, h.database, user, password, h.fields))
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
