package postgres_test

import (
	"fmt"
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/postgres"
)

func TestGrants(t *testing.T) {
	// From 16 on, CREATEROLE alone cannot change any user.
	for _, c := range []struct {
		major    int
		strategy engine.Strategy
		least    int
	}{{0, engine.AlternatingUsers, 1}, {0, engine.SingleUser, 1}, {18, engine.AlternatingUsers, 3},
		{18, engine.SingleUser, 2}} {
		t.Run(fmt.Sprintf("%s/%d", c.strategy, c.major), func(t *testing.T) {
			w := newWorld(t, testserver.SharedPostgres(t, testserver.PostgresOptions{Major: c.major}))
			target := grants.Target{Engine: postgres.New(w.tls), Least: c.least,
				Env: map[string]string{"STRATEGY": string(c.strategy), "RECOVER_BY_SUPERUSER": "true"},
				New: func() (value, superuser engine.Value) {
					return engine.StringValue(w.value(w.role("CREATEDB"))), engine.StringValue(w.value(w.role("")))
				},
				Exec: func(line string) { w.sql("%s", line) }}
			if c.strategy == engine.SingleUser { // the superuser acts only if no version opens the server
				target.Before = func(v engine.Value) {
					user, _ := v.Text("username")
					w.sql("ALTER ROLE %I PASSWORD 'by-hand'", user)
				}
			}
			target.Prove(t)
		})
	}
}
