package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Needs returns the commands that the login needs, whether it is a superuser or the user itself. It asks each node how
// it stores users; if the login may not read that yet, Needs returns the commands for both storage methods.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	t, err := parse(r.Pending)
	if err != nil {
		return err
	}
	s, err := read(r)
	if err != nil {
		return err
	}
	n.Login = cmp.Or(n.Login, "default")
	rules := []string{"+info", "+cluster|nodes", "+acl|getuser", "+acl|setuser"}
	n.Note = "with +acl|dryrun, createSecret also checks whether the login may save its changes"
	if !r.Superuser {
		n.Note += "; a user with ACL SETUSER can grant itself all rights, so rotate applications' users by a " +
			"superuser secret (masterarn)"
	}
	all, err := e.inspect(ctx, r, acting(r), t.User)
	defer all.close()
	add := func(rule string) {
		if !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	for _, node := range all {
		if !s.forgetful || node.replicate != "" {
			add("+config|get")
		}
		for _, c := range node.keeping() {
			add("+" + strings.ToLower(c[0]+"|"+c[1]))
		}
	}
	if errors.Is(err, engine.PrivilegeMissing) {
		err = nil
		if !s.forgetful {
			rules = append(rules[:4], "+config|get", "+acl|save", "+config|rewrite")
			n.Note = "+acl|save is for nodes with an ACL file, +config|rewrite for nodes without, +config|set for " +
				"nodes that replicate as the user: print the rights again once the login has them, to see which are " +
				"needed; " + n.Note
		}
	}
	if r.Superuser && slices.ContainsFunc(all, func(n *node) bool { return n.may("slaveof") }) {
		rules = append(rules, "+client|list") // to detect a Sentinel that logs in as the user
	}
	n.Grants = []string{"ACL SETUSER " + n.Login + " " + strings.Join(rules, " ")}
	return err
}
