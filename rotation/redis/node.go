package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/resp"
)

type node struct {
	*resp.Conn
	target engine.Target
	// configured means that INFO reports a configuration file.
	configured bool

	hashes    []string // of the user's passwords
	rules     []string // for the user's commands: its own, and those of each selector
	aclFile   bool     // users are stored in a separate file
	forgetful bool     // the change may be lost at a restart
	replicate string   // the hash of the user's password that the node replicates with, or ""
}

// passwordLimit is far above what a user has. Each of a thousand nodes may return that many.
const passwordLimit = 100

type nodes []*node

func (all nodes) close() {
	for _, n := range all {
		n.Close()
	}
}

func (n *node) classify(what string, err error) error {
	return resp.Classify(n.target, n.target.Address()+": "+what, err)
}

func (n *node) fail(advice, format string, args ...any) error {
	return engine.Errorf(engine.TargetFailed, advice, "%s: %w", n.target.Address(), fmt.Errorf(format, args...))
}

func (e *Engine) inspect(ctx context.Context, r *engine.Request, l login, user string) (nodes, error) {
	all, err := e.open(ctx, r, l)
	for i := 0; err == nil && i < len(all); i++ {
		err = all[i].inspect(user)
	}
	return all, err
}

// inspect reads the node's data about the user. It reports a missing user, which ACL SETUSER would silently create.
// Source: https://redis.io/docs/latest/commands/acl-getuser/
func (n *node) inspect(user string) error {
	reply, err := n.Do("ACL", "GETUSER", user)
	if err != nil {
		return n.classify("the user cannot be looked up", err)
	}
	if reply == nil {
		return n.fail("create it there with the rights that it has elsewhere; users are not replicated",
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
	if !ok || !isFlags && account["flags"] != nil || !isPasswords && account["passwords"] != nil ||
		!isSelectors && account["selectors"] != nil {
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
	if len(n.hashes) > passwordLimit {
		return n.fail("remove unused ones: ACL SETUSER name !hash", "the user %q has %d passwords", user, len(n.hashes))
	}
	return n.inspectFiles(user)
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
func (n *node) sentinel(r *engine.Request, user string) error {
	if !n.may("slaveof") {
		return nil
	}
	reply, err := n.Do("CLIENT", "LIST", "TYPE", "pubsub")
	switch {
	case resp.Unknown(err):
		return nil
	case errors.Is(err, resp.ErrTooLong):
		r.Warn(n.target.Address() + ": too many clients to find a Sentinel: if one logs in as the user, give it " +
			"another user")
		return nil
	case err != nil:
		return n.classify("the clients cannot be listed to detect a Sentinel", err)
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

const adviceOff = "if a service persists the users, set " + persistOption + " to off"

// inspectFiles determines where the node stores its users, and whether it replicates as the user.
func (n *node) inspectFiles(user string) error {
	if !n.forgetful {
		aclFile, err := n.config("aclfile")
		if err != nil {
			return err
		}
		n.aclFile = aclFile != ""
		if !n.aclFile && !n.configured {
			return n.fail("start the server with a configuration or ACL file; "+adviceOff,
				"the server has no file to store users in, so a restart would undo the rotation")
		}
	}
	by, err := n.config("masteruser")
	if n.forgetful && (resp.Unknown(err) || resp.Code(err) == "NOPERM") {
		// A service that hides its settings does not replicate as its customers' users.
		return nil
	}
	if err != nil || by != user && (by != "" || user != "default") {
		return err
	}
	// Replication must continue even if a restart undoes the change.
	password, err := n.config("masterauth")
	if err != nil || password == "" {
		return err
	}
	n.replicate = hash(password)
	if !n.forgetful && !n.configured {
		return n.fail("give replication a separate user (masteruser)",
			"the server replicates as the user %q but has no configuration file to store a new masterauth in", user)
	}
	return nil
}

func (n *node) config(name string) (string, error) {
	reply, err := n.Do("CONFIG", "GET", name)
	if resp.Unknown(err) {
		return "", n.fail(adviceOff, "it is unknown whether a restart would undo the rotation: %w", err)
	}
	if err != nil {
		return "", n.classify("the setting "+name+" cannot be read", err)
	}
	settings, _ := pairs(reply)
	value, _ := settings[name].(string)
	return value, nil
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

// rehearse checks, by an empty change and ACL DRYRUN if available, that the login may change the user and persist that.
func (n *node) rehearse(user string) error {
	if _, err := n.Do("ACL", "SETUSER", user); err != nil {
		return n.classify("the user cannot be changed", err)
	}
	for _, command := range n.keeping() {
		// Servers before version 7 lack DRYRUN, and not every login may use it.
		reply, err := n.Do(append([]string{"ACL", "DRYRUN", n.target.User}, command...)...)
		if err != nil && resp.Code(err) == "" {
			return n.classify("the rights cannot be tested", err)
		}
		if text, _ := reply.(string); err == nil && text != "OK" {
			return engine.Errorf(engine.PrivilegeMissing, "grant the login the rights that the engine's page lists",
				"%s: %.500s", n.target.Address(), text)
		}
	}
	return nil
}

func (n *node) keeping() (commands [][]string) {
	if n.aclFile {
		commands = append(commands, aclSave)
	}
	if !n.forgetful && (!n.aclFile || n.replicate != "") {
		commands = append(commands, configRewrite)
	}
	if n.replicate != "" {
		commands = append(commands, []string{"CONFIG", "SET", "masterauth", ""})
	}
	return commands
}

var (
	aclSave       = []string{"ACL", "SAVE"}
	configRewrite = []string{"CONFIG", "REWRITE"}
)

// set makes the hashes the user's only passwords, with a single command: it is atomic and, unlike removals, repeatable.
// Source: https://redis.io/docs/latest/commands/acl-setuser/
func (n *node) set(r *engine.Request, user string, hashes []string) error {
	command := []string{"ACL", "SETUSER", user, "resetpass"}
	for _, h := range hashes {
		command = append(command, "#"+h)
	}
	if _, err := n.Do(command...); err != nil {
		for _, h := range hashes {
			if resp.Code(err) != "" {
				err = resp.Error(strings.ReplaceAll(err.Error(), h, "[hash]"))
			}
		}
		return n.classify("the password cannot be changed", err)
	}
	if gone := n.others(hashes); gone > 0 {
		r.Changed(fmt.Sprintf("%s: passwords of the user %q that are neither pending nor current are removed: %d",
			n.target.Address(), user, gone))
	}
	if n.aclFile {
		return n.save(r, aclSave)
	}
	return n.save(r, configRewrite)
}

func (n *node) others(hashes []string) (count int) {
	for _, h := range n.hashes {
		if !slices.Contains(hashes, h) {
			count++
		}
	}
	return count
}

// save makes a change survive a restart. CONFIG REWRITE writes all current settings, including temporary ones.
func (n *node) save(r *engine.Request, command []string) error {
	if n.forgetful {
		return nil
	}
	_, err := n.Do(command...)
	if code := resp.Code(err); code != "" && code != "NOPERM" {
		return n.fail("let the server write its file; until then a restart undoes the rotation",
			"%s: %w", strings.Join(command, " "), err)
	}
	if err != nil {
		return n.classify(strings.Join(command, " "), err)
	}
	what := "all users are saved as they are now"
	if command[0] == "CONFIG" {
		what = "the configuration is rewritten with all settings, and the users in it, as they are now"
	}
	r.Changed(n.target.Address() + ": " + what + ", including unsaved changes by others")
	return nil
}

// replicateBy gives the node the new password, which it stores in plain text, if it replicates as the user.
func (n *node) replicateBy(r *engine.Request) error {
	if n.replicate == "" {
		return nil
	}
	if password, _ := r.Pending.Text("password"); n.replicate != hash(password) {
		if _, err := n.Do("CONFIG", "SET", "masterauth", password); err != nil {
			return n.classify("masterauth cannot be changed", err)
		}
	}
	return n.save(r, configRewrite) // including what an earlier call set but did not save
}
