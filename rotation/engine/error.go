package engine

import (
	"errors"
	"fmt"
)

// Cause is the class of what went wrong: the name to alarm on, which Lambda shows as errorType, and
// what programs should act on in place of a message. A Cause is itself an error, so that
// errors.Is(err, engine.LoginRefused) works on whatever the machine or an engine returns.
type Cause string

// Error returns the cause's name.
func (c Cause) Error() string { return string(c) }

// The causes of the machine.
const (
	InvalidEvent         Cause = "InvalidEvent"         // not an event that Secrets Manager sends
	InvalidConfiguration Cause = "InvalidConfiguration" // the function's settings contradict themselves
	InvalidSecret        Cause = "InvalidSecret"        // the value has not the form that its engine needs
	RotationDisabled     Cause = "RotationDisabled"     // the secret's rotation is not switched on
	VersionNotStaged     Cause = "VersionNotStaged"     // AWSPENDING is not on the event's version
	SecretEdited         Cause = "SecretEdited"         // somebody changed the secret while it was rotated
	SecretsManagerFailed Cause = "SecretsManagerFailed" // Secrets Manager, KMS or STS refused or failed
	OutOfTime            Cause = "OutOfTime"            // what is left of the invocation does not suffice
	InternalError        Cause = "InternalError"        // a defect of the function itself
)

// The causes of an engine, which can also return InvalidConfiguration and InvalidSecret.
const (
	NameNotResolved Cause = "NameNotResolved" // the target's host name has no address
	Unreachable     Cause = "Unreachable"     // no connection to the target's address, or no answer
	TLSFailed       Cause = "TLSFailed"       // no encryption, or a certificate that is not the target's
	// LoginRefused: the target answered that the credential is not valid. It alone makes the
	// machine try another version, so the target's answer must not have another meaning.
	LoginRefused     Cause = "LoginRefused"
	PrivilegeMissing Cause = "PrivilegeMissing" // the login is valid but may not do what is needed
	PolicyRejected   Cause = "PolicyRejected"   // the target's password policy rejects the new value
	TakeoverRefused  Cause = "TakeoverRefused"  // the user is not proved to belong to this secret
	// Unsettled: a Minter's target holds a credential so young that a concurrent call may be
	// about to store it. createSecret tries again as long as it can.
	Unsettled    Cause = "Unsettled"
	Locked       Cause = "Locked"       // another session holds a lock that the change needs
	TargetFailed Cause = "TargetFailed" // the target failed in some other way
)

// Error is what the machine and the engines return. Its text tells where and what went wrong and what
// to do, and holds no value of a secret once Handle has returned it.
type Error struct {
	// Cause is the class of the failure.
	Cause Cause
	// Advice is what a person should do about it, a clause without a full stop.
	Advice string
	// Step is the step that failed; the machine sets it.
	Step string
	// Err says what happened.
	Err error
}

// Errorf returns an *Error with the cause, advice and formatted text. An operand of %w can be
// unwrapped from it.
func Errorf(cause Cause, advice, format string, args ...any) *Error {
	return &Error{Cause: cause, Advice: advice, Err: fmt.Errorf(format, args...)}
}

// Error returns the text: step, cause, what happened, what to do.
func (e *Error) Error() string {
	s := string(e.Cause) + ": " + e.Err.Error()
	if e.Step != "" {
		s = e.Step + ": " + s
	}
	if e.Advice != "" {
		s += " (" + e.Advice + ")"
	}
	return s
}

// Unwrap returns the cause and what happened, for errors.Is and errors.As.
func (e *Error) Unwrap() []error { return []error{e.Cause, e.Err} }

// CauseOf returns the cause of err: of the outermost *Error in it, or TargetFailed where there is
// none.
func CauseOf(err error) Cause {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return TargetFailed
}
