// Package redis rotates passwords of users of Redis 6 and later, Valkey, and other servers with their ACL commands.
//
// A user may have any number of passwords; the server stores their SHA-256 hashes. A rotation leaves the new one and
// the current one, so clients with either keep working; the next rotation retires the older one. The server receives
// the hash, never a new password. Users are not replicated, so every node is changed and persists the change.
// Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/pair"
)

// Engine rotates users of Redis and Valkey.
type Engine struct {
	tls     engine.TLSPolicy
	trusted Nodes
}

// New returns the engine, with the operator's trusted nodes in addition to those that prove their identity.
func New(tls engine.TLSPolicy, trusted Nodes) *Engine { return &Engine{tls, trusted} }

const (
	// nodesOption is "all" by default, or "host" for a server whose other nodes are unreachable or must not change.
	nodesOption = "redis-nodes"
	// persistOption is "required" by default, or "off" if a service persists users or a restart may lose them.
	persistOption = "redis-persist"
)

// Kind describes the engine. AWS has no template for it. Passwords need no escaping in a redis:// URL.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"redis", "valkey"},
		Overlap:      engine.BothWork,
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`",
			RequireEachIncludedType: true},
		Options: []string{nodesOption, persistOption},

		SuperuserField: "masterarn",
	}
}

// CheckOptions checks the options of this engine.
func (*Engine) CheckOptions(r *engine.Request) error {
	_, err := read(r)
	return err
}

type settings struct{ hostOnly, forgetful bool }

func read(r *engine.Request) (s settings, err error) {
	if s.hostOnly, err = r.Choice(nodesOption, "all", "host"); err == nil {
		s.forgetful, err = r.Choice(persistOption, "required", "off")
	}
	return s, err
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
	if _, err := read(r); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// DryRun logs in to every node and checks that the user exists, that r.Login may change it and that the change will
// survive a restart. It refuses a user that a Sentinel logs in as. It warns if passwords will be removed that are not
// the secret's: at most one older password is left from the previous rotation.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	return e.lend(ctx, r, func(all nodes, user, pending string) error {
		current, err := parse(r.Current)
		if err != nil {
			return err
		}
		for _, n := range all {
			if err := n.rehearse(user); err != nil {
				return err
			}
			if err := n.sentinel(r, user); err != nil {
				return err
			}
			if others := n.others([]string{pending, hash(current.Password)}); others > 1 {
				r.Warn(fmt.Sprintf("%s: the user %q has %d passwords in addition to the current one, at most one of "+
					"them from the previous rotation; setSecret removes them", n.target.Address(), user, others))
			}
		}
		return nil
	})
}

// lend logs in to every node as the login that makes the change, finds the user of r.Pending there, and calls do with
// the hash of its password. The secret's other passwords open nodes that an interrupted change reached or missed. A
// superuser changes neither itself nor, unless the secret proves the credential, a user with one of the powers.
func (e *Engine) lend(ctx context.Context, r *engine.Request, do func(all nodes, user, pending string) error) error {
	t, err := parse(r.Pending)
	if err != nil {
		return err
	}
	all, err := e.inspect(ctx, r, acting(r), t.User)
	defer all.close()
	if err != nil {
		return err
	}
	proved := pair.ProvedCurrent(e.Kind(), r)
	for _, n := range all {
		if r.Superuser && (n.target.User == t.User || !proved && slices.ContainsFunc(powers, n.may)) {
			return engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "%s: the user %q is an administrator",
				n.target.Address(), t.User)
		}
	}
	return do(all, t.User, hash(t.Password))
}

// powers are the commands that can give all rights: through users' rules, requirepass, or code in the server.
var powers = []string{"acl|setuser", "config|set", "module|load", "module|loadex"}

func acting(r *engine.Request) login {
	l := login{value: r.Login, superuser: r.Superuser}
	if !r.Superuser {
		l.others = []engine.Value{r.Current, r.Pending}
	}
	return l
}

// Verify logs in with v and sends a command. Every node that v may list must accept the pending password; the secret's
// host alone must accept a password that a superuser replaces. A user that changes its own password must have the right
// to. A refusal by a node other than the host does not count as LoginRefused.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	t, err := parse(v)
	if err != nil {
		return err
	}
	var all nodes
	defer func() { all.close() }()
	if r.SuperuserChanges {
		all, err = e.open(ctx, r, login{value: v, partial: true, alone: !v.Equal(r.Pending)})
	} else {
		all, err = e.inspect(ctx, r, login{value: v}, t.User)
	}
	for i := 0; err == nil && i < len(all); i++ {
		if r.SuperuserChanges {
			err = all[i].classify("the node does not serve the user", all[i].Ping())
		} else {
			err = all[i].rehearse(t.User)
		}
	}
	return err
}

// Set makes the pending password valid on every node, keeps the current one where it is valid, and removes all others.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	current, err := parse(r.Current)
	if err != nil {
		return err
	}
	return e.change(ctx, r, hash(current.Password))
}

// Retire removes all passwords except the pending one, on every node.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, "") }

// change inspects every node, then leaves the user the pending password and, if valid now, the one with the hash kept.
func (e *Engine) change(ctx context.Context, r *engine.Request, kept string) error {
	return e.lend(ctx, r, func(all nodes, user, pending string) error {
		// The secret's host comes last: once it accepts the pending password, all nodes do.
		for _, n := range slices.Concat(all[1:], all[:1]) {
			hashes := []string{pending}
			if kept != pending && slices.Contains(n.hashes, kept) {
				hashes = append(hashes, kept)
			}
			if err := n.set(r, user, hashes); err != nil {
				return err
			}
		}
		// This comes after the new password is valid on the nodes that replicas connect to.
		for _, n := range all {
			if err := n.replicateBy(r); err != nil {
				return err
			}
		}
		return nil
	})
}
