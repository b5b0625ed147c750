package redis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/resp"
)

type node struct {
	*resp.Conn

	hashes []string // of the user's passwords
	rules  []string // for the user's commands: its own, and those of each selector
	save   []string // the command that saves the users
}

type nodes []*node

func (all nodes) close() {
	for _, n := range all {
		n.Close()
	}
}

func (n *node) fail(advice, format string, args ...any) error {
	return engine.Errorf(engine.TargetFailed, advice, "%s: %w", n.Target.Address(), fmt.Errorf(format, args...))
}

// info returns what the node reports about itself.
// Source: https://redis.io/docs/latest/commands/info/
func (n *node) info() (map[string]string, error) {
	reply, err := n.Do("INFO failed", "INFO")
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[name] = value
		}
	}
	if info["loading"] == "1" { // no replica is connected yet
		return nil, n.fail("wait; Secrets Manager retries automatically", "the server is loading its data")
	}
	return info, nil
}

// inspect reads the node's data about the user. It reports a missing user, which ACL SETUSER would silently create.
// Source: https://redis.io/docs/latest/commands/acl-getuser/
func (n *node) inspect(user string) error {
	reply, err := n.Do("the user cannot be looked up", "ACL", "GETUSER", user)
	if err != nil {
		return err
	}
	if reply == nil {
		return n.fail("correct the secret's username, or create the user there like elsewhere; users are not replicated",
			"the user %q does not exist", user)
	}
	account, ok := pairs(reply)
	flags, isFlags := account["flags"].([]any)
	passwords, isPasswords := account["passwords"].([]any)
	selectors, isSelectors := account["selectors"].([]any) // since Redis 7
	for _, s := range append([]any{reply}, selectors...) {
		rules, readable := pairs(s)
		commands, _ := rules["commands"].(string)
		n.rules, ok = append(n.rules, commands), ok && readable
	}
	if !ok || !isFlags || !isPasswords || !isSelectors && account["selectors"] != nil {
		return n.fail("check that the server's ACL GETUSER works like Redis's",
			"the answer about the user %q cannot be read", user)
	}
	for _, f := range flags {
		switch f {
		case "off":
			return n.fail("enable it (ACL SETUSER name on) or turn rotation off", "the user %q is disabled (off)", user)
		case "nopass":
			// Clients that rely on this would be locked out, and no login proves anything.
			return n.fail("give it the secret's password first: ACL SETUSER name resetpass >password",
				"the user %q accepts any password (nopass)", user)
		}
	}
	for _, p := range passwords {
		if h, ok := p.(string); ok && len(h) == len(hash("")) {
			n.hashes = append(n.hashes, h)
		}
	}
	return nil
}

// may reports whether the user's rules allow a command of @admin, @slow and @dangerous, such as acl|setuser.
func (n *node) may(command string) bool {
	container, _, _ := strings.Cut(command, "|")
	return slices.ContainsFunc(n.rules, func(rules string) (allowed bool) {
		for rule := range strings.FieldsSeq(rules) {
			switch rule[1:] {
			case "@all", "@admin", "@slow", "@dangerous", container, command:
				allowed = rule[0] == '+'
			}
		}
		return allowed
	})
}

// sentinel refuses a user that a Sentinel logs in as. Nothing gives the Sentinel the new password: once both passwords
// that it could know are gone, it considers the primary down. Only a user that may run SLAVEOF can serve a Sentinel, so
// a login without administrative rights cannot pose as one.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
func (n *node) sentinel(user string) error {
	if !n.may("slaveof") {
		return nil
	}
	reply, err := n.Do("the clients cannot be listed to detect a Sentinel", "CLIENT", "LIST", "TYPE", "pubsub")
	if err != nil {
		return err
	}
	clients, _ := reply.(string)
	for client := range strings.Lines(clients) {
		fields := strings.Fields(client)
		if slices.Contains(fields, "user="+user) &&
			slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, "name=sentinel-") }) {
			return n.fail("give Sentinel a separate user (sentinel auth-user, auth-pass) that is not rotated",
				"a Sentinel logs in as the user %q, and the second rotation would lock it out", user)
		}
	}
	return nil
}

// inspectFiles determines where the node stores its users. It refuses a user that the node replicates as: replication
// would end with the second rotation. configured means that the node has a configuration file.
func (n *node) inspectFiles(user string, configured bool) error {
	var err error
	setting := func(name string) string {
		if err != nil {
			return ""
		}
		var reply any
		reply, err = n.Do("the setting "+name+" cannot be read", "CONFIG", "GET", name)
		settings, _ := pairs(reply)
		value, _ := settings[name].(string)
		return value
	}
	aclFile := setting("aclfile")
	replicates := cmp.Or(setting("masteruser"), "default") == user && setting("masterauth") != ""
	switch {
	case err != nil:
		return err
	case replicates:
		return n.fail("give replication a separate user (masteruser, masterauth) that is not rotated",
			"the server replicates as the user %q", user)
	case aclFile != "":
		n.save = []string{"ACL", "SAVE"}
	case configured:
		n.save = []string{"CONFIG", "REWRITE"}
	default:
		return n.fail("start the server with a configuration or ACL file that it may write",
			"the server has no file to store users in, so a restart would undo the rotation")
	}
	return nil
}

func pairs(reply any) (map[string]any, bool) {
	list, ok := reply.([]any)
	m := make(map[string]any)
	for p := range slices.Chunk(list, 2) {
		name, named := p[0].(string)
		if !named || len(p) != 2 {
			return m, false
		}
		m[name] = p[1]
	}
	return m, ok
}

// rehearse checks, by an empty change and ACL DRYRUN if available, that the login may change the user and save that.
func (n *node) rehearse(user string) error {
	if _, err := n.Do("the user cannot be changed", "ACL", "SETUSER", user); err != nil {
		return err
	}
	// Servers before version 7 lack DRYRUN, and not every login may use it.
	reply, err := n.Do("the rights cannot be tested", append([]string{"ACL", "DRYRUN", n.Target.User}, n.save...)...)
	if err != nil && resp.Code(err) == "" {
		return err
	}
	if text, _ := reply.(string); err == nil && text != "OK" {
		return engine.Errorf(engine.PrivilegeMissing, "grant the login what `rotatorctl policy` prints",
			"%s: %.500s", n.Target.Address(), text)
	}
	return nil
}

// set makes the hashes the user's only passwords and saves the users. A single command makes the change: it is atomic
// and, unlike removals, repeatable.
// Source: https://redis.io/docs/latest/commands/acl-setuser/
func (n *node) set(r *engine.Request, user string, hashes []string) error {
	command := []string{"ACL", "SETUSER", user, "resetpass"}
	for _, h := range hashes {
		command = append(command, "#"+h)
	}
	if _, err := n.Do("the password cannot be changed", command...); err != nil {
		return err
	}
	gone := slices.DeleteFunc(slices.Clone(n.hashes), func(h string) bool { return slices.Contains(hashes, h) })
	if len(gone) > 0 {
		r.Changed(fmt.Sprintf("%s: passwords of the user %q that are neither pending nor current are removed: %d",
			n.Target.Address(), user, len(gone)))
	}
	// CONFIG REWRITE writes all current settings, including temporary ones.
	name := strings.Join(n.save, " ")
	_, err := n.Do(name+" failed, so a restart would undo the change", n.save...)
	if err == nil {
		r.Changed(n.Target.Address() + ": " + name + " saves everything in its file as it is now, including " +
			"unsaved changes by others")
	}
	return err
}
