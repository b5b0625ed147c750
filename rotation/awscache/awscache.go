// Package awscache rotates users of ElastiCache (Valkey and Redis with role-based access control) and of MemoryDB
// through the AWS API. A user has up to two passwords. The API replaces both in one call, and the change takes a while.
//
// The function's role can change any user. So the operator must state which user belongs to the secret, in the
// function's variables or in a tag on the user. Another tag names the user's cache. A writer of the secret may run a
// server that accepts any password, so a login is proof only at the endpoint that the operator named.
//
// The API sets any password that it receives. So an old password stays valid next to the new one only if that endpoint
// accepted it. Without a host no login can be tried, and finishSecret makes the new password the only one.
package awscache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/form"
	"example.com/rotator/rotation/internal/httpapi"
	"example.com/rotator/rotation/internal/resp"
)

// Options are the operator's settings, with the names of AWS's template.
type Options struct {
	// SecretARN, if set, is the only secret that the function rotates. UserName is the id, not the name, of its user.
	SecretARN, UserName string
	// MaxWait bounds the wait for a user to become active, and Interval the pause between two polls.
	MaxWait, Interval time.Duration
}

// ReadOptions reads SECRET_ARN, USER_NAME, MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS and
// WAITING_RETRY_INTERVAL_IN_SECONDS. The error has the cause InvalidConfiguration.
func ReadOptions(getenv func(string) string) (Options, error) {
	o := Options{SecretARN: getenv("SECRET_ARN"), UserName: getenv("USER_NAME"), MaxWait: 600 * time.Second,
		Interval: 10 * time.Second}
	if (o.SecretARN == "") != (o.UserName == "") {
		return o, engine.Errorf(engine.InvalidConfiguration, "set both or none", "SECRET_ARN or USER_NAME is missing")
	}
	for name, to := range map[string]*time.Duration{"MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS": &o.MaxWait,
		"WAITING_RETRY_INTERVAL_IN_SECONDS": &o.Interval} {
		s := getenv(name)
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 86400 {
			return o, engine.Errorf(engine.InvalidConfiguration, "set 1 to 86400 seconds", "%s is %q", name, s)
		}
		*to = time.Duration(n) * time.Second
	}
	return o, nil
}

// Engine rotates users of one of the services.
type Engine struct {
	tls      engine.TLSPolicy
	settings awsapi.Settings
	options  Options
	service  service
}

// Kind describes the engine.
func (e *Engine) Kind() engine.Kind {
	k := e.service.kind
	k.UserField, k.SecretFields = "username", []string{"password"}
	k.Overlap, k.NoRestore = engine.AskTarget, true
	k.Patience = e.options.MaxWait + loginLimit
	return k
}

// account is the user that a secret names. Password is "" before the first rotation, and Host is "" if the engine must
// not log in.
type account struct {
	engine.Target
	id, arn string
	api     api
	begin   time.Time
}

func (e *Engine) parse(r *engine.Request, v engine.Value) (*account, error) {
	a := new(account)
	f := form.Form{Value: v}
	a.id, a.arn = e.service.user(r.Secret, &f)
	if v.JSON("host") != nil && f.Optional("host") == "" {
		f.Wrong("host is empty: name the endpoint, or remove the field")
	}
	err := f.Err()
	if err == nil {
		a.Target, err = engine.ParseTarget(v, 6379, "", "host", "password")
		a.TLSServerName = "" // the operator names the endpoint
	}
	if err != nil {
		return a, err
	}
	if o := e.options; o.SecretARN != "" && (o.SecretARN != r.Secret || o.UserName != a.id ||
		region(a.arn) != region(r.Secret)) {
		return a, engine.Errorf(engine.TakeoverRefused,
			"set USER_NAME to the user's id and SECRET_ARN to its secret in the same region; or set neither and tag "+
				"the users",
			"the function rotates only the user %q of the secret %s", o.UserName, o.SecretARN)
	}
	return a, nil
}

func region(id string) string {
	a, _ := arn.Parse(id)
	return a.Region
}

// rejected are the printable characters that both services reject in a password.
const rejected = `,"/@`

// rule checks a password against the rules of both services. The API would reject it only after it is stored.
// Source: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Clusters.RBAC.html
func rule(password string) error {
	wrong := func(c rune) bool { return c < '!' || c > '~' || strings.ContainsRune(rejected, c) }
	if len(password) >= 16 && len(password) <= 128 && !strings.ContainsFunc(password, wrong) {
		return nil
	}
	return engine.Errorf(engine.PolicyRejected, "adjust PASSWORD_LENGTH and EXCLUDE_CHARACTERS",
		`the new password would be rejected: it must have 16 to 128 visible ASCII characters without , " / @`)
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := e.parse(r, r.Current); err != nil {
		return engine.Value{}, err
	}
	next := engine.NextPassword(e.Kind(), r)
	password, _ := next.Text("password")
	return next, rule(password)
}

// DryRun checks everything except the role's right to change the user, which only a change could prove.
func (e *Engine) DryRun(ctx context.Context, r *engine.Request) error {
	a, err := e.user(ctx, r, r.Login)
	if err == nil && a.Host == "" {
		r.Warn("login not tried: the secret has no host; finishSecret makes the new password the user's only one")
	}
	return err
}

// user waits until the user is active, then checks that it belongs to the secret and, if v has a host, tries to log in.
func (e *Engine) user(ctx context.Context, r *engine.Request, v engine.Value) (*account, error) {
	a, err := e.parse(r, v)
	if err != nil {
		return nil, err
	}
	cfg, err := e.settings.Config(ctx, r.Secret)
	if err != nil {
		return nil, err
	}
	cfg.Region = region(a.arn)
	a.api, a.begin = e.service.dial(cfg), time.Now()
	if err := e.active(ctx, a); err != nil {
		return nil, err
	}
	if err := e.belongs(ctx, r, a); err != nil {
		return nil, err
	}
	if a.Host != "" && a.Password != "" {
		err = e.log(ctx, a.Target)
	}
	return a, err
}

// The keys of the operator's tags on a user.
const (
	secretTag   = "rotator:secret"   // the secret's ARN
	endpointTag = "rotator:endpoint" // host:port of the cache
)

// belongs returns an error unless the operator has stated that the user belongs to the secret, and that the user's
// cache is at the secret's host and port. parse has already compared SECRET_ARN and USER_NAME, which state the former.
func (e *Engine) belongs(ctx context.Context, r *engine.Request, a *account) error {
	pinned := e.options.SecretARN != ""
	if pinned && a.Host == "" {
		return nil
	}
	tags, err := a.api.tags(ctx, a.arn)
	if err != nil {
		return awsapi.Failed("the user's tags cannot be read", err)
	}
	refuse := func(key, want, what, or string) error {
		return engine.Errorf(engine.TakeoverRefused,
			fmt.Sprintf("if it is, tag the user: "+e.service.tag+" Key=%s,Value=%s; or %s", a.arn, key, want, or),
			"nothing proves that "+what+": its tag %s is %q", a.id, key, tags[key])
	}
	if !pinned && tags[secretTag] != r.Secret {
		return refuse(secretTag, r.Secret, "the user %q belongs to this secret",
			"set SECRET_ARN and USER_NAME if the function rotates only this secret")
	}
	if a.Host != "" && !strings.EqualFold(tags[endpointTag], a.Address()) {
		return refuse(endpointTag, a.Address(), "the secret's host and port are the cache of the user %q",
			"remove host from the secret")
	}
	return nil
}

// loginLimit bounds a login, which must not use up the time allowed for changes.
const loginLimit = 15 * time.Second

func (e *Engine) log(ctx context.Context, t engine.Target) error {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	return resp.Try(ctx, e.tls, t)
}

// Set replaces the user's passwords with the pending one and the one that the cache has just accepted, which clients
// use. A password that the cache refuses was revoked and is not restored. A password that cannot be tried is not kept
// either, because a writer of the secret may have invented it.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	pending, err := e.parse(r, r.Pending)
	if err != nil {
		return err
	}
	a, err := e.user(ctx, r, r.Login)
	if err != nil {
		return err
	}
	passwords := []string{pending.Password}
	proved := a.Host != "" && a.Password != ""
	if r.KeepCurrent && !proved {
		return engine.Errorf(engine.TargetFailed, "", "the current password is not verified: %w", engine.ErrOneAtATime)
	}
	if a.Host != "" {
		made := a.Target
		made.Password = pending.Password
		if err := e.log(ctx, made); !errors.Is(err, engine.LoginRefused) {
			return err // nil: an earlier call made the change, and the password that it kept stays
		}
	}
	if proved {
		passwords = append(passwords, a.Password)
	}
	for {
		err := a.api.replace(ctx, a.id, passwords)
		switch code := awsapi.Code(err); {
		case err == nil:
			return e.active(ctx, a)
		case strings.HasPrefix(code, "InvalidParameterValue"):
			return engine.Errorf(engine.PolicyRejected,
				"adjust PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the service's rules",
				"the passwords cannot be changed: %w", err)
		case !strings.HasPrefix(code, "InvalidUserState"):
			return awsapi.Failed("the passwords cannot be changed", err)
		}
		// A concurrent change came first, such as the same step running twice.
		if err := e.pause(ctx, a); err != nil {
			return err
		}
	}
}

// Verify waits until the user is active, then logs in. Without a host the error wraps engine.ErrNotVerifiable.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	a, err := e.user(ctx, r, v)
	switch {
	case err != nil:
		return err
	case a.Password == "":
		return engine.Errorf(engine.LoginRefused, "rotate the secret", "the value has no password yet")
	case a.Host == "":
		return engine.Errorf(engine.TargetFailed, "add the cache's endpoint to the secret as the field host",
			"the value of the user %q has no host: %w", a.User, engine.ErrNotVerifiable)
	}
	return nil
}

func (e *Engine) active(ctx context.Context, a *account) error {
	for {
		u, err := a.api.describe(ctx, a.id)
		switch {
		case err == nil && u.status == "" || strings.HasPrefix(awsapi.Code(err), "UserNotFound"):
			return engine.Errorf(engine.InvalidSecret, "correct the user's name or ARN in the secret",
				"the user %q does not exist", a.id)
		case err != nil:
			return awsapi.Failed("the user cannot be looked up", err)
		case u.arn != a.arn || u.name != a.User:
			return engine.Errorf(engine.InvalidSecret,
				"correct the secret's username, or rotate the secret by a function of the user's account",
				"the user %q is %s with the name %q here, not %s with the name %q", a.id, u.arn, u.name, a.arn, a.User)
		case u.authentication != "password" || u.status != "active" && u.status != "modifying":
			return engine.Errorf(engine.TargetFailed, "give the user a password, or switch rotation off",
				"the user %q is %s and authenticates by %s", a.id, u.status, u.authentication)
		case u.status == "active":
			return nil
		}
		if err := e.pause(ctx, a); err != nil {
			return err
		}
	}
}

// pause waits for as long as all pauses before, within limits.
func (e *Engine) pause(ctx context.Context, a *account) error {
	passed := time.Since(a.begin)
	wait := min(max(passed, 250*time.Millisecond), e.options.Interval)
	if passed < e.options.MaxWait && httpapi.Wait(ctx, wait) == nil {
		return nil
	}
	return engine.Errorf(engine.TargetFailed, "wait, or raise MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS and the timeout",
		"the user %q is still being modified", a.id)
}

// Needs adds the actions that a rotation calls. Changes are limited to users with the secret's tag, unless the
// function's variables name the user. The user itself needs no rights at the cache.
func (e *Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	_, user := e.service.user(r.Secret, &form.Form{Value: r.Current})
	read := engine.Permission{Sid: "CacheUser", Actions: []string{e.service.describe}, Resources: []string{user}}
	write := engine.Permission{Sid: "CacheUserPasswords", Actions: []string{e.service.change},
		Resources: []string{user}}
	pinned := e.options.SecretARN != ""
	if host, _ := r.Current.Text("host"); !pinned || host != "" {
		read.Actions = append(read.Actions, e.service.list)
	}
	if !pinned {
		write.Conditions = map[string]map[string]string{"StringEquals": {"aws:ResourceTag/" + secretTag: r.Secret}}
	}
	n.Note = "none: AWS's API changes the password"
	n.Permissions = append(n.Permissions, read, write)
	return nil
}
