package engine

import (
	"strings"
	"time"
)

// Kind describes an engine to the core.
type Kind struct {
	// Names are the values of a secret's "engine" field that this engine
	// serves; one that ends in * stands for all with that beginning. The first
	// is the engine's own name.
	Names []string
	// UserField is the field that names the user, or "" where there is none.
	// It is the same in all versions of a secret, but for alternating users.
	UserField string
	// SecretFields are the fields that a rotation changes. All others are the
	// same in the pending version as in the current one, or the rotation fails.
	// None means that the whole value is the credential.
	SecretFields []string
	// FieldsOption is the one of Options that overrides SecretFields with names
	// separated by commas or spaces, for an engine that leaves them to the secret's
	// owner; or "".
	FieldsOption string
	// Passwords is the engine's default policy. A zero Length means that the
	// engine makes no passwords.
	Passwords PasswordPolicy
	// CloneSuffix makes the second user's name out of the first's, and
	// CloneLimit is the greatest length of a user's name, in bytes. An empty
	// suffix means that the engine cannot alternate users. A superuser secret
	// that a value names all the same changes the single user's credential.
	CloneSuffix string
	CloneLimit  int
	// SuperuserField is the field that names the superuser secret; "" stands
	// for masterarn.
	SuperuserField string
	// PlaceFields are the fields beside host, port and ssl that say where the target
	// is. In them a secret is taken to be where its superuser's is.
	PlaceFields []string
	// Overlap says whether the old credential of a single user works next to the new
	// one, and so which step makes the change. A Minter's is BothWork.
	Overlap Overlap
	// MarkField is a field by which a value without the field "engine" is known
	// to be this engine's, or one whose name in that field is another engine's, too;
	// or "".
	MarkField string
	// SuperuserSingle is set where few users can change their own credential, so
	// that a superuser secret that the value names does it for the single user,
	// although users could alternate.
	SuperuserSingle bool
	// UserDatabase is set where the field dbname says where a user is defined, and
	// not what to connect to, so that the superuser secret's own counts for it.
	UserDatabase bool
	// NoTarget is set where there is no system that checks the credential: then
	// Check has nothing to say of one.
	NoTarget bool
	// Patience bounds one call of the engine's methods, where a change takes the
	// target longer to make than the 15 seconds that 0 stands for.
	Patience time.Duration
	// Options are the names of the engine's own settings, which it reads with
	// Request.Option.
	Options []string
}

// Serves reports whether name is one of the kind's names.
func (k Kind) Serves(name string) bool {
	for _, n := range k.Names {
		if prefix, ok := strings.CutSuffix(n, "*"); n == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Strategy says whose credential a rotation changes.
type Strategy string

// The strategies, as AWS names them.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets_strategies.html
const (
	// SingleUser changes the credential of the one user.
	SingleUser Strategy = "single"
	// AlternatingUsers gives the secret to a second user with the same rights,
	// and back at the next rotation, so that the current one works throughout.
	AlternatingUsers Strategy = "alternating"
)
