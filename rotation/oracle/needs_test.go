package oracle

import (
	"errors"
	"slices"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestNeedsAreEnoughAndNothingInThemTooMuch: a rotation passes with the printed grants and fails without any one of
// them, according to the privileges that Oracle's manual lists for each statement.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		strategy engine.Strategy
		rights   func(*oracleUser)
		want     int
	}{
		"single": {engine.SingleUser, func(*oracleUser) {}, 2},
		"alternating": {engine.AlternatingUsers, func(u *oracleUser) {
			u.roles = [][]string{{"REPORTS", "NO", "NO", "YES"}}
			u.system = [][]string{{"CREATE SESSION", "NO"}}
			u.columns = [][]string{{"UPDATE", "SHOP", "T", "C", "NO"}}
		}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			begin := func() (*recorder, *engine.Request, []string) {
				o := newRecorder()
				o.strict = true
				c.rights(o.user("APP", old))
				o.user("LOGIN", "Admin-password1")
				r := &engine.Request{Strategy: c.strategy, Current: value("app", old), Pending: value("app", new1),
					Login: value("login", "Admin-password1"), Superuser: true}
				if c.strategy == engine.AlternatingUsers {
					r.Pending = value("app_CLONE", new1)
				}
				n := engine.Needs{Login: "login"}
				want(t, "", o.engine().Needs(enginetest.Within(t), r, &n))
				return o, r, n.Grants
			}
			_, _, all := begin()
			if len(all) != c.want {
				t.Fatalf("%q", all)
			}
			for missing := -1; missing < len(all); missing++ {
				o, r, grants := begin()
				for i, g := range grants {
					m := granted.FindStringSubmatch(g)
					if m == nil || m[3] != "LOGIN" {
						t.Fatalf("%q cannot be parsed", g)
					}
					if i != missing {
						(&recordedConn{o, "SYS"}).grant(true, m[2], o.users["LOGIN"], "")
					}
				}
				err := errors.Join(o.engine().DryRun(enginetest.Within(t), r), o.engine().Set(enginetest.Within(t), r))
				if missing < 0 {
					want(t, "", err)
				} else if !errors.Is(err, engine.PrivilegeMissing) {
					t.Errorf("without %s: %v, want PrivilegeMissing", grants[missing], err)
				}
			}
		})
	}
	n := engine.Needs{Login: "app"}
	if err := newRecorder().engine().Needs(t.Context(), &engine.Request{}, &n); err != nil || n.Grants != nil ||
		slices.Contains(n.Grants, "") || n.Note == "" {
		t.Errorf("by the user itself: %v, %+v", err, n)
	}
}
