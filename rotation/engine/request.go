package engine

import (
	"cmp"
	"slices"
	"strings"
)

// Request is the input of one call. The machine has checked that its values differ only in what a
// rotation changes.
type Request struct {
	// Secret is the secret's ARN. Version is the id of its pending version, which identifies this
	// rotation.
	Secret, Version string
	// Strategy says whose credential changes.
	Strategy Strategy
	// Current is the value labelled AWSCURRENT.
	Current Value
	// Pending is the value to make valid; the zero Value in Next and Mint.
	Pending Value
	// Previous is the value labelled AWSPREVIOUS, or the zero Value. It is set in a Minter's Mint
	// and Set, which recognize by it what the rotation before left.
	Previous Value
	// Login is the value to act as: a version of the secret, or the superuser's if Superuser is
	// set.
	Login     Value
	Superuser bool
	// KeepCurrent asks Set to change the target only if Current keeps opening it. It is set only if
	// the engine's Kind says AskTarget.
	KeepCurrent bool
	// SuperuserChanges means that the superuser changes the credential, so the user itself does not
	// need to be able to.
	SuperuserChanges bool
	// Proofs are the credentials of the secret that the target has accepted, where a superuser
	// acts; see Proved. An engine whose target has several accounts of one name uses them to tell
	// which are the secret's.
	Proofs []Value
	// Passwords is the password policy in force.
	Passwords PasswordPolicy
	// SecretFields are the fields that this rotation changes: the Kind's, or those that its
	// FieldsOption names.
	SecretFields []string
	// UserLimit overrides the Kind's CloneLimit if it is not 0.
	UserLimit int
	// Base is the version id of Current.
	Base string
	// Setting looks up one of the engine's own settings; use Option.
	Setting func(name string) string
}

// As returns a copy of the request that acts as the given login.
func (r *Request) As(login Value, superuser bool) *Request {
	as := *r
	as.Login, as.Superuser = login, superuser
	return &as
}

// NewPassword returns a new password by the policy in force.
func (r *Request) NewPassword() string { return r.Passwords.New(r.Base) }

// Option returns the value of one of the engine's own settings: the secret's tag "rotator:NAME",
// else the function's environment variable ROTATOR_NAME in upper case with _ for -, else "".
// Nothing that could harm another secret or weaken the connection may be decided by an option.
func (r *Request) Option(name string) string {
	if r.Setting == nil {
		return ""
	}
	return r.Setting(name)
}

// NextPassword is Next for every engine whose credential is a password in the field that its kind
// names: r.Current with a new password and, where users alternate, the other user's name. The
// engine has checked the form before.
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

// Proved reports whether the secret holds an accepted credential of the user that Current names and
// one of the user that Pending names. Without it, an engine must not change a second user that it
// cannot see to be its own work: names alone prove nothing.
func Proved(k Kind, r *Request) bool {
	return proves(k, r, r.Current) && proves(k, r, r.Pending)
}

// ProvedCurrent reports whether the secret holds an accepted credential of the user that Current
// names.
func ProvedCurrent(k Kind, r *Request) bool { return proves(k, r, r.Current) }

func proves(k Kind, r *Request, v Value) bool {
	user, _ := v.Text(k.UserField)
	return slices.ContainsFunc(r.Proofs, func(p Value) bool { u, _ := p.Text(k.UserField); return u == user })
}
