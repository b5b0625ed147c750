package sqlserver

import (
	"slices"
	"strings"
	"testing"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestNeedsFollowFromTheLogin: the statements for the superuser follow from the login's rights on the simulated server.
// The server checks only the right that the engine itself checks; the others are not checked here.
func TestNeedsFollowFromTheLogin(t *testing.T) {
	s := newTDS(t, true)
	m := newModel()
	s.logins["app"], s.logins["admin"] = old, "Admin-password1"
	m.server["app"] = append(m.server["app"], []string{"dbcreator", "F", ""}, []string{"", "D", "ALTER TRACE"})
	m.server["app"] = append(m.server["app"], []string{"", "G", "EXECUTE?NEW_CLASS 7"})
	may := "0"
	s.answer = func(sql string) ([][]string, error) {
		if strings.Contains(sql, "HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')") {
			return [][]string{{may}}, nil
		}
		return m.answer(sql)
	}
	r := &engine.Request{Strategy: engine.AlternatingUsers, Current: s.value("app", old, ""),
		Pending: s.value("app_clone", new1, ""), Login: s.value("admin", "Admin-password1", ""), Superuser: true}
	n := engine.Needs{Login: "admin"}
	e := newEngine(t)
	want(t, "", e.Needs(enginetest.Within(t), r, &n))
	wanted := []string{
		"USE [master]; GRANT ALTER ANY LOGIN TO [admin];",
		"USE [master]; GRANT VIEW ANY DEFINITION TO [admin];",
		"USE [master]; GRANT VIEW SERVER STATE TO [admin] WITH GRANT OPTION;",
		"USE [master]; GRANT ALTER ON SERVER ROLE::[reports] TO [admin];",
		"USE [master]; ALTER SERVER ROLE [dbcreator] ADD MEMBER [admin];",
		"USE [shop]; CREATE USER [admin] FOR LOGIN [admin];",
		"USE [shop]; ALTER ROLE [db_owner] ADD MEMBER [admin];",
	}
	if !slices.Equal(n.Grants, wanted) || !strings.Contains(n.Note, "with CONTROL SERVER: ALTER TRACE; ") ||
		!strings.Contains(n.Note, "EXECUTE on NEW_CLASS 7") {
		t.Errorf("%s\n%s", strings.Join(n.Grants, "\n"), n.Note)
	}
	want(t, engine.PrivilegeMissing, e.DryRun(enginetest.Within(t), r))
	may = "1"
	want(t, "", e.DryRun(enginetest.Within(t), r))

	r.Strategy, r.Pending, n = engine.SingleUser, s.value("app", new1, ""), engine.Needs{Login: "admin"}
	want(t, "", e.Needs(enginetest.Within(t), r, &n))
	if !slices.Equal(n.Grants, wanted[:2]) {
		t.Errorf("single: %q", n.Grants)
	}
	r.Superuser, n = false, engine.Needs{Login: "app"}
	want(t, "", e.Needs(enginetest.Within(t), r, &n))
	if n.Grants != nil || n.Note == "" {
		t.Errorf("by the login itself: %+v", n)
	}
}
