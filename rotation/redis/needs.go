package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Needs adds the commands that the login needs, whether it is a superuser or the user itself. It asks each node how it
// saves users; if the login may not read that yet, Needs adds the commands for both ways.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	t, err := parse(r.Pending)
	if err != nil {
		return err
	}
	rules := []string{"+acl|getuser", "+acl|setuser"}
	n.Note = "with +acl|dryrun, createSecret also checks whether the login may save its changes"
	if !r.Superuser {
		n.Note += "; a user with ACL SETUSER can grant itself all rights, so rotate applications' users by a " +
			"superuser secret (masterarn)"
	}
	service, _ := managed(r)
	if !service {
		rules = append(rules, "+info", "+cluster|nodes", "+config|get")
	}
	all, err := e.open(ctx, r, t.User, r.Login)
	defer all.close()
	for _, node := range all {
		if node.save != nil {
			rules = append(rules, "+"+strings.ToLower(strings.Join(node.save, "|")))
		}
		if r.Superuser && node.may("slaveof") {
			rules = append(rules, "+client|list") // to detect a Sentinel that logs in as the user
		}
	}
	if errors.Is(err, engine.PrivilegeMissing) {
		err = nil
		if !service {
			rules = append(rules, "+acl|save", "+config|rewrite")
			n.Note = "+acl|save is for nodes with an ACL file, +config|rewrite for nodes without: print the rights " +
				"again once the login has them, to see which are needed; " + n.Note
		}
	}
	slices.Sort(rules)
	n.Grants = []string{"ACL SETUSER " + cmp.Or(n.Login, "default") + " " + strings.Join(slices.Compact(rules), " ")}
	return err
}
