package rotation

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"example.com/rotator/rotation/engine"
)

// Config is what New needs.
type Config struct {
	// Engines are the engines that the function serves.
	Engines []engine.Engine
	// Secrets returns the client for a secret, by the ARN's region and account.
	// An error of it fails the step with its own cause, if it is an *Error.
	Secrets func(ctx context.Context, arn string) (SecretsManager, error)
	// Getenv returns a setting, as os.Getenv does; one that is empty counts as
	// not set, because `sam local` turns absent ones into empty ones.
	Getenv func(name string) string
	// Log gets one line for every decision. It never gets a secret's value.
	Log *slog.Logger
	// Topology answers what RDS knows of hosts. Without it, superuser secrets
	// that RDS manages, and hosts other than the superuser's, are refused.
	Topology Topology
	// Observe, if set, is called once for every step, after its end.
	Observe func(Observation)
}

// Topology knows which hosts are one database. It looks in the account of the
// superuser's secret.
type Topology interface {
	// Managed returns host and port of the database whose superuser secret
	// has the given tags, as RDS and Redshift set them.
	Managed(ctx context.Context, superuserARN string, tags map[string]string) (host string, port int, err error)
	// Replica reports whether host is a replica or reader of the database
	// whose writer is primary.
	Replica(ctx context.Context, superuserARN, host, primary string) (bool, error)
}

// TopologyNeeder is a Topology that can tell what its answers need.
type TopologyNeeder interface {
	Topology
	// Needs returns what it takes to find a superuser's host by the tags of the
	// superuser secret, if that names none in primary, and to find out whether host
	// is its replica.
	Needs(superuserARN, primary string, tags map[string]string, host string) []engine.Permission
}

// Observation is what a step came to, for metrics. It holds no value.
type Observation struct {
	// Step, Secret and Version are the event's; Engine is the engine's name, or
	// "" where the step failed before it was known.
	Step    Step
	Secret  string
	Version string
	Engine  string
	// Cause is "" for a step that succeeded.
	Cause engine.Cause
	// Duration is the whole step's.
	Duration time.Duration
	// Refusals counts the logins that the target refused.
	Refusals int
	// CurrentRefused is set where the target refused AWSCURRENT and the step ended before
	// that changed: clients that use the secret cannot log in.
	CurrentRefused bool
	// Rotated is set for the one step that moved AWSCURRENT.
	Rotated bool
	// Age is how old the current version is, in every step that has read it, also
	// one that failed; zero in the others.
	Age time.Duration
	// Window is the time from the storing of the pending value to its promotion,
	// in the step that promoted it.
	Window time.Duration
	// Gap is the time from the change at the target to the promotion, in a finishSecret
	// that made both. Clients with the old value were refused for no longer than that; for
	// an engine whose target accepted both values they were not refused.
	Gap time.Duration
}

// option looks a setting up: first among the secret's tags, then in the
// environment. name is lower case with hyphens, such as password-length: the
// tag is rotator:password-length and the variable PASSWORD_LENGTH.
type option struct {
	tags   map[string]string
	getenv func(string) string
}

func (o option) text(name string) string {
	return cmp.Or(o.tags["rotator:"+name], o.getenv(variable(name)))
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// own is text for an engine's own settings, whose variables begin ROTATOR_.
func (o option) own(name string) string {
	return cmp.Or(o.tags["rotator:"+name], o.getenv("ROTATOR_"+variable(name)))
}

// ParseBool reads a setting that is on or off: true, on, yes, y and 1, which AWS's templates
// take for true, or false, off, no, n and 0, in any case. An empty text is the default. The
// error has the cause InvalidConfiguration; the templates take any other text for false.
func ParseBool(name, text string, otherwise bool) (bool, error) {
	switch strings.ToLower(text) {
	case "":
		return otherwise, nil
	case "true", "on", "yes", "y", "1":
		return true, nil
	case "false", "off", "no", "n", "0":
		return false, nil
	}
	return otherwise, engine.Errorf(engine.InvalidConfiguration, "set it to true or false", "%s is %q, which is neither true nor false", name, text)
}

// recoverBySuperuser reads the variable RECOVER_BY_SUPERUSER, which check has checked.
func (c Config) recoverBySuperuser() bool {
	b, _ := ParseBool("", c.Getenv(recoverBySuperuser), false)
	return b
}

const recoverBySuperuser = "RECOVER_BY_SUPERUSER"

// passwords returns the policy in force: the engine's own, changed by what is
// set under the names that AWS's templates use.
func (o option) passwords(p engine.PasswordPolicy) (engine.PasswordPolicy, error) {
	if s := o.text("password-length"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return p, engine.Errorf(engine.InvalidConfiguration, "give PASSWORD_LENGTH a whole number", "the password length %q is not a number", s)
		}
		p.Length = n
	}
	p.ExcludeCharacters = cmp.Or(o.text("exclude-characters"), p.ExcludeCharacters)
	for name, b := range map[string]*bool{
		"exclude-numbers":            &p.ExcludeNumbers,
		"exclude-punctuation":        &p.ExcludePunctuation,
		"exclude-uppercase":          &p.ExcludeUppercase,
		"exclude-lowercase":          &p.ExcludeLowercase,
		"require-each-included-type": &p.RequireEachIncludedType,
	} {
		var err error
		if *b, err = ParseBool(variable(name), o.text(name), *b); err != nil {
			return p, err
		}
	}
	return p, p.Check()
}

// retireNow reads the option retire: next, the default, or now.
func (o option) retireNow() (bool, error) {
	s := o.text("retire")
	if s != "" && s != "next" && s != "now" {
		return false, engine.Errorf(engine.InvalidConfiguration, "set RETIRE to next or now", "the option retire is %q", s)
	}
	return s == "now", nil
}

const adviceStrategy = "set the tag rotator:strategy or the variable STRATEGY to single or alternating"

// strategy reads the option; "" leaves the choice to the secret's value.
func (o option) strategy() (engine.Strategy, error) {
	s := engine.Strategy(o.text("strategy"))
	if s != "" && s != engine.SingleUser && s != engine.AlternatingUsers {
		return s, engine.Errorf(engine.InvalidConfiguration, adviceStrategy, "unknown strategy %q", string(s))
	}
	return s, nil
}

// userLimit reads the greatest length of a user name; 0 leaves it to the engine.
func (o option) userLimit() (int, error) {
	s := o.text("username-character-limit")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, engine.Errorf(engine.InvalidConfiguration, "set USERNAME_CHARACTER_LIMIT to a whole number", "invalid user name limit %q", s)
	}
	return n, nil
}

// check finds out at start whether the settings contradict themselves for any
// engine, so that a function that cannot work says so at once.
func (c Config) check() error {
	if c.Secrets == nil || c.Log == nil || len(c.Engines) == 0 {
		return engine.Errorf(engine.InvalidConfiguration, "set Secrets, Log and Engines", "incomplete rotation.Config")
	}
	o := option{getenv: c.Getenv}
	if _, err := o.retireNow(); err != nil {
		return err
	}
	if _, err := o.strategy(); err != nil {
		return err
	}
	if _, err := o.userLimit(); err != nil {
		return err
	}
	if _, err := ParseBool(recoverBySuperuser, c.Getenv(recoverBySuperuser), false); err != nil {
		return err
	}
	for _, e := range c.Engines {
		k := e.Kind()
		if k.Passwords.Length == 0 {
			continue
		}
		if _, err := o.passwords(k.Passwords); err != nil {
			return err
		}
	}
	return nil
}
