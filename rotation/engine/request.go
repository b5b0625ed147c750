package engine

import (
	"log/slog"
	"strings"
)

// Request is the input of one call. The machine has checked that its values differ only in what a
// rotation changes.
type Request struct {
	Secret   string   // the secret's ARN
	Version  string   // the id of its pending version, which identifies this rotation
	Strategy Strategy // whose credential changes
	Current  Value    // AWSCURRENT
	Base     string   // the id of that version
	Accepted Value    // a credential that the target accepts; it keys the seal of a new password
	Pending  Value    // the value to make valid; the zero Value in Next and Mint
	// Previous is AWSPREVIOUS, or the zero Value. It is set in a Minter's Mint and Set, which
	// recognize by it what the rotation before left.
	Previous Value
	// Login is the value to act as: a version of the secret, or the superuser's if Superuser is set.
	Login     Value
	Superuser bool
	// KeepCurrent asks Set to change the target only if Current keeps opening it. It is set only if
	// the engine's Kind says AskTarget.
	KeepCurrent bool
	// SuperuserChanges means that the secret names a superuser, who changes the credential: the user
	// itself does not need to be able to.
	SuperuserChanges bool
	// Adopt lets Set take over a pair of users that something else has made; see Adopter.
	Adopt bool
	// Proofs are the credentials of the secret that the target has accepted, where a superuser acts;
	// see pair.Proved. An engine whose target has several accounts of one name uses them to tell
	// which are the secret's.
	Proofs       []Value
	Passwords    PasswordPolicy           // the policy in force
	SecretFields []string                 // those that this rotation changes
	UserLimit    int                      // overrides the Kind's CloneLimit if it is not 0
	Setting      func(name string) string // looks up one of the engine's own settings; use Option
	Report       func(slog.Level, string) // writes to the function's log; use Changed and Warn
}

// As returns a copy of the request that acts as the given login.
func (r *Request) As(login Value, superuser bool) *Request {
	as := *r
	as.Login, as.Superuser = login, superuser
	return &as
}

// Changed logs a right that was given or taken at the target, or an object whose owner was changed,
// in the target's own terms.
func (r *Request) Changed(what string) { r.report(slog.LevelInfo, "changed at the target: "+what) }

// Warn logs what does not stop the rotation, and somebody should look at.
func (r *Request) Warn(what string) { r.report(slog.LevelWarn, what) }

func (r *Request) report(level slog.Level, text string) {
	if r.Report != nil {
		r.Report(level, text)
	}
}

// NewPassword returns a new password by the policy in force.
func (r *Request) NewPassword() string { return r.Passwords.New(r.Base, r.Key(r.Accepted)) }

// Key returns what a credential is to a seal: its first secret field.
func (r *Request) Key(v Value) string {
	if len(r.SecretFields) == 0 {
		return string(v.Reveal())
	}
	key, _ := v.Text(r.SecretFields[0])
	return key
}

// Option returns the value of one of the engine's own settings: the secret's tag "rotator:NAME",
// else the function's environment variable ROTATOR_NAME in upper case with _ for -, else "".
// Nothing that could harm another secret or weaken the connection may be decided by an option.
func (r *Request) Option(name string) string {
	if r.Setting == nil {
		return ""
	}
	return r.Setting(name)
}

// OptionChecker is an Engine that can judge its own settings without a secret. The machine asks it
// at start, with a Request that has no more than Setting. The error has the cause
// InvalidConfiguration.
type OptionChecker interface {
	CheckOptions(r *Request) error
}

// OptionName returns the names of an option for an error: the tag's and the variable's.
func OptionName(name string) string {
	return name + " (ROTATOR_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + ")"
}

// NextPassword returns r.Current with a new password in the kind's secret field; where users
// alternate, use pair.Next. The engine has checked the value's form before.
func NextPassword(k Kind, r *Request) Value {
	return r.Current.With(k.SecretFields[0], r.NewPassword())
}

// Choice reports whether one of the engine's own settings is other, and not usual, its default.
func (r *Request) Choice(name, usual, other string) (bool, error) {
	o := r.Option(name)
	if o != "" && o != usual && o != other {
		return false, Errorf(InvalidConfiguration, "set it to "+usual+" or "+other, "the option %s is %q", OptionName(name), o)
	}
	return o == other, nil
}
