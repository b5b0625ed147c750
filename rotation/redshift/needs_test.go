package redshift

import (
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
)

// TestNeedsAreEnoughAndNothingInThemTooMuch: a rotation passes with the printed statement and fails without it, on
// PostgreSQL, where Redshift's CREATEUSER is SUPERUSER.
func TestNeedsAreEnoughAndNothingInThemTooMuch(t *testing.T) {
	c := newCluster(t)
	for _, strategy := range []engine.Strategy{engine.SingleUser, engine.AlternatingUsers} {
		u, login := c.user(old), c.user(old)
		r := &engine.Request{Version: "v", Strategy: strategy, Current: c.value(u, old), Pending: c.value(u, new1), Login: c.value(login, old), Superuser: true}
		if strategy == engine.AlternatingUsers {
			r.Pending = c.value(u+"_clone", new1)
		}
		n := engine.Needs{Login: login}
		want(t, "", c.engine.Needs(ctx(t), r, &n))
		if len(n.Grants) != 1 || !strings.Contains(n.Grants[0], " CREATEUSER;") {
			t.Fatalf("%q", n.Grants)
		}
		want(t, engine.PrivilegeMissing, c.engine.Set(ctx(t), r))
		c.exec(c.admin, strings.Replace(n.Grants[0], "CREATEUSER", "SUPERUSER", 1))
		want(t, "", c.engine.Set(ctx(t), r))
	}
	var n engine.Needs
	want(t, "", c.engine.Needs(ctx(t), &engine.Request{}, &n))
	if n.Grants != nil || n.Note == "" {
		t.Errorf("a user itself: %+v", n)
	}
}
