package influxdb

import (
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/rotation/engine"
)

func TestGrants(t *testing.T) {
	for name, bySuperuser := range map[string]bool{"itself": false, "superuser": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			create := func() engine.Value {
				name := f.user()
				return f.value(name, "first-"+name)
			}
			grants.Target{Engine: f.engine, Least: 1, Env: map[string]string{"STRATEGY": "single"},
				New: func() (value, superuser engine.Value) {
					if bySuperuser {
						superuser = create()
					}
					return create(), superuser
				},
				Exec: func(line string) { f.must(line) }}.Prove(t)
		})
	}
}
