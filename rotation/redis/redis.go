// Package redis rotates the passwords of users of Redis 6 and later, of Valkey,
// and of whatever speaks their protocol and has their ACL commands.
//
// A user may have any number of passwords, of which the server keeps the SHA-256 hash. A rotation
// leaves two, the new one and the one that is current, so that clients with either are served; the
// next rotation retires the older one. The server gets the hash and never a password. Every node is
// changed, as users are not replicated, and told to keep the change over a restart.
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

// New returns the engine with the given policy for its connections, and the nodes
// that the operator allows beside those that prove themselves.
func New(tls engine.TLSPolicy, trusted Nodes) *Engine { return &Engine{tls, trusted} }

// The engine's own settings.
const (
	// nodesOption is "all", the default, or "host" for a server whose other
	// nodes are not reached from here or are not the secret's business.
	nodesOption = "redis-nodes"
	// persistOption is "required", the default, or "off" for a service that
	// keeps its users itself, or whose users need not outlive a restart.
	persistOption = "redis-persist"
)

// Kind describes the engine. AWS has no template for it. The characters that
// passwords have may stand in a redis:// URL as they are.
func (*Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"redis", "valkey"},
		Overlap:      engine.BothWork,
		UserField:    "username",
		SecretFields: []string{"password"},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]^{}|<>`", RequireEachIncludedType: true},
		Options:      []string{nodesOption, persistOption},

		SuperuserField: "masterarn",
	}
}

// CheckOptions judges the engine's own settings.
func (*Engine) CheckOptions(r *engine.Request) error {
	_, err := read(r)
	return err
}

// settings are the engine's own, as a request has them.
type settings struct{ hostOnly, forgetful bool }

func read(r *engine.Request) (s settings, err error) {
	if s.hostOnly, err = r.Choice(nodesOption, "all", "host"); err == nil {
		s.forgetful, err = r.Choice(persistOption, "required", "off")
	}
	return s, err
}

// parse reads a login. Without a name it is that of the user "default", whose password requirepass is.
func parse(v engine.Value) (engine.Target, error) {
	if user := string(v.JSON("username")); v.IsObject() && (user == "" || user == "null" || user == `""`) {
		v = v.With("username", "default")
	}
	return engine.ParseTarget(v, 6379, "")
}

// hash returns what the server keeps of a password.
func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	if _, err := read(r); err != nil {
		return engine.Value{}, err
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// DryRun logs in to every node and proves that the user is there, that r.Login may change it and that the change will
// outlive a restart. It refuses a user that a Sentinel logs in as, and warns where passwords will go that are not the
// secret's: one older than the current one is what the rotation before has left.
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
				r.Warn(fmt.Sprintf("%s: the user %q has %d passwords in addition to the current one, at most one of them from the rotation before; setSecret removes them", n.target.Address(), user, others))
			}
		}
		return nil
	})
}

// lend logs in to every node as the login that makes the change, finds the user of r.Pending there,
// and calls do with the hash of its password. The secret's other passwords repair a node where an
// earlier change had come to another point. A superuser's powers are lent neither against itself nor
// against a user who may change users, unless the secret has that user's own credential.
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
		if r.Superuser && (n.target.User == t.User || !proved && n.may("acl|setuser")) {
			return engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "%s: the user %q is an administrator", n.target.Address(), t.User)
		}
	}
	return do(all, t.User, hash(t.Password))
}

func acting(r *engine.Request) login {
	l := login{value: r.Login, superuser: r.Superuser}
	if !r.Superuser {
		l.others = []engine.Value{r.Current, r.Pending}
	}
	return l
}

// Verify logs in with v and asks for an answer. The pending password must be accepted by every node, as far as v may
// know of them; what a superuser is about to replace, by the secret's host. A user that changes its own password must
// be able to. That a node beside the host refuses is no refusal of the target's.
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
			err = all[i].classify("it does not serve the user", all[i].Ping())
		} else {
			err = all[i].rehearse(t.User)
		}
	}
	return err
}

// Set makes the pending password valid at every node, beside the current one
// where that is valid, and all others invalid.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	current, err := parse(r.Current)
	if err != nil {
		return err
	}
	return e.change(ctx, r, hash(current.Password))
}

// Retire makes all passwords but the pending one invalid, at every node.
func (e *Engine) Retire(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, "") }

// change leaves the user with the pending password and the one with the hash kept, if that is valid
// now. Nothing is changed before every node is seen fit for it.
func (e *Engine) change(ctx context.Context, r *engine.Request, kept string) error {
	return e.lend(ctx, r, func(all nodes, user, pending string) error {
		// The secret's host is the last: once it accepts the pending password, all do, and
		// until then it accepts what the change began with.
		for _, n := range slices.Concat(all[1:], all[:1]) {
			hashes := []string{pending}
			if kept != pending && slices.Contains(n.hashes, kept) {
				hashes = append(hashes, kept)
			}
			if err := n.set(r, user, hashes); err != nil {
				return err
			}
		}
		// Not before the new password is valid at the nodes that these connect to.
		for _, n := range all {
			if err := n.replicateBy(r); err != nil {
				return err
			}
		}
		return nil
	})
}
