//go:build repro

package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/testserver"
)

func TestVPgaudit(t *testing.T) {
	if _, err := os.Stat("/usr/lib/postgresql/15/lib/pgaudit.so"); err != nil {
		t.Skip(err)
	}
	w := newWorld(t, testserver.Postgres(t, testserver.PostgresOptions{Config: "shared_preload_libraries='pgaudit'\npgaudit.log='all'\npgaudit.log_parameter=on\n"}))
	w.sql("CREATE EXTENSION pgaudit")
	arn, _ := w.alt("")
	t.Log(w.rotate(arn))
	user, pw := w.role("")
	arn = w.secret(w.value(user, pw))
	t.Log(w.rotate(arn))
	log, _ := w.pg.Logs()
	seen := map[string]bool{}
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, "SCRAM-SHA-256$") || strings.Contains(strings.ToUpper(l), "PASSWORD") {
			k := l[min(len(l), 60):min(len(l), 130)]
			if !seen[k] {
				seen[k] = true
				fmt.Println(l[:min(len(l), 330)])
			}
		}
	}
}
