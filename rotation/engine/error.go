package engine

import (
	"errors"
	"fmt"
)

// Cause is the class of a failure. Alarms and programs should act on it instead of the message; Lambda shows it as
// errorType. A Cause is itself an error, so errors.Is(err, engine.LoginRefused) works on any error of the machine or an
// engine.
type Cause string

// Error returns the cause's name.
func (c Cause) Error() string { return string(c) }

// The causes of the machine.
const (
	InvalidEvent         Cause = "InvalidEvent"         // not an event that Secrets Manager sends
	InvalidConfiguration Cause = "InvalidConfiguration" // the function's settings contradict themselves
	InvalidSecret        Cause = "InvalidSecret"        // the value is not in the format its engine expects
	RotationDisabled     Cause = "RotationDisabled"     // rotation is not enabled for the secret
	VersionNotStaged     Cause = "VersionNotStaged"     // AWSPENDING is not on the event's version
	SecretEdited         Cause = "SecretEdited"         // the secret was changed during the rotation
	SecretsManagerFailed Cause = "SecretsManagerFailed" // Secrets Manager, KMS or STS refused or failed
	OutOfTime            Cause = "OutOfTime"            // too little of the invocation was left
	InternalError        Cause = "InternalError"        // a defect in the function itself
)

// The causes of an engine, which can also return InvalidConfiguration and InvalidSecret.
const (
	NameNotResolved Cause = "NameNotResolved" // the target's host name has no address
	Unreachable     Cause = "Unreachable"     // no connection to the target's address, or no answer
	TLSFailed       Cause = "TLSFailed"       // no encryption, or no valid certificate for the target
	// LoginRefused: the target answered that the credential is not valid. Only this cause makes the machine try another
	// version, so the answer must have no other possible meaning.
	LoginRefused     Cause = "LoginRefused"
	PrivilegeMissing Cause = "PrivilegeMissing" // the login is valid but may not do what is needed
	PolicyRejected   Cause = "PolicyRejected"   // the target's password policy rejects the new value
	TakeoverRefused  Cause = "TakeoverRefused"  // the user is not proved to belong to this secret
	// Unsettled: a Minter's target holds a credential so new that a concurrent call may be about to store it.
	// createSecret retries as long as it can.
	Unsettled    Cause = "Unsettled"
	Locked       Cause = "Locked"       // another session holds a lock that the change needs
	TargetFailed Cause = "TargetFailed" // the target failed in some other way
)

// Error is the error of the machine and the engines. Its text says where it failed, what went wrong and what to do.
// Once Handle has returned it, the text contains no secret values.
type Error struct {
	Cause  Cause
	Advice string // what a person should do about it: a clause without a period
	Step   string // the step that failed; the machine sets it
	Err    error  // what happened
}

// Errorf returns an *Error with the cause, advice and formatted text. An operand of %w can be unwrapped from it.
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

// CauseOf returns the cause of the outermost *Error in err, or TargetFailed if it has none.
func CauseOf(err error) Cause {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return TargetFailed
}
