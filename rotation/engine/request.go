package engine

import (
	"log/slog"
	"strings"
)

// Request is the input of one call. The machine has checked that its values differ only in what a rotation changes.
type Request struct {
	Secret   string   // the secret's ARN
	Version  string   // the id of its pending version, which identifies this rotation
	Strategy Strategy // whose credential changes
	Current  Value    // AWSCURRENT
	Base     string   // the id of that version
	Accepted Value    // a credential that the target accepts; the key of a new password's seal
	Pending  Value    // the value to make valid; the zero Value in Next and Mint
	// Previous is AWSPREVIOUS, or the zero Value. A Minter's Mint and Set get it to recognize what the last rotation
	// left.
	Previous Value
	// Login is the value to act as: a version of the secret, or the superuser's if Superuser is set.
	Login     Value
	Superuser bool
	// KeepCurrent asks Set to change the target only if Current keeps opening it. It is set only for AskTarget.
	KeepCurrent bool
	// SuperuserChanges means that a superuser changes the credential: the user itself does not need that right.
	SuperuserChanges bool
	Adopt            bool // lets Set take over a pair of users that something else created; see Adopter
	// Proofs are the credentials that the target has accepted, if a superuser acts: the secret's or, in a recovery, the
	// superuser's; see pair.Proved.
	Proofs       []Value
	Passwords    PasswordPolicy           // the policy in force
	SecretFields []string                 // the fields that this rotation changes
	UserLimit    int                      // overrides the Kind's CloneLimit if it is not 0
	Setting      func(name string) string // looks up one of the engine's own settings; use Option
	Report       func(slog.Level, string) // writes to the function's log; use Changed and Warn
	Answered     func(server string)      // receives the server's product and version; use Met
}

// As returns a copy of the request that acts as the given login.
func (r *Request) As(login Value, superuser bool) *Request {
	as := *r
	as.Login, as.Superuser = login, superuser
	return &as
}

// Changed logs a right that was granted or revoked at the target, or a changed owner, in the target's own terms.
func (r *Request) Changed(what string) { r.report(slog.LevelInfo, "changed at the target: "+what) }

// Warn logs a problem that needs attention but does not stop the rotation.
func (r *Request) Warn(what string) { r.report(slog.LevelWarn, what) }

// Met reports to an operator's check which server answered, such as "PostgreSQL 17.2".
func (r *Request) Met(server string) {
	if r.Answered != nil {
		r.Answered(server)
	}
}

func (r *Request) report(level slog.Level, text string) {
	if r.Report != nil {
		r.Report(level, text)
	}
}

// NewPassword returns a new password that follows the policy in force.
func (r *Request) NewPassword() string { return r.Passwords.New(r.Base, r.Key(r.Accepted)) }

// Key returns the part of a credential that keys a seal: its first secret field.
func (r *Request) Key(v Value) string {
	if len(r.SecretFields) == 0 {
		return string(v.Reveal())
	}
	key, _ := v.Text(r.SecretFields[0])
	return key
}

// Option returns one of the engine's own settings: the secret's tag "rotator:NAME", else the function's environment
// variable ROTATOR_NAME in upper case with _ for -, else "". It must not decide anything that could harm another secret
// or weaken the connection.
func (r *Request) Option(name string) string {
	if r.Setting == nil {
		return ""
	}
	return r.Setting(name)
}

// OptionChecker is an Engine that can validate its settings without a secret. The machine calls it at start, with only
// Setting in the Request. The error has the cause InvalidConfiguration.
type OptionChecker interface {
	CheckOptions(r *Request) error
}

// OptionName returns the names of an option's tag and variable, for use in errors.
func OptionName(name string) string {
	return name + " (ROTATOR_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + ")"
}

// NextPassword returns r.Current, an object, with a new password in the kind's first secret field. If users alternate,
// use pair.Next.
func NextPassword(k Kind, r *Request) Value {
	return r.Current.With(k.SecretFields[0], r.NewPassword())
}

// ParseBool parses true, on, yes, y and 1, which AWS's templates treat as true, and false, off, no, n and 0. It ignores
// case. Empty text means the default. Any other text, which the templates treat as false, is an error with the cause
// InvalidConfiguration.
func ParseBool(name, text string, otherwise bool) (bool, error) {
	switch strings.ToLower(text) {
	case "":
		return otherwise, nil
	case "true", "on", "yes", "y", "1":
		return true, nil
	case "false", "off", "no", "n", "0":
		return false, nil
	}
	return otherwise, Errorf(InvalidConfiguration, "set it to true or false",
		"%s is %q, which is neither true nor false", name, text)
}
