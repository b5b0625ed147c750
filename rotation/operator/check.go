// Package operator answers an operator's questions about a secret: whether a rotation would succeed (Check), which
// credential opens the target and how to recover (Diagnose, Recover), which permissions the rotation needs (Needs), and
// how to take over a pair of users (Adopt). The rotation function does not link it.
package operator

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"example.com/rotator/rotation"
	"example.com/rotator/rotation/engine"
)

// Check reports whether a rotation of the secret would succeed within the deadline of ctx, and changes nothing. It
// yields the same rows for every engine, each as soon as it is known. The row "clients" reports whether AWSCURRENT
// works; a rotation can succeed even if it does not.
func Check(ctx context.Context, r *rotation.Rotator, arn string) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		c := checker{ctx: ctx, details: make(map[string]string), yield: yield}
		c.check(r, arn)
	}
}

// checker is one Check.
type checker struct {
	ctx        context.Context
	inspection *rotation.Inspection
	details    map[string]string  // the messages of ok rows
	refused    *Finding           // the row "clients", if the target refuses AWSCURRENT
	done       int                // how many of checks were yielded
	err        error              // the failure
	at         string             // the row of err
	blind      bool               // err does not show how far the check got
	yield      func(Finding) bool // nil once the caller has stopped
}

func (c *checker) check(r *rotation.Rotator, arn string) {
	begin := time.Now()
	i, err := r.Inspect(c.ctx, arn)
	c.inspection = i
	c.details["secret"] = arn
	c.labels()
	if err == nil {
		c.details["form"] = fmt.Sprintf("engine %s, strategy %s", i.Kind.Names[0], i.Request.Strategy)
		err = i.Prepare(c.ctx)
	}
	at := row(engine.CauseOf(err))
	if position(at) > position("form") || !i.Deletion.IsZero() {
		at = "secret"
	}
	c.fail(err, at)
	c.rows("form")
	if c.err == nil {
		c.details["change"] = who(i)
		c.fail(i.CheckSuperuser(c.ctx), "change")
		c.rows("change")
	}
	if c.err == nil {
		c.target()
	}
	if c.err == nil {
		c.rotation()
	}
	took := time.Since(begin).Round(time.Millisecond)
	c.details["deadline"] = fmt.Sprintf("the check took %s", took)
	if c.err == nil && c.ctx.Err() != nil {
		c.fail(engine.Errorf(engine.OutOfTime, "raise the function's timeout", "the check took %s", took), "deadline")
	}
	c.rows("deadline")
}

// fail records a failure and its row.
func (c *checker) fail(err error, at string) {
	if err == nil {
		return
	}
	c.err, c.at = err, at
	if cause := engine.CauseOf(err); cause == engine.OutOfTime || cause == engine.InternalError {
		c.at, c.blind = row(cause), true
	}
}

// rows yields the rows up to and including last.
func (c *checker) rows(last string) {
	for ; c.done <= position(last) && c.yield != nil; c.done++ {
		name := checks[c.done].name
		f := Finding{Check: name, State: OK, Message: c.details[name]}
		switch why := c.skips(name); {
		case name == "clients" && c.refused != nil:
			f = *c.refused
		case c.err != nil && name == c.at:
			f = Failure(c.err)
			f.Check = name
		case c.err != nil && (c.blind || c.done > position(c.at)):
			f.State, f.Message = Unknown, "not reached"
		case why != "":
			f.State, f.Message = Skipped, why
		}
		if !c.yield(f) {
			c.yield = nil
		}
	}
}

// labels describes where the labels are.
func (c *checker) labels() {
	i, text := c.inspection, "no version is AWSCURRENT"
	if i.Current != "" {
		text = "AWSCURRENT is on version " + i.Current
	}
	if i.Pending != "" {
		text += ", AWSPENDING on version " + i.Pending
	}
	if !i.Enabled {
		text += "; rotation is off"
	}
	c.details["labels"] = text
}

// target rehearses a rotation.
func (c *checker) target() {
	i := c.inspection
	c.details["name"] = c.text("host")
	c.details["route"] = strings.TrimSuffix(c.text("host")+":"+c.text("port"), ":")
	opened, err := i.Rehearse(c.ctx)
	c.details["login"] = "the target accepts " + opened
	if i.User != "" {
		c.details["login"] += fmt.Sprintf(", user %q", i.User)
	}
	c.details["server"] = i.Server
	at := row(engine.CauseOf(err))
	if position(at) < c.done || position(at) > position("policy") {
		at = "login" // for example, the database does not exist
	}
	c.fail(err, at)
	c.details["clients"] = "AWSCURRENT opens the target"
	if i.CurrentRefused() {
		c.refused = &Finding{Check: "clients", State: Failed, Cause: engine.LoginRefused,
			Message: "the target refuses AWSCURRENT: clients cannot log in",
			Advice:  "see what `rotatorctl recover` proposes"}
		if err == nil {
			c.refused.Message = "the target refuses AWSCURRENT but accepts " + opened +
				": clients are refused until the next rotation"
			c.refused.Advice = "rotate the secret, or see what `rotatorctl recover` proposes"
		}
	}
	c.rows("policy")
}

// rotation reports whether a rotation under way will finish.
func (c *checker) rotation() {
	i := c.inspection
	c.details["rotation"] = "no rotation is under way"
	if i.Pending == "" {
		c.rows("rotation")
		return
	}
	stored, opens, err := i.RehearsePending(c.ctx)
	under := "a rotation is under way: version " + i.Pending
	switch {
	case err == nil && !i.Enabled:
		err = engine.Errorf(engine.RotationDisabled, "see what `rotatorctl recover` proposes",
			"a rotation was canceled: AWSPENDING stays on version %s", i.Pending)
	case !stored:
		c.details["rotation"] = under + " has no value yet; the next attempt stores it"
	case opens:
		c.details["rotation"] = under + " opens the target; the next attempt makes it AWSCURRENT"
	default:
		c.details["rotation"] = under + " can be set at the target; the next attempt sets it"
	}
	c.fail(err, "rotation")
	c.rows("rotation")
}

// text returns a field of AWSCURRENT. It must not be used for credentials.
func (c *checker) text(name string) string {
	s, _ := c.inspection.Request.Current.Text(name)
	return s
}

// who explains whether a superuser changes the credential.
func who(i *rotation.Inspection) string {
	field := i.Kind.Superusers()
	switch {
	case field == "":
		return "no superuser is needed: the engine does not use one"
	case i.Superuser == "":
		return "no superuser is needed: the secret has no " + field
	case i.Request.Strategy == engine.AlternatingUsers:
		return fmt.Sprintf("the superuser in %s (from %s) prepares the second user", i.Superuser, field)
	}
	return fmt.Sprintf("the superuser in %s (from %s) changes the credential; the strategy is single",
		i.Superuser, field)
}

// skips returns why a row does not apply to the secret, or "". A row that was not checked is never ok.
func (c *checker) skips(check string) string {
	i := c.inspection
	within := func(first, last string) bool {
		return position(first) <= position(check) && position(check) <= position(last)
	}
	switch {
	case i.Engine == nil || i.Request == nil:
	case i.Kind.NoTarget && within("change", "policy"):
		return "the engine " + i.Kind.Names[0] + " has no target"
	case c.text("host") == "" && i.Server == "" && within("name", "server"): // an API is the target
		return "the secret names no host"
	case check == "tls" && engine.ParseTLSMode(c.text("ssl")) == engine.TLSOff:
		return `not used: the secret has "ssl": false`
	case check == "policy": // no policy checks an issued or unrehearsable value before it is set
		_, rehearsed := i.Engine.(engine.DryRunner)
		_, minted := i.Engine.(engine.Minter)
		if !rehearsed || minted {
			return "the target checks a value only when it is set"
		}
	}
	return ""
}
