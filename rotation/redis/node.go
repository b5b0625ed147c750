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

// node is one server of the target that is logged in to.
type node struct {
	*resp.Conn
	target engine.Target
	// configured means that the node runs with a configuration file, as far as INFO says.
	configured bool

	// What inspect finds.
	hashes    []string // of the user's passwords
	commands  string   // the rules of the user's commands
	aclFile   bool     // users are kept in a file of their own
	forgetful bool     // the change need not outlive a restart
	replicate string   // the hash of the user's password by which the node replicates, or ""
}

// passwordLimit is far above what a user has. Of each of a thousand nodes they are kept.
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

// inspect opens the nodes and inspects the user at each.
func (e *Engine) inspect(ctx context.Context, r *engine.Request, l login, user string) (nodes, error) {
	all, err := e.open(ctx, r, l)
	for i := 0; err == nil && i < len(all); i++ {
		err = all[i].inspect(user)
	}
	return all, err
}

// inspect finds out what the node knows of the user. A user that does not exist
// must be found here, because ACL SETUSER would make it in silence.
// Source: https://redis.io/docs/latest/commands/acl-getuser/
func (n *node) inspect(user string) error {
	reply, err := n.Do("ACL", "GETUSER", user)
	if err != nil {
		return n.classify("the user cannot be looked up", err)
	}
	if reply == nil {
		return engine.Errorf(engine.TargetFailed, "create it there with the rights that it has elsewhere; users are not replicated",
			"%s: the user %q does not exist", n.target.Address(), user)
	}
	account, ok := pairs(reply)
	flags, isFlags := account["flags"].([]any)
	passwords, isPasswords := account["passwords"].([]any)
	if !ok || !isFlags && account["flags"] != nil || !isPasswords && account["passwords"] != nil {
		return engine.Errorf(engine.TargetFailed, "see whether ACL GETUSER is Redis's own", "%s: the answer about the user %q cannot be read", n.target.Address(), user)
	}
	for _, f := range flags {
		switch f {
		case "off":
			return engine.Errorf(engine.TargetFailed, "switch it on again (ACL SETUSER name on) or rotation off", "%s: the user %q is switched off", n.target.Address(), user)
		case "nopass":
			// Whoever counts on this would be locked out; and no login proves anything.
			return engine.Errorf(engine.TargetFailed, "give it the secret's password first: ACL SETUSER name resetpass >password", "%s: the user %q is let in with any password (nopass)", n.target.Address(), user)
		}
	}
	for _, p := range passwords {
		if h, ok := p.(string); ok && len(h) == len(hash("")) {
			n.hashes = append(n.hashes, h)
		}
	}
	n.commands, _ = account["commands"].(string)
	if len(n.hashes) > passwordLimit {
		return engine.Errorf(engine.TargetFailed, "remove those that nobody uses: ACL SETUSER name !hash", "%s: the user %q has %d passwords", n.target.Address(), user, len(n.hashes))
	}
	return n.inspectFiles(user)
}

// may reports whether the user's rules allow a command of the categories @admin, @slow and
// @dangerous, such as slaveof and acl|setuser.
func (n *node) may(command string) (allowed bool) {
	container, _, _ := strings.Cut(command, "|")
	for rule := range strings.FieldsSeq(n.commands) {
		switch rule[1:] {
		case "@all", "@admin", "@slow", "@dangerous", container, command:
			allowed = rule[0] == '+'
		}
	}
	return allowed
}

// sentinel refuses a user that a Sentinel watches the node by. Nobody tells it of a new password:
// when both that it could know are gone, it takes the primary for down. Only a user that may SLAVEOF
// serves a Sentinel, so a login without administrative rights cannot pose as one.
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
		r.Warn(n.target.Address() + ": it has too many clients to tell whether a Sentinel logs in as the user; if one does, give it a user of its own")
		return nil
	case err != nil:
		return n.classify("whether a Sentinel logs in as the user cannot be told", err)
	}
	clients, _ := reply.(string)
	for client := range strings.Lines(clients) {
		fields := strings.Fields(client)
		if slices.Contains(fields, "user="+user) && slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, "name=sentinel-") }) {
			return engine.Errorf(engine.TargetFailed, "give Sentinel a user of its own (sentinel auth-user, auth-pass), whose password is not rotated",
				"%s: a Sentinel logs in as the user %q, and would be locked out by the second rotation", n.target.Address(), user)
		}
	}
	return nil
}

// inspectFiles finds out where the node keeps its users, and whether it replicates as the user.
func (n *node) inspectFiles(user string) error {
	if !n.forgetful {
		aclFile, err := n.config("aclfile")
		if err != nil {
			return err
		}
		n.aclFile = aclFile != ""
		if !n.aclFile && !n.configured {
			return engine.Errorf(engine.TargetFailed, "start the server with a configuration file or an ACL file; where a service keeps the users by itself, set the option "+persistOption+" to off",
				"%s: the server runs without a file to keep its users in, so that a restart would undo the rotation", n.target.Address())
		}
	}
	by, err := n.config("masteruser")
	if n.forgetful && (resp.Unknown(err) || resp.Code(err) == "NOPERM") {
		// A service that hides its settings does not replicate by its customers' users.
		return nil
	}
	if err != nil || by != user && (by != "" || user != "default") {
		return err
	}
	// Replication must go on, whatever becomes of the change at a restart.
	password, err := n.config("masterauth")
	if err != nil || password == "" {
		return err
	}
	n.replicate = hash(password)
	if !n.forgetful && !n.configured {
		return engine.Errorf(engine.TargetFailed, "give replication a user of its own (masteruser)", "%s: the server replicates as the user %q and has no configuration file to keep a new masterauth in", n.target.Address(), user)
	}
	return nil
}

// config returns a setting of the server.
func (n *node) config(name string) (string, error) {
	reply, err := n.Do("CONFIG", "GET", name)
	if resp.Unknown(err) {
		return "", engine.Errorf(engine.TargetFailed, "where a service keeps the users by itself, set the option "+persistOption+" to off", "%s: whether a restart would undo the rotation cannot be told: %w", n.target.Address(), err)
	}
	if err != nil {
		return "", n.classify("the setting "+name+" cannot be read", err)
	}
	settings, _ := pairs(reply)
	value, _ := settings[name].(string)
	return value, nil
}

// pairs reads a flat list of names and values.
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

// rehearse proves that the login may change the user and keep the change: by a
// change of nothing, and where the server can tell, by asking it.
func (n *node) rehearse(user string) error {
	if _, err := n.Do("ACL", "SETUSER", user); err != nil {
		return n.classify("the user cannot be changed", err)
	}
	for _, command := range n.keeping() {
		// A server older than 7 cannot tell, and not every login may ask.
		reply, err := n.Do(append([]string{"ACL", "DRYRUN", n.target.User}, command...)...)
		if err != nil && resp.Code(err) == "" {
			return n.classify("the rights cannot be tested", err)
		}
		if text, _ := reply.(string); err == nil && text != "OK" {
			return engine.Errorf(engine.PrivilegeMissing, "grant the login what the engine's page of the documentation lists", "%s: %.500s", n.target.Address(), text)
		}
	}
	return nil
}

// keeping returns the commands that make a change outlive a restart, and replication go on.
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

// set makes the hashes those of the user's only passwords, in one command that
// takes effect as a whole and may be repeated, which the removal of a password
// that is gone may not. Passwords of others, which the secret does not have, go as well.
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
		r.Changed(fmt.Sprintf("%s: passwords of the user %q that are neither pending nor current are removed: %d", n.target.Address(), user, gone))
	}
	if n.aclFile {
		return n.save(r, aclSave)
	}
	return n.save(r, configRewrite)
}

// others returns how many passwords the user has in addition to those with the hashes.
func (n *node) others(hashes []string) (count int) {
	for _, h := range n.hashes {
		if !slices.Contains(hashes, h) {
			count++
		}
	}
	return count
}

// save makes a change outlive a restart. CONFIG REWRITE writes all settings of the server as they
// are, also those that somebody has changed for a while.
func (n *node) save(r *engine.Request, command []string) error {
	if n.forgetful {
		return nil
	}
	_, err := n.Do(command...)
	if code := resp.Code(err); code != "" && code != "NOPERM" {
		return engine.Errorf(engine.TargetFailed, "let the server write its file: until then a restart undoes the rotation", "%s: %s: %w", n.target.Address(), strings.Join(command, " "), err)
	}
	if err != nil {
		return n.classify(strings.Join(command, " "), err)
	}
	what := "all users are saved as they are"
	if command[0] == "CONFIG" {
		what = "the configuration is rewritten with all settings, and the users in it, as they are"
	}
	r.Changed(n.target.Address() + ": " + what + ", also where somebody changed them and did not save them")
	return nil
}

// replicateBy gives the node a new password to replicate by, if it replicates as the user. The
// server has to keep this one in clear; it is one that it kept so before.
func (n *node) replicateBy(r *engine.Request) error {
	if n.replicate == "" {
		return nil
	}
	if password, _ := r.Pending.Text("password"); n.replicate != hash(password) {
		if _, err := n.Do("CONFIG", "SET", "masterauth", password); err != nil {
			return n.classify("masterauth cannot be changed", err)
		}
	}
	return n.save(r, configRewrite) // also what an earlier call has set and not kept
}
