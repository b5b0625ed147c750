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
		begin := time.Now()
		c := checker{details: map[string]string{"secret": arn}}
		var err error
		done, at, blind := 0, 0, false // blind: err does not show how far the check got
		for _, stage := range []struct {
			last, at string // the last row, and the row of a failure with a cause that belongs to no row of the stage
			run      func() error
		}{
			{"form", "secret", func() error { return c.read(ctx, r, arn) }},
			{"change", "change", func() error { return c.superuser(ctx) }},
			{"policy", "login", func() error { return c.target(ctx) }},
			{"rotation", "rotation", func() error { return c.rotation(ctx) }},
			{"deadline", "deadline", func() error {
				took := fmt.Sprintf("the check took %s", time.Since(begin).Round(time.Millisecond))
				if c.details["deadline"] = took; ctx.Err() == nil {
					return nil
				}
				return engine.Errorf(engine.OutOfTime, "raise the function's timeout", "%s", took)
			}},
		} {
			last := position(stage.last)
			if err == nil {
				err = stage.run()
				cause := engine.CauseOf(err)
				at, blind = position(row(cause)), cause == engine.OutOfTime || cause == engine.InternalError
				if !blind && (at < done || at > last || !c.inspection.Deletion.IsZero()) {
					at = position(stage.at)
				}
			}
			for ; done <= last; done++ {
				f := c.finding(checks[done].name)
				switch {
				case err != nil && done == at:
					f = Failure(err)
					f.Check = checks[done].name
				case f.State != Failed && err != nil && (blind || done > at):
					f.State, f.Message = Unknown, "not reached"
				}
				if !yield(f) {
					return
				}
			}
		}
	}
}

// checker collects what Check has learned.
type checker struct {
	inspection *rotation.Inspection
	details    map[string]string // the messages of ok rows
	refused    *Finding          // the row "clients", if the target refuses AWSCURRENT
}

// finding returns a row of a check that did not fail.
func (c *checker) finding(name string) Finding {
	if name == "clients" && c.refused != nil {
		return *c.refused
	}
	if why := c.skips(name); why != "" {
		return Finding{Check: name, State: Skipped, Message: why}
	}
	return Finding{Check: name, State: OK, Message: c.details[name]}
}

// read reads the secret, and has the engine generate a value.
func (c *checker) read(ctx context.Context, r *rotation.Rotator, arn string) (err error) {
	c.inspection, err = r.Inspect(ctx, arn)
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
	if err != nil {
		return err
	}
	c.details["form"] = fmt.Sprintf("engine %s, strategy %s", i.Kind.Names[0], i.Request.Strategy)
	return i.Prepare(ctx)
}

// superuser reads the superuser secret, and explains whether a superuser changes the credential.
func (c *checker) superuser(ctx context.Context) error {
	i, field, text := c.inspection, c.inspection.Kind.Superusers(), ""
	switch {
	case field == "":
		text = "no superuser is needed: the engine does not use one"
	case i.Superuser == "":
		text = "no superuser is needed: the secret has no " + field
	case i.Request.Strategy == engine.AlternatingUsers:
		text = fmt.Sprintf("the superuser in %s (from %s) prepares the second user", i.Superuser, field)
	default:
		text = fmt.Sprintf("the superuser in %s (from %s) changes the credential; the strategy is single", i.Superuser, field)
	}
	c.details["change"] = text
	return i.CheckSuperuser(ctx)
}

// target rehearses a rotation.
func (c *checker) target(ctx context.Context) error {
	i := c.inspection
	c.details["name"] = c.text("host")
	c.details["route"] = strings.TrimSuffix(c.text("host")+":"+c.text("port"), ":")
	opened, err := i.Rehearse(ctx)
	c.details["login"] = "the target accepts " + opened
	if i.User != "" {
		c.details["login"] += fmt.Sprintf(", user %q", i.User)
	}
	c.details["server"], c.details["clients"] = i.Server, "AWSCURRENT opens the target"
	if i.CurrentRefused() {
		c.refused = &Finding{Check: "clients", State: Failed, Cause: engine.LoginRefused,
			Message: "the target refuses AWSCURRENT: clients cannot log in",
			Advice:  "see what `rotatorctl recover SECRET` proposes"}
		if err == nil {
			c.refused.Message = "the target refuses AWSCURRENT but accepts " + opened +
				": clients are refused until the next rotation"
			c.refused.Advice = "rotate the secret, or see what `rotatorctl recover SECRET` proposes"
		}
	}
	return err
}

// rotation reports whether a rotation under way will finish.
func (c *checker) rotation(ctx context.Context) error {
	i := c.inspection
	if i.Pending == "" {
		c.details["rotation"] = "no rotation is under way"
		return nil
	}
	stored, opens, err := i.RehearsePending(ctx)
	state := "can be set at the target; the next attempt sets it"
	switch {
	case err == nil && !i.Enabled:
		return engine.Errorf(engine.RotationDisabled, "see what `rotatorctl recover SECRET` proposes",
			"a rotation was canceled: AWSPENDING stays on version %s", i.Pending)
	case !stored:
		state = "has no value yet; the next attempt stores it"
	case opens:
		state = "opens the target; the next attempt makes it AWSCURRENT"
	}
	c.details["rotation"] = "a rotation is under way: version " + i.Pending + " " + state
	return err
}

// text returns a field of AWSCURRENT. It must not be used for credentials.
func (c *checker) text(name string) string {
	s, _ := c.inspection.Request.Current.Text(name)
	return s
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
