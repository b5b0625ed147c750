package enginetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// mayChange rejects users that a superuser must not change.
func (e toyEngine) mayChange(ctx context.Context, s *toySession, r *engine.Request, users ...string) error {
	if !r.Superuser {
		return nil
	}
	begin := time.Now()
	for _, user := range users {
		for ; ; time.Sleep(10 * time.Millisecond) {
			shown, err := s.send("SHOW", user)
			if err != nil {
				return err
			}
			has := func(what string) bool { return strings.Contains(shown, what+"=true") }
			if has("administrator") && e.flaw != "changes administrators" ||
				has("claimed") && e.flaw == "minds what strangers claim" ||
				has("silent") && e.flaw == "minds a second user without a password" {
				return engine.Errorf(engine.TakeoverRefused, "", "the toy says of %q: %s", user, shown)
			}
			if !has("locked") || e.flaw != "waits for strangers" || time.Since(begin) > 10*time.Second ||
				ctx.Err() != nil {
				break
			}
		}
	}
	return nil
}

// share gives the second user what the application created.
func (e toyEngine) share(s *toySession, current, other string) error {
	word := "LEND"
	switch e.flaw {
	case "minds a second user without a password":
		time.Sleep(250 * time.Millisecond) // long enough for a concurrent call to see that the user has no password yet
	case "shares nothing":
		return nil
	case "gives everything away":
		word = "GIVE"
	}
	_, err := s.send(word, current, other)
	return err
}

// Acts returns what the toy allows any login: to claim and lock other users, and to read the log.
func (h *toyHarness) Acts(_ context.Context, v engine.Value) ([]Act, error) {
	user, _ := v.Text("username")
	other, err := pair.Other(h.engine.Kind(), &engine.Request{}, user)
	mark := func(what func(*toyUser) *bool) func(context.Context) (func(), error) {
		set := func(value bool) {
			h.server.mu.Lock()
			defer h.server.mu.Unlock()
			for _, name := range []string{user, other} {
				if u := h.server.users[name]; u != nil {
					*what(u) = value
				}
			}
		}
		return func(context.Context) (func(), error) {
			set(true)
			return func() { set(false) }, nil
		}
	}
	return []Act{
		{Name: "claims both users", Do: mark(func(u *toyUser) *bool { return &u.claimed })},
		{Name: "locks both users", Do: mark(func(u *toyUser) *bool { return &u.locked })},
		{
			Name: "reads the log",
			Do:   func(context.Context) (func(), error) { return nil, nil },
			Observed: func(context.Context) error {
				if text, _ := h.Logs(); text != "" {
					return errors.New("the log has more than the toy's own lines")
				}
				return nil
			},
		},
	}, err
}

func (h *toyHarness) Administrators(_ context.Context, v engine.Value) ([]Act, error) {
	user, _ := v.Text("username")
	return []Act{{Name: "a flag", Do: func(context.Context) (func(), error) {
		h.server.mu.Lock()
		defer h.server.mu.Unlock()
		h.server.users[user].administrator = true
		return nil, nil
	}}}, nil
}

func (h *toyHarness) Work(ctx context.Context, v engine.Value) error {
	if err := h.Open(ctx, v); err != nil {
		return err
	}
	user, _ := v.Text("username")
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	if !h.server.users[user].table {
		return errors.New("the user may not use the table")
	}
	return nil
}

// TestPairsInOthersHandsAreCaught: the named part catches each defect that outsiders, concurrent calls or the
// application would trigger.
func TestPairsInOthersHandsAreCaught(t *testing.T) {
	t.Setenv("ROTATOR_FIGURES", "")
	for _, tc := range []struct {
		flaw, part, want string
		alternating      bool
	}{
		{"minds what strangers claim", "Strangers", "claims both users: the rotation fails", true},
		{"waits for strangers", "Strangers", "locks both users: the rotation took", true},
		{"shows the password", "Strangers", "reads the log: a stranger gained", false},
		{"changes administrators", "Administrators", "a single user with a wrong password and RECOVER_BY_SUPERUSER",
			true},
		{"changes administrators", "Administrators", "the current one of two users: the rotation returned <nil>", true},
		{"changes administrators", "Administrators", "the second one of two users: the rotation returned <nil>", true},
		{"shares nothing", "Rights", "AWSCURRENT after 1 rotations: the user may not use", true},
		{"gives everything away", "Rights", "AWSPREVIOUS after 1 rotations: the user may not use", true},
		{"sets something else each time", "Birth", "testSecret finishSecret finishSecret]]: testSecret: LoginRefused",
			true},
		{"reads without a bound", "HostileHost", "createSecret uses", false},
		{"minds a second user without a password", "Birth", ": setSecret: TakeoverRefused", true},
	} {
		t.Run(tc.flaw+": "+tc.part, func(t *testing.T) {
			t.Parallel()
			h := &toyHarness{server: newToyServer(t), engine: toyEngine{flaw: tc.flaw}, alternating: tc.alternating}
			if got := failures(t, part(t, tc.part), h); !strings.Contains(got, tc.want) {
				t.Errorf("%s returned %q, want %q", tc.part, got, tc.want)
			}
		})
	}
}
