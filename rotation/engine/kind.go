package engine

import (
	"cmp"
	"strings"
	"time"
)

// Kind describes an engine.
type Kind struct {
	// Names are the values of a secret's field "engine" that this engine serves; a name that ends
	// in * matches every value with that prefix. The first is the engine's own name.
	Names []string
	// UserField is the field that names the user, or "". It is the same in all versions of a
	// secret, unless users alternate.
	UserField string
	// SecretFields are the fields that a rotation changes; all other fields stay as they are. With
	// none, the whole value is the credential.
	SecretFields []string
	// FieldsOption is the setting, one of Options, that overrides SecretFields with names separated
	// by commas or spaces, or "".
	FieldsOption string
	// Passwords is the engine's default policy. A Length of 0 means that the engine generates no
	// passwords.
	Passwords PasswordPolicy
	Options   []string // the names of the engine's own settings; see Request.Option
	// Overlap says whether the old credential of a single user works next to the new one, and so
	// which step makes the change. A Minter's is BothWork.
	Overlap Overlap

	CloneSuffix string // added to the first user's name, it is the second user's; "" where users cannot alternate
	CloneLimit  int    // the maximum length of a name in bytes
	// SuperuserField is the field that names the superuser secret. Where a value has it, the superuser
	// changes the credential. "" means masterarn where users can alternate, and elsewhere that Set
	// changes the credential of Request.Login itself: a value with masterarn is refused.
	SuperuserField string

	// The rest is for few engines.

	// PlaceFields are the fields, in addition to host, port, ssl and tlsServerName, that say where the target is.
	PlaceFields []string
	// AccountFields are the fields, in addition to UserField, dbname and engine, that say whose
	// the credential is.
	AccountFields []string
	// UserDatabase means that the field dbname says where a user is defined and not what to connect
	// to, so the superuser secret's own dbname counts for the superuser.
	UserDatabase bool
	// MarkField is a field that identifies a value of this engine where the field "engine" is
	// missing or is another engine's name as well, or "".
	MarkField string
	// NoRestore means that finishSecret does not give the target AWSCURRENT's credential back where the
	// label cannot be moved, since nothing proves that the credential was valid before.
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

// Superusers returns the field that names the superuser secret, or "" where no superuser can change a
// credential.
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
	// AlternatingUsers gives the secret to a second user with the same rights, and back at the next
	// rotation, so that the current one works throughout.
	AlternatingUsers Strategy = "alternating"
)
