// Package directory rotates the passwords of users in directories of AWS Directory Service, with the contract of AWS's
// template: the secret names a directory instead of a host, AWS's API resets the password, and a Kerberos login to one
// of the directory's domain controllers verifies it.
//
// The API uses the function's role, which may reset any user, and a reset also enables a disabled user. So a user is
// reset only right after the secret's own password has opened the account. A writer of the secret therefore gains
// nothing beyond what its password already allows.
package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/directoryservice"
	"github.com/aws/aws-sdk-go-v2/service/directoryservice/types"

	"example.com/rotator/internal/lazyregexp"
	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/form"
)

// Fields are the names of a secret's fields.
type Fields struct{ Directory, User, Password string }

// ReadFields reads DICT_KEY_DIRECTORY, DICT_KEY_USERNAME and DICT_KEY_PASSWORD, which name the fields as in AWS's
// template. The error has the cause InvalidConfiguration.
func ReadFields(getenv func(string) string) (Fields, error) {
	f := Fields{
		Directory: cmp.Or(getenv("DICT_KEY_DIRECTORY"), "awsSeamlessDomainDirectoryId"),
		User:      cmp.Or(getenv("DICT_KEY_USERNAME"), "awsSeamlessDomainUsername"),
		Password:  cmp.Or(getenv("DICT_KEY_PASSWORD"), "awsSeamlessDomainPassword"),
	}
	if f.Directory == f.User || f.Directory == f.Password || f.User == f.Password {
		const advice = "set DICT_KEY_DIRECTORY, DICT_KEY_USERNAME and DICT_KEY_PASSWORD to three different values"
		return f, engine.Errorf(engine.InvalidConfiguration, advice, "two of a secret's fields have the same name")
	}
	return f, nil
}

// Engine rotates users of AWS Directory Service.
type Engine struct {
	settings awsapi.Settings
	fields   Fields
	// controller returns where a domain controller's Kerberos service is.
	controller func(ip string) engine.Target
}

// New returns the engine.
func New(settings awsapi.Settings, fields Fields) *Engine {
	return &Engine{settings, fields, func(ip string) engine.Target { return engine.Target{Host: ip, Port: 88} }}
}

// Kind describes the engine. Its secrets have no field engine; the directory's field identifies them.
func (e *Engine) Kind() engine.Kind {
	return engine.Kind{
		Names:        []string{"aws-directory"},
		MarkField:    e.fields.Directory,
		PlaceFields:  []string{e.fields.Directory},
		UserField:    e.fields.User,
		SecretFields: []string{e.fields.Password},
		Passwords:    engine.PasswordPolicy{Length: 32, ExcludeCharacters: `/@"'\`, RequireEachIncludedType: true},
	}
}

// account is a login in a secret.
type account struct{ directory, user, password string }

// The formats of a directory's ID and a user's name. The name has no characters that the API refuses, and no @,
// because it is the sAMAccountName.
// Source: https://docs.aws.amazon.com/directoryservice/latest/devguide/API_ResetUserPassword.html
var (
	directoryForm = lazyregexp.New(`^d-[0-9a-f]{10}$`)
	userForm      = lazyregexp.New(`^[^\\"/\[\]:;|=,+*?<>@]{1,64}$`)
)

// parse reads a login. The error names everything that is wrong.
func (e *Engine) parse(v engine.Value) (account, error) {
	f := form.Form{Value: v}
	a := account{
		f.Required(e.fields.Directory, directoryForm, "is not a directory's ID"),
		f.Required(e.fields.User, userForm, `is not a user's logon name, such as app in CORP\app`),
		f.Required(e.fields.Password, nil, ""),
	}
	return a, f.Err()
}

// Next returns the current value with a new password.
func (e *Engine) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := e.parse(r.Current); err != nil {
		return engine.Value{}, err
	}
	next := engine.NextPassword(e.Kind(), r)
	if password, _ := next.Text(e.fields.Password); len(password) > 127 {
		return engine.Value{}, engine.Errorf(engine.PolicyRejected, "set PASSWORD_LENGTH to 127 or less",
			"the new password is longer than AWS Directory Service accepts")
	}
	return next, nil
}

// Verify logs in. It is also the rehearsal: only a reset could prove that the role may reset the password.
func (e *Engine) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	_, err := e.login(ctx, r, v)
	return err
}

// Set resets the password through the API after the secret's own password has opened the account.
func (e *Engine) Set(ctx context.Context, r *engine.Request) error {
	pending, err := e.parse(r.Pending)
	if err != nil {
		return err
	}
	login, err := e.login(ctx, r, r.Login)
	switch {
	case err != nil:
		return err
	case !strings.EqualFold(login.user, pending.user) || login.directory != pending.directory:
		return engine.Errorf(engine.TakeoverRefused, "keep the secret's directory and user as they are",
			"the login is not that of the user whose password is to be reset")
	case login.password == pending.password:
		return nil // an earlier call made the change
	}
	if _, err = login.api.ResetUserPassword(ctx, &directoryservice.ResetUserPasswordInput{
		DirectoryId: &pending.directory, UserName: &pending.user, NewPassword: &pending.password,
	}); err != nil {
		return failed("cannot reset the password of "+pending.user, err)
	}
	return nil
}

// session is an account whose password was accepted, with a client of the API.
type session struct {
	account
	api *directoryservice.Client
}

// login finds the directory's domain controllers and logs in to the first that answers.
func (e *Engine) login(ctx context.Context, r *engine.Request, v engine.Value) (s session, err error) {
	if s.account, err = e.parse(v); err != nil {
		return s, err
	}
	cfg, err := e.settings.Config(ctx, r.Secret)
	if err != nil {
		return s, err
	}
	s.api = directoryservice.NewFromConfig(cfg)
	d, err := find(ctx, s.api, s.directory)
	if err != nil {
		return s, err
	}
	k := kerberos{realm: strings.ToUpper(aws.ToString(d.Name)), user: s.user, password: s.password}
	for _, ip := range d.DnsIpAddrs {
		within, cancel := context.WithTimeout(ctx, answerLimit)
		err = k.login(within, e.controller(ip))
		cancel()
		if !errors.Is(err, engine.Unreachable) {
			break
		}
	}
	return s, err
}

// answerLimit is how long a domain controller may take. A directory has two.
const answerLimit = 5 * time.Second

// find describes a directory. It fails if the API cannot reset passwords there.
// Source: https://docs.aws.amazon.com/directoryservice/latest/devguide/API_DirectoryDescription.html
func find(ctx context.Context, api *directoryservice.Client, id string) (none types.DirectoryDescription, err error) {
	out, err := api.DescribeDirectories(ctx, &directoryservice.DescribeDirectoriesInput{DirectoryIds: []string{id}})
	if err != nil {
		return none, failed("cannot look up the directory "+id, err)
	}
	if len(out.DirectoryDescriptions) != 1 || aws.ToString(out.DirectoryDescriptions[0].DirectoryId) != id {
		return none, engine.Errorf(engine.InvalidSecret, "correct the directory's ID in the secret",
			"there is no directory %s in the secret's account and region", id)
	}
	d := out.DirectoryDescriptions[0]
	switch {
	case d.Type != types.DirectoryTypeMicrosoftAd && d.Type != types.DirectoryTypeSimpleAd:
		const advice = "rotate the user by the engine ad, over LDAPS; or, if the directory is shared, in the account " +
			"that owns it"
		return none, engine.Errorf(engine.InvalidSecret, advice,
			"AWS resets passwords only in directories of types MicrosoftAD and SimpleAD, and %s has type %s", id,
			d.Type)
	case len(d.DnsIpAddrs) == 0 || aws.ToString(d.Name) == "":
		return none, engine.Errorf(engine.TargetFailed, "wait until the directory is active",
			"the directory %s has no domain controllers: it is %s", id, d.Stage)
	}
	return d, nil
}

// failed adds the cause and advice to an error of the API.
func failed(what string, err error) error {
	cause, advice := engine.InvalidSecret, ""
	switch code := awsapi.Code(err); {
	case strings.HasPrefix(code, "EntityDoesNotExist"):
		advice = "correct the directory's ID in the secret; the directory must be in the secret's account and region"
	case strings.HasPrefix(code, "UserDoesNotExist"):
		advice = "move the user to the organizational unit with the domain's NetBIOS name: AWS resets no other users"
	case strings.HasPrefix(code, "InvalidPassword"):
		cause, advice = engine.PolicyRejected,
			"adapt PASSWORD_LENGTH and EXCLUDE_CHARACTERS to the domain's password policy"
	default:
		return awsapi.Failed(what, err)
	}
	return engine.Errorf(cause, advice, "%s: %w", what, err)
}

// Needs adds the actions that a rotation calls. The first does not support resources.
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsdirectoryservice.html
func (e *Engine) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	a, err := e.parse(r.Current)
	if err != nil {
		return err
	}
	n.Note = fmt.Sprintf("none: AWS's API resets the password of %s in %s", a.user, a.directory)
	arn := awsapi.Resource(r.Secret, "ds", "directory/"+a.directory)
	n.Permissions = append(n.Permissions,
		engine.Permission{Sid: "Directory", Actions: []string{"ds:DescribeDirectories"}, Resources: []string{"*"}},
		engine.Permission{Sid: "DirectoryPasswords", Actions: []string{"ds:ResetUserPassword"},
			Resources: []string{arn}})
	return nil
}
