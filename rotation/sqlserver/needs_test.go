package sqlserver

import (
	"slices"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// The server checks only the right that the engine itself checks; the others are not checked here.
func TestNeedsOfTheSuperuser(t *testing.T) {
	s, m := administered(t)
	may := "0"
	s.answer = func(sql string) ([][]string, error) {
		if strings.Contains(sql, "HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')") {
			return [][]string{{may}}, nil
		}
		return m.answer(sql)
	}
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	e := newEngine(t)
	for _, alternating := range []bool{true, false} {
		n := engine.Needs{Login: "admin"}
		if !alternating {
			r.Strategy, r.Pending = engine.SingleUser, s.value("app", new1, "")
		}
		want(t, "", e.Needs(enginetest.Within(t), r, &n))
		if !slices.Equal(n.Grants, []string{"USE [master]; GRANT ALTER ANY LOGIN TO [admin];",
			"USE [master]; GRANT VIEW ANY DEFINITION TO [admin];"}) || strings.Contains(n.Note, "db_owner") != alternating {
			t.Errorf("alternating %t: %q, %s", alternating, n.Grants, n.Note)
		}
		may = "0"
		want(t, engine.PrivilegeMissing, e.DryRun(enginetest.Within(t), r))
		may = "1"
		want(t, "", e.DryRun(enginetest.Within(t), r))
	}
	n := engine.Needs{Login: "app"}
	r.Superuser = false
	want(t, "", e.Needs(enginetest.Within(t), r, &n))
	if n.Grants != nil || n.Note == "" {
		t.Errorf("by the login itself: %+v", n)
	}
}
