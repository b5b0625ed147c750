package redis

import (
	"fmt"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
)

// TestGrants: each command in the line is needed, except those that the note explains.
func TestGrants(t *testing.T) {
	for _, o := range []testserver.RedisOptions{{}, {NoACLFile: true}} {
		t.Run(fmt.Sprintf("without an ACL file: %t", o.NoACLFile), func(t *testing.T) {
			f := newFixture(t, testserver.Redis, o)
			create := func() engine.Value {
				name := f.user("+@all")
				return f.value(name, "first-"+name)
			}
			for name, bySuperuser := range map[string]bool{"itself": false, "superuser": true} {
				t.Run(name, func(t *testing.T) {
					grants.Target{Engine: f.engine, Least: 1, Env: map[string]string{"STRATEGY": "single"},
						New: func() (value, superuser engine.Value) {
							if bySuperuser {
								superuser = create()
							}
							return create(), superuser
						},
						Exec: func(line string) {
							var args []any
							for i, word := range strings.Fields(line) {
								if args = append(args, word); i == 2 {
									args = append(args, "-@all") // no rights, like a new user
								}
							}
							f.do(args...)
						}}.Prove(t)
				})
			}
		})
	}
}
