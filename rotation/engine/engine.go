package engine

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"
)

// Engine knows one kind of credential and the system that checks it. It talks
// to that system and never to Secrets Manager; it keeps no state between calls
// and is safe for concurrent use.
//
// Every method may be repeated, run twice at once, or run again after it was
// cut off at any point, with the same Request, and must then come to the same
// outcome. Every method returns when ctx is done. Errors are made by Errorf with
// a cause; an error without one counts as TargetFailed. The errors a driver
// returns may be wrapped as they are: the core removes the secret's values from
// their text.
type Engine interface {
	// Kind describes the engine. It always returns the same.
	Kind() Kind

	// Next returns the value to follow r.Current. It changes nothing at the
	// target unless the engine is also a Minter. An error with the cause
	// InvalidSecret says everything that is wrong with the value's form.
	Next(ctx context.Context, r *Request) (Value, error)

	// Set makes r.Pending open the target, acting as r.Login. Where the target
	// accepts two credentials, r.Current still opens it when Set returns. With
	// r.KeepCurrent, Set changes the target only if r.Current keeps opening it;
	// otherwise it changes nothing and returns an error that wraps ErrOneAtATime.
	//
	// The error has the cause LoginRefused only if the target refused r.Login
	// itself, before anything was changed. After any other error the core decides
	// by a login whether the change was made, so an engine does not need to look.
	Set(ctx context.Context, r *Request) error

	// Verify logs in with v and checks what it may do: at least that a command
	// is answered, and where v is to make the next rotation by itself, that it
	// may. It changes nothing. nil means accepted; an error with the cause
	// LoginRefused means that the target refused v; any other error means that
	// it could not be told. One that wraps ErrUntried means that it never can be,
	// as the value does not say where to log in.
	Verify(ctx context.Context, r *Request, v Value) error
}

// ErrUntried is in the error of a Verify that has nothing to log in to and never
// will. testSecret then lets the rotation go on, as it would without the step; wherever
// an answer decides something, it is no answer.
var ErrUntried = errors.New("the credential cannot be tried")

// ErrOneAtATime is in the error of a Set that was asked to keep r.Current valid and could
// not. It is not a failure: finishSecret then makes the change.
var ErrOneAtATime = errors.New("the target accepts one credential at a time")

// Overlap says when a target accepts the old and the new credential of a single user.
type Overlap int

const (
	// OneAtATime: setting the new credential ends the old one, now or after a time
	// that the target chooses. finishSecret makes the change.
	OneAtATime Overlap = iota
	// AskTarget: only the target knows. setSecret calls Set with Request.KeepCurrent.
	AskTarget
	// BothWork: the old credential works until a later rotation or Retire ends it.
	// setSecret makes the change.
	BothWork
)

// DryRunner is an Engine that can find out whether Set would succeed. The core
// then calls DryRun with the value that Next returned before it is stored, so
// that a value that the target's policy rejects is never staged.
type DryRunner interface {
	Engine
	// DryRun logs in as r.Login and proves as far as the target lets it that
	// Set(ctx, r) would succeed, and leaves the target as it was. The errors
	// are those of Set, and PolicyRejected.
	DryRun(ctx context.Context, r *Request) error
}

// Retirer is an Engine whose target lets old and new open it at once. By
// default the old one is retired by the Set of the next rotation; the core
// calls Retire where the configuration asks for it to happen earlier.
type Retirer interface {
	Engine
	// Retire makes every credential of the user but r.Pending, which is proved
	// to work, stop working, acting as r.Login. A credential that is gone already
	// is no error.
	Retire(ctx context.Context, r *Request) error
}

// Minter is an Engine whose values the target makes: its Next creates a
// credential there. So that none is orphaned, what calls for this secret left
// behind that were cut off is found and revoked at the target by a later Next, or
// by Set, which knows of them all which one was stored. It must be told from what
// others made, and from what another call at the same time is about to store.
type Minter interface {
	Engine
	// Revoke takes r.Pending back, which Next has made and which was not
	// stored. One that is gone already is no error.
	Revoke(ctx context.Context, r *Request) error
}

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
	// SuperuserOnly is set where a user cannot change its own credential, so
	// that the superuser secret does it for the single user, too.
	SuperuserOnly bool
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

// Request is what an engine is given for one call. Its values belong together:
// the core has checked that they differ only where they may.
type Request struct {
	// Secret is the secret's ARN, and Version the id of its pending version,
	// which names this rotation in every call of it.
	Secret, Version string
	// Strategy is whose credential changes.
	Strategy Strategy
	// Current is the value labelled AWSCURRENT.
	Current Value
	// Pending is the value to make valid; in Next it is the zero Value.
	Pending Value
	// Previous is the value labelled AWSPREVIOUS, in the Next and Set of a
	// Minter: with it an engine knows for its own what the rotation before left.
	// It is the zero Value where there is none.
	Previous Value
	// Login is the value to act as: a version of the secret itself, or the
	// superuser's where Superuser is set.
	Login     Value
	Superuser bool
	// KeepCurrent asks Set to change the target only if Current keeps opening it. It is
	// set only for an engine whose Kind says AskTarget.
	KeepCurrent bool
	// BySuperuser tells that it is the superuser's part to change the credential,
	// so that the user itself need not be able to.
	BySuperuser bool
	// Proved tells that the secret holds, in one of its versions, a credential
	// of the user that Pending names which the target accepted. Without it, an
	// engine must not change a second user that it cannot see to be its own
	// work: names alone prove nothing.
	Proved bool
	// Proofs are those credentials of the secret that the target accepted, where
	// a superuser acts, in every call of a change. They are for an engine whose
	// target has several accounts under one name, of which a login proves one.
	Proofs []Value

	// Vouched tells that the target accepted a credential of the very user that
	// Current names, and not only one of the user who alternates with it.
	Vouched bool
	// Passwords is the policy in force.
	Passwords PasswordPolicy
	// SecretFields are the fields that a rotation of this secret changes: the kind's,
	// or those that its FieldsOption names.
	SecretFields []string
	// UserLimit overrides the kind's CloneLimit if it is not 0.
	UserLimit int
	// Base is the version id of Current.
	Base string
	// Setting returns one of the engine's own settings; Option calls it.
	Setting func(name string) string
}

// NewPassword returns a new password by the policy in force.
func (r *Request) NewPassword() string { return r.Passwords.New(r.Base) }

// Option returns the value of one of the engine's own settings: the secret's
// tag "rotator:NAME", else the function's environment variable ROTATOR_NAME in
// upper case with _ for -, else "". Nothing that could harm another secret or
// weaken the connection may be decided by an option.
func (r *Request) Option(name string) string {
	if r.Setting == nil {
		return ""
	}
	return r.Setting(name)
}

// NextPassword is Next for every engine whose credential is a password in the
// field that its kind names: r.Current with a new password and, where users
// alternate, the other user's name. The engine has checked the form before.
func NextPassword(k Kind, r *Request) (Value, error) {
	next := r.Current.With(k.SecretFields[0], r.NewPassword())
	if r.Strategy == AlternatingUsers {
		user, _ := r.Current.Text(k.UserField)
		other, err := r.OtherUser(k, user)
		if err != nil {
			return Value{}, err
		}
		next = next.With(k.UserField, other)
	}
	return next, nil
}

// OtherUser returns the name of the user that alternates with the given one.
func (r *Request) OtherUser(k Kind, user string) (string, error) {
	limit := cmp.Or(r.UserLimit, k.CloneLimit)
	if first, ok := strings.CutSuffix(user, k.CloneSuffix); ok {
		if first == "" {
			return "", Errorf(InvalidSecret, "name the first user in "+k.UserField, "the user's name is nothing but the suffix %s", k.CloneSuffix)
		}
		return first, nil
	}
	clone := user + k.CloneSuffix
	if len(clone) > limit {
		return "", Errorf(InvalidSecret, "use a shorter user name or set USERNAME_CHARACTER_LIMIT to the server's own limit",
			"the second user's name %q would have more than %d characters", clone, limit)
	}
	return clone, nil
}
