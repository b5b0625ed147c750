package engine

import (
	"errors"
	"fmt"
)

// Cause is the class of what went wrong: the name to alarm on, which Lambda shows as errorType, and
// what programs should act on in place of a message. A Cause is itself an error, so that
// errors.Is(err, engine.LoginRefused) works on whatever the core or an engine returns.
type Cause string

// Error returns the cause's name.
func (c Cause) Error() string { return string(c) }

// The causes. An engine returns those from NameNotResolved on; the rest belong to the core.
const (
	// InvalidEvent: the event is not one that Secrets Manager sends.
	InvalidEvent Cause = "InvalidEvent"
	// InvalidConfiguration: the function's own settings contradict themselves.
	InvalidConfiguration Cause = "InvalidConfiguration"
	// InvalidSecret: the secret's value has not the form that its engine needs.
	InvalidSecret Cause = "InvalidSecret"
	// RotationDisabled: the secret's rotation is not switched on.
	RotationDisabled Cause = "RotationDisabled"
	// VersionNotStaged: the event's version is not the one labelled AWSPENDING.
	VersionNotStaged Cause = "VersionNotStaged"
	// SecretEdited: somebody changed the secret while it was rotated.
	SecretEdited Cause = "SecretEdited"
	// SecretsManagerFailed: Secrets Manager, KMS or STS refused or failed.
	SecretsManagerFailed Cause = "SecretsManagerFailed"
	// OutOfTime: what is left of the invocation does not suffice.
	OutOfTime Cause = "OutOfTime"
	// InternalError: a defect of the function itself.
	InternalError Cause = "InternalError"

	// NameNotResolved: the target's host name has no address.
	NameNotResolved Cause = "NameNotResolved"
	// Unreachable: no connection, or no answer, from the target's address.
	Unreachable Cause = "Unreachable"
	// TLSFailed: the connection could not be encrypted or the certificate was not the target's.
	TLSFailed Cause = "TLSFailed"
	// LoginRefused: the target answered that the credential is not valid. It is the only cause that
	// moves the ladder on to another version, so an engine returns it only where the target's
	// answer can mean nothing else.
	LoginRefused Cause = "LoginRefused"
	// PrivilegeMissing: the login is valid but may not do what is needed.
	PrivilegeMissing Cause = "PrivilegeMissing"
	// PolicyRejected: the target's password policy rejects the new value.
	PolicyRejected Cause = "PolicyRejected"
	// TakeoverRefused: the change would touch a user that is not proved to belong to this secret.
	TakeoverRefused Cause = "TakeoverRefused"
	// Unsettled: a Minter's target holds a credential so young that another call of the same step
	// may be about to store it. createSecret tries again as long as it can.
	Unsettled Cause = "Unsettled"
	// TargetFailed: the target failed in some other way.
	TargetFailed Cause = "TargetFailed"
)

// Error is what the core and the engines return. Its text tells where and what went wrong and what
// to do, and holds no value of a secret once Handle has returned it.
type Error struct {
	// Cause is the class of the failure.
	Cause Cause
	// Advice is what a person should do about it, a clause without a full stop.
	Advice string
	// Step is the step that failed; the core sets it.
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
