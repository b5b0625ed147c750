// Package redis rotates passwords of users of Redis 6 and later, Valkey, and other servers with their ACL commands.
//
// A user may have any number of passwords; the server stores their SHA-256 hashes. A rotation leaves the new one and
// the current one, so clients with either keep working; the next rotation retires the older one. The server receives
// the hash, never a new password. Users are not replicated, so every node is changed and persists the change.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/resp"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Redis and Valkey.
type Engine struct {
	tls     engine.TLSPolicy
	trusted Nodes
}

// New returns the engine. The operator trusts the nodes in addition to the host of each secret.
func New(tls engine.TLSPolicy, trusted Nodes) *Engine { return &Engine{tls, trusted} }

// Kind describes the engine. AWS has no template for it. Passwords need no escaping in a redis:// URL.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"redis", "valkey"},
		Overlap:      engine.BothWork,
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`",
			RequireEachIncludedType: true},
		SuperuserField: "masterarn",
	}
}

// parse reads a login. Without a name it is the user "default", whose password is requirepass.
func parse(v engine.Value) (engine.Target, error) {
	if user := string(v.JSON("username")); v.IsObject() && (user == "" || user == "null" || user == `""`) {
		v = v.With("username", "default")
	}
	return engine.ParseTarget(v, 6379, "")
}

func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// Next returns the value that follows the current one.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// DryRun logs in to every node and checks that the user exists, that r.Login may change it and that the change will
// survive a restart.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	all, pending, err := e.lend(ctx, r)
	defer all.close()
	for i := 0; err == nil && i < len(all); i++ {
		if err = all[i].rehearse(pending.User); err == nil {
			err = all[i].sentinel(pending.User)
		}
	}
	return err
}

// lend logs in to every node as the login that makes the change, and finds the user of r.Pending there. The secret's
// other passwords open nodes that an interrupted change reached or missed. A superuser changes neither itself nor,
// unless the secret proves the credential, a user with one of the powers.
func (e *Engine) lend(ctx context.Context, r *engine.Request) (nodes, engine.Target, error) {
	t, err := parse(r.Pending)
	if err != nil {
		return nil, t, err
	}
	logins := []engine.Value{r.Login}
	if !r.Superuser {
		logins = append(logins, r.Current, r.Pending)
	}
	all, err := e.open(ctx, r, t.User, logins...)
	if err != nil {
		return all, t, err
	}
	proved := pair.ProvedCurrent(e.Kind(), r)
	for _, n := range all {
		if r.Superuser && (n.Target.User == t.User || !proved && slices.ContainsFunc(powers, n.may)) {
			return all, t, engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "%s: the user %q is an administrator",
				n.Target.Address(), t.User)
		}
	}
	return all, t, nil
}

// powers are the commands that can give all rights: through users' rules, requirepass, or code in the server.
var powers = []string{"acl|setuser", "config|set", "module|load", "module|loadex"}

// Verify logs in with v and sends a command. A user that changes its own password must be able to, at every node. A
// refusal by a node other than the host does not count as LoginRefused. If a superuser changes the user, the secret's
// host decides: it is changed last.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	t, err := parse(v)
	if err != nil {
		return err
	}
	if r.SuperuserChanges {
		return resp.Try(ctx, e.tls, t)
	}
	all, err := e.open(ctx, r, t.User, v)
	defer all.close()
	for i := 0; err == nil && i < len(all); i++ {
		err = all[i].rehearse(t.User)
	}
	return err
}

// Set makes the pending password valid on every node, keeps the current one where it is valid, and removes all others.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	all, t, err := e.lend(ctx, r)
	defer all.close()
	if err != nil {
		return err
	}
	current, _ := r.Current.Text("password")
	pending, kept := hash(t.Password), hash(current)
	// The secret's host comes last: once it accepts the pending password, all nodes do.
	for _, n := range slices.Concat(all[1:], all[:1]) {
		hashes := []string{pending}
		if kept != pending && slices.Contains(n.hashes, kept) {
			hashes = append(hashes, kept)
		}
		if err := n.set(r, t.User, hashes); err != nil {
			return err
		}
	}
	return nil
}

// Needs adds the commands that the login needs, whether it is a superuser or the user itself.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
func (*Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	n.Grants = []string{"ACL SETUSER " + cmp.Or(n.Login, "default") + " +acl|dryrun +acl|getuser +acl|save " +
		"+acl|setuser +client|list +cluster|nodes +config|get +config|rewrite +info"}
	n.Note = "run it at every node; +acl|save is for nodes with an ACL file, +config|rewrite for nodes without, " +
		"+cluster|nodes for clusters, +client|list for users that may SLAVEOF; +acl|dryrun lets createSecret check " +
		"whether the login may save"
	if !r.Superuser {
		n.Note += "; a user with ACL SETUSER can grant itself all rights, so rotate applications' users by a " +
			"superuser secret (masterarn)"
	}
	return nil
}
