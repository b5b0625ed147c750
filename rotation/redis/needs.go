package redis

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
)

// Needs says which commands the login needs, be it the superuser secret's or the user itself. How a node keeps its
// users is asked as the login; a login that may not yet be told of it is given both ways.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
func (e *Engine) Needs(ctx context.Context, r *engine.Request, n *engine.Needs) error {
	t, err := parse(r.Pending)
	if err != nil {
		return err
	}
	login, err := parse(r.Login)
	if err != nil {
		return err
	}
	s, err := read(r)
	if err != nil {
		return err
	}
	n.Login = login.User
	rules := []string{"+info", "+cluster|nodes", "+acl|getuser", "+acl|setuser"}
	n.Note = "+acl|dryrun besides lets createSecret find out whether the login may save what it changes"
	if !r.Superuser {
		n.Note += "; whoever may ACL SETUSER may give itself all rights, so let applications' users be changed by a superuser secret (masterarn)"
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
			n.Note = "+acl|save is for nodes with an ACL file and +config|rewrite for those without, +config|set for those that replicate by the user: once the login has these rights, print them again to see which can go; " + n.Note
		}
	}
	if r.Superuser && slices.ContainsFunc(all, func(n *node) bool { return n.may("slaveof") }) {
		rules = append(rules, "+client|list") // to see whether a Sentinel logs in as the user
	}
	n.Grants = []string{"ACL SETUSER " + login.User + " " + strings.Join(rules, " ")}
	return err
}
