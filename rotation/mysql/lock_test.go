package mysql_test

import (
	"regexp"
	"testing"
	"time"

	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/enginetest"
)

// While a call waits for the lock, its statement is in the process list, which a user with PROCESS reads.
func TestTheProcessListShowsNoNameOfTheLock(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		user, r, _ := f.pair(f.admin())
		owner, _, _ := f.owner()
		owner.must(t, "CREATE TABLE t (a int)", "GRANT SELECT (a) ON t TO "+account(user, "%"), "LOCK TABLES t WRITE")
		ends := make(chan error)
		for range 2 { // one waits for the table, the other for the lock
			go func() { ends <- f.engine.Set(enginetest.Within(t), r) }()
		}
		var statement string
		for deadline := time.Now().Add(10 * time.Second); statement == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			_ = f.db.QueryRow("SELECT INFO FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE 'SELECT GET_LOCK(%' LIMIT 1").Scan(&statement)
		}
		if statement == "" {
			t.Error("no call waits for the lock")
		}
		stranger, password := f.user()
		app := (&harness{fixture: f}).as(stranger, password, "")
		for _, name := range append(regexp.MustCompile(`[0-9A-Za-z_:]+`).FindAllString(statement, -1), lockOf(r.Secret), testserver.Unique("free")) {
			var held bool
			if err := app.db.QueryRow("SELECT IS_USED_LOCK(?) IS NOT NULL", name).Scan(&held); err != nil || held {
				t.Errorf("a lock named %q is held: %v, %v", name, held, err)
			}
		}
		for range 2 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	})
}
