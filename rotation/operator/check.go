// Package operator answers an operator's questions about a secret: would a rotation succeed
// (Check), which credential opens the target and what follows (Diagnose, Recover), and what does
// the rotation need to be allowed (Needs). The rotation function does not link it.
package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Finding is what Check says of one precondition of a rotation.
type Finding struct {
	Check  string `json:"check"`            // the precondition: secret, labels, form, name and so on
	State  string `json:"state"`            // ok, failed, or unknown where an earlier failure hides it
	Detail string `json:"detail,omitempty"` // more, and for a failure what to do
}

// checks are the preconditions in the order in which they show, with the causes by which a failure
// of them is known.
var checks = []struct {
	name   string
	causes []engine.Cause
}{
	{"secret", []engine.Cause{engine.SecretsManagerFailed, engine.InvalidConfiguration, engine.InvalidEvent}},
	{"labels", []engine.Cause{engine.VersionNotStaged, engine.RotationDisabled, engine.SecretEdited}},
	{"form", []engine.Cause{engine.InvalidSecret}},
	{"change", nil},
	{"name", []engine.Cause{engine.NameNotResolved}},
	{"route", []engine.Cause{engine.Unreachable, engine.TargetFailed, engine.InternalError}},
	{"tls", []engine.Cause{engine.TLSFailed}},
	{"login", []engine.Cause{engine.LoginRefused}},
	{"privilege", []engine.Cause{engine.PrivilegeMissing, engine.TakeoverRefused}},
	{"policy", []engine.Cause{engine.PolicyRejected}},
	{"deadline", []engine.Cause{engine.OutOfTime}},
}

// Check finds out whether a rotation of the secret would succeed, without changing anything. A
// rotation must fit into the time that is left of ctx.
func Check(ctx context.Context, r *rotation.Rotator, arn string) []Finding {
	begin := time.Now()
	details := make(map[string]string)
	i, err := r.Inspect(ctx, arn)
	opened := ""
	switch {
	case i.Pending != "": // not a fault by itself
		details["labels"] = "AWSPENDING is on version " + i.Pending + ": a rotation is under way or stuck"
	case !i.Enabled:
		details["labels"] = "rotation is not switched on yet"
	default:
		details["labels"] = "AWSCURRENT is on version " + i.Current
	}
	if err == nil {
		// A role that may not list versions only loses this.
		if ids, lerr := i.Abandoned(ctx); lerr == nil && len(ids) > 0 {
			details["labels"] += "; given up were " + strings.Join(ids, ", ") + ": the next rotation ends what the target issued for them"
		}
		details["form"] = fmt.Sprintf("engine %s, strategy %s", i.Kind.Names[0], i.Request.Strategy)
		if s, _ := i.Request.Current.Text("ssl"); engine.ParseTLSMode(s) == engine.TLSOff {
			details["tls"] = `not used: the secret says "ssl": false`
		}
		details["change"] = who(i)
		opened, err = i.Rehearse(ctx)
	}
	took := time.Since(begin).Round(time.Millisecond).String()
	details["deadline"] = "the proof took " + took
	if err == nil && i.CurrentRefused {
		details["login"] = "AWSCURRENT refused, " + opened + " opens: clients are refused until the next rotation, or `rotatorctl recover`"
	}
	if err == nil && ctx.Err() != nil {
		err = engine.Errorf(engine.OutOfTime, "raise the function's timeout", "the proof took %s", took)
	}
	failure, failed := errors.AsType[*engine.Error](err)
	var findings []Finding
	state := "ok"
	for _, c := range checks {
		switch failedHere := failed && slices.Contains(c.causes, failure.Cause); {
		case failedHere:
			findings = append(findings, Finding{c.name, "failed", failure.Error()})
			state, details = "unknown", nil
		case applies(c.name, i):
			findings = append(findings, Finding{c.name, state, details[c.name]})
		}
	}
	return findings
}

// who says whether a superuser changes the credential, and why.
func who(i *rotation.Inspection) string {
	field := i.Kind.Superusers()
	switch {
	case field == "":
		return "no superuser is needed: the engine knows none"
	case i.Superuser == "":
		return "no superuser is needed: the secret has no " + field
	case i.Request.Strategy == engine.AlternatingUsers:
		return fmt.Sprintf("the superuser of %s prepares the second user: %s names it", i.Superuser, field)
	}
	return fmt.Sprintf("the superuser of %s changes the credential: %s names it, and the strategy is single", i.Superuser, field)
}

// applies reports whether Check has looked at a precondition, or would have if nothing had failed
// before: what was not looked at is not called ok.
func applies(check string, i *rotation.Inspection) bool {
	switch check {
	case "change", "name", "route", "tls", "login", "privilege":
		return !i.Kind.NoTarget
	case "policy": // a value that is issued, or cannot be rehearsed, meets none before it is set
		_, rehearsed := i.Engine.(engine.DryRunner)
		_, minted := i.Engine.(engine.Minter)
		return i.Engine == nil || rehearsed && !minted && !i.Kind.NoTarget
	}
	return true
}
