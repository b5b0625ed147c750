// Package cacheuser rotates users of caches that AWS keeps behind an API of its
// own: ElastiCache and MemoryDB. A user has up to two passwords, the API replaces
// both at once, and the change takes the service a while.
//
// The API acts by the function's role, for which any user is as good as any other.
// So a secret must show that the user is its own: by a password that the cache
// accepts, or by being the one that the function's operator names.
package cacheuser

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"example.com/rotator/internal/resp"
	"example.com/rotator/rotation"
)

// Settings returns the SDK's configuration for a secret: region, HTTP client, and
// the function's own credentials or those of its role in the secret's account.
type Settings func(ctx context.Context, secret string) (aws.Config, error)

// Service is the API. Its errors are the SDK's.
type Service interface {
	// Describe returns a user, or one without a status where there is none.
	Describe(ctx context.Context, id string) (User, error)
	// Replace replaces the user's passwords by one or two.
	Replace(ctx context.Context, id string, passwords []string) error
}

// User is what the API tells of a user.
type User struct {
	ARN, Name string
	// Status is active, modifying or deleting.
	Status string
	// Authentication is password, no-password or iam.
	Authentication string
}

// Options are the operator's settings, by the names of AWS's template.
type Options struct {
	// SecretARN and UserName, if set, are the one secret that the function
	// rotates and the user that it must name.
	SecretARN, UserName string
	// MaxWait bounds the wait for a user to become active, and Interval is the
	// longest pause between two looks.
	MaxWait, Interval time.Duration
}

// ReadOptions reads SECRET_ARN, USER_NAME, MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS
// and WAITING_RETRY_INTERVAL_IN_SECONDS. The error has the cause
// InvalidConfiguration.
func ReadOptions(getenv func(string) string) (Options, error) {
	o := Options{SecretARN: getenv("SECRET_ARN"), UserName: getenv("USER_NAME"), MaxWait: 600 * time.Second, Interval: 10 * time.Second}
	if (o.SecretARN == "") != (o.UserName == "") {
		return o, rotation.Errorf(rotation.InvalidConfiguration, "set both or none", "only one of SECRET_ARN and USER_NAME is set")
	}
	for name, to := range map[string]*time.Duration{"MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": &o.MaxWait, "WAITING_RETRY_INTERVAL_IN_SECONDS": &o.Interval} {
		s := getenv(name)
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 86400 {
			return o, rotation.Errorf(rotation.InvalidConfiguration, "give it a number of seconds", "%s is %q", name, s)
		}
		*to = time.Duration(n) * time.Second
	}
	return o, nil
}

// Engine does all that the two services have in common.
type Engine struct {
	// Type describes the engine; New adds what follows from the options.
	Type rotation.Kind
	// Dial makes the service's client for a value and returns the user's id
	// there, and the user's ARN if the value names it.
	Dial func(ctx context.Context, secret string, v rotation.Value) (s Service, id, arn string, err error)
	// Form names what is wrong with the value, beside its login.
	Form func(v rotation.Value) []string

	TLS     rotation.TLSPolicy
	Options Options
}

// Kind describes the engine.
func (e *Engine) Kind() rotation.Kind {
	k := e.Type
	k.Patience = e.Options.MaxWait + loginLimit
	return k
}

// login is what a value says. host and password may be empty.
type login struct{ rotation.Target }

// parse reads a value. A password is missing in a secret that was never rotated,
// and a host where the engine is not to log in.
func (e *Engine) parse(r *rotation.Request, v rotation.Value) (login, error) {
	const advice = "correct the secret's value; its form is in the engine's page of the documentation"
	if !v.IsObject() {
		return login{}, rotation.Errorf(rotation.InvalidSecret, advice, "the secret's value cannot be read: %s", v.Fault())
	}
	faults := e.Form(v)
	password, hasPassword := v.Text("password")
	if !hasPassword && v.JSON("password") != nil && string(v.JSON("password")) != "null" {
		faults = append(faults, "password is not text")
	}
	// The parts that may be missing are put in, so that the rest is looked at.
	full := v
	if password == "" {
		full = full.With("password", "none")
	}
	host, _ := v.Text("host")
	if v.JSON("host") == nil {
		full = full.With("host", "none")
	}
	t, err := rotation.ParseTarget(full, 6379, "")
	if err != nil {
		if failure, ok := errors.AsType[*rotation.Error](err); ok {
			faults = append(faults, failure.Err.Error())
		}
	}
	if faults != nil {
		return login{}, rotation.Errorf(rotation.InvalidSecret, advice, "%s", strings.Join(faults, "; "))
	}
	t.Host, t.Password = host, password
	l := login{t}
	if o := e.Options; o.SecretARN != "" && (o.SecretARN != r.Secret || o.UserName != t.User) {
		return login{}, rotation.Errorf(rotation.TakeoverRefused, "give every secret a function of its own, or set neither SECRET_ARN nor USER_NAME",
			"the function is there for the user %q of the secret %s and no other", o.UserName, o.SecretARN)
	}
	if e.Options.SecretARN == "" && !l.complete() {
		return login{}, rotation.Errorf(rotation.TakeoverRefused, "add host and password to the secret, or name the secret in SECRET_ARN and its user in USER_NAME",
			"nothing proves that the user %q belongs to this secret: its value has no host and password to log in with", t.User)
	}
	return l, nil
}

// complete reports whether the value has all that a login needs.
func (l login) complete() bool { return l.Host != "" && l.Password != "" }

// rule is what both services ask of a password; the API applies it, too, but not
// before the value is stored.
// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Clusters.RBAC.html
func rule(password string) error {
	if len(password) >= 16 && len(password) <= 128 && !strings.ContainsFunc(password, func(c rune) bool { return c < '!' || c > '~' || strings.ContainsRune(`,"/@`, c) }) {
		return nil
	}
	return rotation.Errorf(rotation.PolicyRejected, "adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS",
		`the new password would be rejected: it must have 16 to 128 visible ASCII characters without , " / @`)
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *rotation.Request) (rotation.Value, error) {
	if _, err := e.parse(r, r.Current); err != nil {
		return rotation.Value{}, err
	}
	next, err := rotation.NextPassword(e.Kind(), r)
	if err != nil {
		return rotation.Value{}, err
	}
	password, _ := next.Text("password")
	return next, rule(password)
}

// DryRun proves that the user is the secret's, waits until it is active, and
// looks at how it logs in. That the role may change it cannot be proved without
// a change.
func (e *Engine) DryRun(ctx context.Context, r *rotation.Request) error {
	_, err := e.user(ctx, r, r.Login)
	return err
}

// user proves that the user is the secret's and waits until it is active.
func (e *Engine) user(ctx context.Context, r *rotation.Request, v rotation.Value) (*account, error) {
	l, err := e.parse(r, v)
	if err != nil {
		return nil, err
	}
	if l.complete() {
		err := e.log(ctx, l)
		// Where the operator has named the user, a password that no longer works
		// is what the rotation mends.
		if err != nil && (e.Options.SecretARN == "" || !errors.Is(err, rotation.LoginRefused)) {
			return nil, err
		}
	}
	a, err := e.account(ctx, r, v, l)
	if err != nil {
		return nil, err
	}
	return a, a.active(ctx)
}

// loginLimit bounds a login, which the patience for changes must not stretch.
const loginLimit = 15 * time.Second

// log logs in to the cache and asks for an answer.
func (e *Engine) log(ctx context.Context, l login) error {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	conn, err := resp.Login(ctx, e.TLS, l.Target)
	if err != nil {
		return err
	}
	defer conn.Close()
	return resp.Classify(l.Target, l.Address()+": it does not serve the user", conn.Ping())
}

// Set replaces the user's passwords by the pending and the current one.
func (e *Engine) Set(ctx context.Context, r *rotation.Request) error {
	current, _ := r.Current.Text("password")
	return e.change(ctx, r, current)
}

// Retire replaces the user's passwords by the pending one.
func (e *Engine) Retire(ctx context.Context, r *rotation.Request) error {
	return e.change(ctx, r, "")
}

func (e *Engine) change(ctx context.Context, r *rotation.Request, kept string) error {
	pending, err := e.parse(r, r.Pending)
	if err != nil {
		return err
	}
	if err := rule(pending.Password); err != nil {
		return err
	}
	a, err := e.user(ctx, r, r.Login)
	if err != nil {
		return err
	}
	passwords := []string{pending.Password}
	if kept != "" && kept != pending.Password {
		passwords = append(passwords, kept)
	}
	for {
		err := a.service.Replace(ctx, a.id, passwords)
		if err != nil && strings.HasPrefix(code(err), "InvalidUserState") {
			// Another change came in between, such as one of this very step that
			// is taken twice.
			if err := a.pause(ctx); err != nil {
				return err
			}
			if err := a.active(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return classify("the passwords cannot be changed", err)
		}
		return a.active(ctx)
	}
}

// Verify waits until the user is active and then logs in, if the value names a
// host.
func (e *Engine) Verify(ctx context.Context, r *rotation.Request, v rotation.Value) error {
	l, err := e.parse(r, v)
	if err != nil {
		return err
	}
	a, err := e.account(ctx, r, v, l)
	if err != nil {
		return err
	}
	if err := a.active(ctx); err != nil {
		return err
	}
	if !l.complete() {
		return nil
	}
	return e.log(ctx, l)
}

// account is a user at the service.
type account struct {
	service  Service
	id, arn  string
	name     string
	wait     time.Duration // the next pause
	interval time.Duration // the longest
	end      time.Time
}

func (e *Engine) account(ctx context.Context, r *rotation.Request, v rotation.Value, l login) (*account, error) {
	service, id, arn, err := e.Dial(ctx, r.Secret, v)
	if err != nil {
		return nil, err
	}
	return &account{service: service, id: id, arn: arn, name: l.User,
		wait: min(250*time.Millisecond, e.Options.Interval), interval: e.Options.Interval, end: time.Now().Add(e.Options.MaxWait)}, nil
}

// active waits until the user's last change has been made.
func (a *account) active(ctx context.Context) error {
	for {
		u, err := a.service.Describe(ctx, a.id)
		if err != nil && code(err) != "" && strings.HasPrefix(code(err), "UserNotFound") {
			err, u = nil, User{}
		}
		switch {
		case err != nil:
			return classify("the user cannot be looked up", err)
		case u.Status == "":
			return rotation.Errorf(rotation.InvalidSecret, "correct the user's name or ARN in the secret", "the user %q does not exist", a.id)
		case a.arn != "" && u.ARN != a.arn:
			return rotation.Errorf(rotation.InvalidSecret, "rotate the secret by a function of the user's account", "the user %q is here %s and not the secret's %s", a.id, u.ARN, a.arn)
		case u.Name != a.name:
			return rotation.Errorf(rotation.InvalidSecret, "correct the secret's username", "the name of the user %q is %q and not %q", a.id, u.Name, a.name)
		case u.Authentication != "password":
			return rotation.Errorf(rotation.TargetFailed, "give the user a password, or switch rotation off", "the user %q authenticates by %s", a.id, u.Authentication)
		case u.Status == "active":
			return nil
		case u.Status != "modifying":
			return rotation.Errorf(rotation.TargetFailed, "see what becomes of the user", "the user %q is %s", a.id, u.Status)
		}
		if err := a.pause(ctx); err != nil {
			return err
		}
	}
}

// pause waits for the next look.
func (a *account) pause(ctx context.Context) error {
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	a.wait = min(2*a.wait, a.interval)
	if time.Now().Before(a.end) {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
		}
	}
	return rotation.Errorf(rotation.TargetFailed, "raise the function's time-out and MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS; Secrets Manager repeats the rotation by itself",
		"the user %q is still being modified", a.id)
}

// code returns the API's code of an error, or "".
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// classify gives an error of the API its cause and advice.
func classify(what string, err error) error {
	switch c := code(err); {
	case c == "":
		if e := rotation.NetworkError(endpoint(err), err); e != nil {
			return e
		}
		return rotation.Errorf(rotation.TargetFailed, "see the error's text", "%s: %w", what, err)
	case strings.HasPrefix(c, "AccessDenied") || c == "UnauthorizedOperation":
		return rotation.Errorf(rotation.PrivilegeMissing, "allow the function's role the actions that the engine's page of the documentation lists", "%s: %w", what, err)
	case strings.HasPrefix(c, "InvalidParameterValue"):
		// The passwords are all that a call sends beside the user's id.
		return rotation.Errorf(rotation.PolicyRejected, "adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the service's rule", "%s: %w", what, err)
	}
	return rotation.Errorf(rotation.TargetFailed, "look at the code and try again; Secrets Manager retries by itself", "%s: %w", what, err)
}

// endpoint returns where a request that got no answer was sent.
func endpoint(err error) rotation.Target {
	t := rotation.Target{Host: "the service's API", Port: 443}
	if u, ok := errors.AsType[*url.Error](err); ok {
		if at, perr := url.Parse(u.URL); perr == nil {
			t.Host = at.Hostname()
			if _, port, serr := net.SplitHostPort(at.Host); serr == nil {
				t.Port, _ = strconv.Atoi(port) // parsed from a URL that was used
			}
		}
	}
	return t
}
