package engine

import (
	"cmp"
	"strings"
	"time"
)

// Kind describes an engine.
type Kind struct {
	// Names are the values of a secret's field "engine" that this engine serves; a name that ends in * matches every
	// value with that prefix. The first is the engine's own name.
	Names []string
	// UserField is the field that names the user, or "". Unless users alternate, it is the same in all versions.
	UserField string
	// SecretFields are the fields that a rotation changes. If there are none, the whole value is the credential.
	SecretFields []string
	// FieldsOption is the engine's own setting that overrides SecretFields, separated by commas or spaces, or "".
	FieldsOption string
	// Passwords is the engine's default policy. Length 0 means that the engine generates no passwords.
	Passwords PasswordPolicy
	// Overlap says whether the old credential of a single user works next to the new one, and therefore which step
	// makes the change. A Minter's Overlap is BothWork.
	Overlap Overlap

	CloneSuffix string // appended to the first user's name to form the second's; "" if users cannot alternate
	CloneLimit  int    // the maximum length of a name in bytes
	// SuperuserField is the field that names the superuser secret. If a value has it, the superuser changes the
	// credential. "" means masterarn if users can alternate. Otherwise "" means that Set changes the credential of
	// Request.Login itself, and a value with masterarn is rejected.
	SuperuserField string

	// Few engines need the rest.

	// PlaceFields are the fields that, in addition to host, port, ssl and tlsServerName, say where the target is.
	PlaceFields []string
	// UserDatabase means that the field dbname says where a user is defined, not what to connect to. The superuser
	// then has the dbname in its own secret.
	UserDatabase bool
	// MarkField identifies a value of this engine if the field "engine" is missing or several engines share the name.
	MarkField string
	// NoRestore means that finishSecret does not restore AWSCURRENT's credential at the target if the label cannot be
	// moved, because nothing proves that the credential was valid before.
	NoRestore bool
	NoTarget  bool          // no system checks the credential
	Patience  time.Duration // the time limit of one call of a method; 0 means 15 seconds
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

// Alternates reports whether the kind's users can alternate.
func (k Kind) Alternates() bool { return k.CloneSuffix != "" }

// Superusers returns the field that names the superuser secret, or "" if no superuser can change a credential.
func (k Kind) Superusers() string {
	if k.Alternates() {
		return cmp.Or(k.SuperuserField, "masterarn")
	}
	return k.SuperuserField
}

// Strategy says whose credential a rotation changes.
type Strategy string

// The strategies, as AWS names them.
// Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets_strategies.html
const (
	SingleUser Strategy = "single" // changes the credential of the one user
	// AlternatingUsers switches to a second user with the same rights, and back at the next
	// rotation. The current user works throughout.
	AlternatingUsers Strategy = "alternating"
)
