package rotation

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"example.com/rotator/rotation/engine"
)

// Config is what New needs.
type Config struct {
	Engines []engine.Engine // the engines that the function serves
	// Secrets returns the client for a secret, in the region and account of its ARN. An error fails the step; an
	// *engine.Error keeps its cause. ListSecretVersionIds may be denied: only recovery from older versions is lost.
	Secrets func(ctx context.Context, arn string) (*secretsmanager.Client, error)
	// Getenv returns a setting, as os.Getenv does. An empty setting counts as unset: `sam local` turns absent settings
	// into empty ones.
	Getenv func(name string) string
	// Log receives one line for every decision, and never a secret's value.
	Log *slog.Logger
	// Topology looks up hosts in RDS. If it is nil, superuser secrets that RDS manages and hosts other than the
	// superuser's are refused.
	Topology Topology
	Observe  func(Observation) // if set, it is called after every step
}

// Topology reports which hosts belong to the same database. It queries the account of the superuser secret.
type Topology interface {
	// Managed finds the database by the tags that RDS and Redshift give their superuser secrets.
	Managed(ctx context.Context, superuserARN string, tags map[string]string) (host string, port int, err error)
	// Replica reports whether host is a replica or reader of the database whose writer is primary.
	Replica(ctx context.Context, superuserARN, host, primary string) (bool, error)
	// Needs returns the permissions to determine whether host is the superuser's replica and, if primary is empty, to
	// find the superuser's host by the tags of its secret.
	Needs(superuserARN, primary string, tags map[string]string, host string) []engine.Permission
}

// Observation is the outcome of a step, for metrics. It contains no secret values.
type Observation struct {
	Step            Step
	Secret, Version string
	Engine          string // the engine's name, or "" if the step failed before it was known
	Strategy        engine.Strategy
	Cause           engine.Cause  // "" for a step that succeeded
	Duration        time.Duration // of the whole step
	Refusals        int           // logins that the target refused
	Rotated         bool          // set by the one step that moved AWSCURRENT
	// CurrentRefused: the target refused AWSCURRENT, and the step ended before that changed. Clients cannot log in.
	CurrentRefused bool
	Age            time.Duration // of the current version, if the step has read it
	Window         time.Duration // from storing the pending value to its promotion
	// Gap is the time from the change at the target to the promotion, if one finishSecret did both. Clients with the
	// old value were refused for at most that long.
	Gap time.Duration
}

// option looks up a setting in the secret's tags, then in the environment: password-length is the tag
// rotator:password-length and the variable PASSWORD_LENGTH.
type option struct {
	tags   map[string]string
	getenv func(string) string
}

func (o option) text(name string) string {
	return cmp.Or(o.tags["rotator:"+name], o.getenv(variable(name)))
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// setting is text for an engine's own settings, whose variables begin with ROTATOR_.
func (o option) setting(name string) string {
	return cmp.Or(o.tags["rotator:"+name], o.getenv("ROTATOR_"+variable(name)))
}

// settings are the options of a rotation, apart from its engine's own.
type settings struct {
	strategy                  engine.Strategy // "" leaves the choice to the secret's value
	passwords                 engine.PasswordPolicy
	userLimit                 int  // of characters in a user's name; 0 leaves it to the engine
	recoverBySuperuser, adopt bool // only the function's environment sets these, never a secret's tag
}

const adviceStrategy = "set the tag rotator:strategy or the variable STRATEGY to single or alternating"

// settings reads the options. The password options, which AWS's templates also have, override the engine's policy. The
// error has the cause InvalidConfiguration.
func (o option) settings(p engine.PasswordPolicy) (settings, error) {
	s := settings{strategy: engine.Strategy(o.text("strategy")), passwords: p}
	invalid := func(advice, name string) (settings, error) {
		return s, engine.Errorf(engine.InvalidConfiguration, advice, "%s is %q", variable(name), o.text(name))
	}
	if s.strategy != "" && s.strategy != engine.SingleUser && s.strategy != engine.AlternatingUsers {
		return invalid(adviceStrategy, "strategy")
	}
	var err error
	if text := o.text("username-character-limit"); text != "" {
		if s.userLimit, err = strconv.Atoi(text); err != nil || s.userLimit < 1 {
			return invalid("set USERNAME_CHARACTER_LIMIT to a whole number", "username-character-limit")
		}
	}
	for name, b := range map[string]*bool{"RECOVER_BY_SUPERUSER": &s.recoverBySuperuser, "ADOPT_PAIRS": &s.adopt} {
		if *b, err = engine.ParseBool(name, o.getenv(name), false); err != nil {
			return s, err
		}
	}
	if p.Length == 0 {
		return s, nil
	}
	if text := o.text("password-length"); text != "" {
		if s.passwords.Length, err = strconv.Atoi(text); err != nil {
			return invalid("set PASSWORD_LENGTH to a whole number", "password-length")
		}
	}
	s.passwords.ExcludeCharacters = cmp.Or(o.text("exclude-characters"), p.ExcludeCharacters)
	for name, b := range map[string]*bool{
		"exclude-numbers":            &s.passwords.ExcludeNumbers,
		"exclude-punctuation":        &s.passwords.ExcludePunctuation,
		"exclude-uppercase":          &s.passwords.ExcludeUppercase,
		"exclude-lowercase":          &s.passwords.ExcludeLowercase,
		"require-each-included-type": &s.passwords.RequireEachIncludedType,
	} {
		if *b, err = engine.ParseBool(variable(name), o.text(name), *b); err != nil {
			return s, err
		}
	}
	if err := s.passwords.Check(); err != nil || o.tags == nil {
		return s, err
	}
	// A secret's tags may weaken its password, but not enough to make it guessable.
	own, err := option{getenv: o.getenv}.settings(p)
	if is, must := s.passwords.Strength(), min(own.passwords.Strength(), enough); err == nil && is < must {
		err = engine.Errorf(engine.InvalidConfiguration,
			"set this for the function, or correct the tags that begin with rotator:",
			"the secret's tags allow passwords of only %d bits; tags may not go below %d", is, must)
	}
	return s, err
}

// enough is the number of bits that makes a password infeasible to guess.
const enough = 128

// engine returns the engine with the given name, or nil. If several share the name, or if it is "", the engine whose
// MarkField occurs in the value wins.
func (c Config) engine(name string, v engine.Value) (found engine.Engine) {
	for _, e := range c.Engines {
		k := e.Kind()
		_, marked := v.Text(k.MarkField)
		marked = marked && k.MarkField != ""
		if (name == "" || k.Serves(name)) && (marked || name != "" && found == nil) {
			found = e
		}
	}
	return found
}

// nearest returns advice that suggests the engine name closest to the given one.
func (c Config) nearest(where, name string) string {
	var names []string
	for _, e := range c.Engines {
		names = append(names, e.Kind().Names...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	distance := func(known string) int {
		return levenshtein.Distance(strings.ToLower(name), strings.TrimSuffix(known, "*"), nil)
	}
	best := slices.MinFunc(names, func(a, b string) int { return distance(a) - distance(b) })
	if distance(best) > len(name)/2 {
		return "set " + where + " to one of " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("set %s to %q", where, strings.TrimSuffix(best, "*"))
}

// check validates the settings for every engine, which makes a misconfigured function fail at start.
func (c Config) check() error {
	if c.Secrets == nil || c.Log == nil || len(c.Engines) == 0 {
		return engine.Errorf(engine.InvalidConfiguration, "set Secrets, Log and Engines", "incomplete rotation.Config")
	}
	o := option{getenv: c.Getenv}
	for _, e := range c.Engines {
		p := e.Kind().Passwords
		p.Rejected = "" // only a secret of this engine needs what is left
		if _, err := o.settings(p); err != nil {
			return err
		}
		if checker, ok := e.(engine.OptionChecker); ok {
			if err := checker.CheckOptions(&engine.Request{Setting: o.setting}); err != nil {
				return err
			}
		}
	}
	if name := c.Getenv("ENGINE"); name != "" && c.engine(name, engine.Value{}) == nil {
		return engine.Errorf(engine.InvalidConfiguration, c.nearest("ENGINE", name), "ENGINE is %q", name)
	}
	return nil
}
