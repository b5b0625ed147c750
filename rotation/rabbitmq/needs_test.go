package rabbitmq

import (
	"strings"
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/rotation/engine"
)

func TestGrants(t *testing.T) {
	for mode, strategy := range map[string]engine.Strategy{"itself": engine.SingleUser, "superuser": engine.SingleUser,
		"alternating": engine.AlternatingUsers} {
		t.Run(mode, func(t *testing.T) {
			f := newFixture(t)
			create := func() engine.Value {
				name := f.user("management")
				return f.value(name, "first-"+name)
			}
			grants.Target{Engine: f.engine, Least: 1, Env: map[string]string{"STRATEGY": string(strategy)},
				New: func() (value, superuser engine.Value) {
					if mode != "itself" {
						superuser = create()
					}
					return create(), superuser
				},
				// The line is a rabbitmqctl command. An API call does the same.
				Exec: func(line string) {
					words := strings.Fields(line)
					if strings.Join(words[:2], " ") != "rabbitmqctl set_user_tags" || len(words) != 4 {
						t.Fatalf("%q", line)
					}
					name := strings.Trim(words[2], "'")
					u := f.show(name)
					u.Name, u.Tags = "", words[3:]
					f.must("PUT", path("users", name), &u)
				}}.Prove(t)
		})
	}
}
