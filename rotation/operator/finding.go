package operator

import (
	"errors"
	"slices"

	"github.com/aws/smithy-go"

	"example.com/rotator/rotation/engine"
)

// Finding is the result of one check.
type Finding struct {
	Check   string       `json:"check"` // the row: secret, labels, form, name and so on
	State   State        `json:"state"`
	Cause   engine.Cause `json:"cause"` // of a failure, or ""
	Message string       `json:"message"`
	Advice  string       `json:"advice"` // starts with a verb
}

// State is the result of a check in one word.
type State string

// The states of a check.
const (
	OK      State = "ok"
	Failed  State = "failed"  // it makes a rotation fail or has made one fail
	Unknown State = "unknown" // not decided: no answer, no permission, or an earlier failure
	Skipped State = "skipped" // the secret's engine or strategy does not need it
)

type check struct {
	name   string
	causes []engine.Cause
}

// checks are the rows of Check in order, each with the causes that belong to it.
var checks = []check{
	{"secret", []engine.Cause{engine.SecretsManagerFailed, engine.InvalidEvent}},
	{"settings", []engine.Cause{engine.InvalidConfiguration}},
	{"labels", []engine.Cause{engine.VersionNotStaged, engine.RotationDisabled}},
	{"form", []engine.Cause{engine.InvalidSecret}},
	{"change", nil},
	{"name", []engine.Cause{engine.NameNotResolved}},
	{"route", []engine.Cause{engine.Unreachable}},
	{"tls", []engine.Cause{engine.TLSFailed}},
	{"server", []engine.Cause{engine.TargetFailed, engine.InternalError}},
	{"login", []engine.Cause{engine.LoginRefused}},
	{"clients", nil},
	{"privilege", []engine.Cause{engine.PrivilegeMissing, engine.TakeoverRefused, engine.Locked, engine.Unsettled}},
	{"policy", []engine.Cause{engine.PolicyRejected}},
	{"rotation", []engine.Cause{engine.SecretEdited}},
	{"deadline", []engine.Cause{engine.OutOfTime}},
}

// undecided are the causes that prove nothing about the secret: another attempt, from another machine or
// with other permissions, can succeed.
var undecided = []engine.Cause{
	engine.SecretsManagerFailed, engine.NameNotResolved, engine.Unreachable, engine.OutOfTime,
}

// Failure returns an error as a finding, in the row of its cause.
func Failure(err error) Finding {
	failure, ok := errors.AsType[*engine.Error](err)
	if !ok {
		failure = engine.Errorf(engine.TargetFailed, "", "%w", err)
	}
	f := Finding{Check: row(failure.Cause), State: Failed,
		Cause: failure.Cause, Message: failure.Err.Error(), Advice: failure.Advice}
	if slices.Contains(undecided, f.Cause) && !decided(err) {
		f.State = Unknown
	}
	return f
}

// decided reports whether Secrets Manager would give every caller the same answer.
func decided(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "ResourceNotFoundException" || api.ErrorCode() == "InvalidRequestException")
}

// position returns the index of a check, or -1.
func position(name string) int {
	return slices.IndexFunc(checks, func(c check) bool { return c.name == name })
}

// row returns the check that a cause belongs to.
func row(cause engine.Cause) string {
	for _, c := range checks {
		if slices.Contains(c.causes, cause) {
			return c.name
		}
	}
	return "server"
}
