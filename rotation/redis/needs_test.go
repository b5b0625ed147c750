package redis

import (
	"fmt"
	"strings"
	"testing"

	"example.com/rotator/internal/testing/grants"
	"example.com/rotator/internal/testing/testserver"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/enginetest"
)

// TestGrants: each command in the line is needed, with and without an ACL file.
func TestGrants(t *testing.T) {
	for _, o := range []testserver.RedisOptions{{}, {NoACLFile: true}} {
		t.Run(fmt.Sprintf("without an ACL file: %t", o.NoACLFile), func(t *testing.T) {
			f := newFixture(t, testserver.Redis, o)
			// Which commands are needed is known only for a user that may query the node.
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

			poor := f.user()
			var n engine.Needs
			if err := f.engine.Needs(enginetest.Within(t), f.self(poor, "first-"+poor, "second"), &n); err != nil {
				t.Fatal(err)
			}
			if len(n.Grants) != 1 || !strings.Contains(n.Grants[0], "+acl|save") ||
				!strings.Contains(n.Grants[0], "+config|rewrite") || !strings.Contains(n.Note, "print the rights again") {
				t.Errorf("for a user who may not query the node: %q, %s", n.Grants, n.Note)
			}
		})
	}
}
