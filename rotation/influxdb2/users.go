package influxdb2

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/boundconn"
	"example.com/rotator/rotation/pair"
)

// Users rotates passwords of users. A user's tokens stay valid.
type Users struct{ server }

// NewUsers returns the engine with the given policy for its connections.
func NewUsers(tls engine.TLSPolicy, settings awsapi.Settings) *Users {
	return &Users{server{tls, settings}}
}

// Kind describes the engine. Its passwords need no escape in a URL and satisfy the server's option strong-passwords.
func (*Users) Kind() engine.Kind {
	return engine.Kind{
		Names:        names,
		UserField:    userField,
		SecretFields: []string{passwordField},
		Passwords: engine.PasswordPolicy{Length: 32, ExcludeCharacters: "/@\"'\\:?#%[]{}|<>`&+=;,",
			RequireEachIncludedType: true},
		SuperuserField: adminField,
		PlaceFields:    []string{"engine", instanceField},
	}
}

func parseUser(v engine.Value) (login, error) {
	if kind, _ := v.Text("type"); kind != "" && v.JSON(userField) == nil {
		return login{}, engine.Errorf(engine.InvalidSecret,
			"create the first token by hand and put it into "+tokenField,
			"the secret is for a token of type %q but has no token", kind)
	}
	return own(v)
}

// Next returns the current value with a new password. It fails if the server would not accept the length.
// Source: InfluxDB 2.7's kit/platform/errors
func (e *Users) Next(_ context.Context, r *engine.Request) (engine.Value, error) {
	if _, err := parseUser(r.Current); err != nil {
		return engine.Value{}, err
	}
	if n := r.Passwords.Length; n < 8 || n > 72 {
		return engine.Value{}, engine.Errorf(engine.InvalidConfiguration, "set PASSWORD_LENGTH to 8 to 72",
			"the server does not accept a password of %d characters", n)
	}
	return engine.NextPassword(e.Kind(), r), nil
}

// DryRun makes all checks of a change.
func (e *Users) DryRun(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, true) }

// Set makes the pending credential valid.
func (e *Users) Set(ctx context.Context, r *engine.Request) error { return e.change(ctx, r, false) }

func (e *Users) change(ctx context.Context, r *engine.Request, rehearsal bool) error {
	pending, err := parseUser(r.Pending)
	if err != nil {
		return err
	}
	x, err := e.openLogin(ctx, r)
	if err != nil {
		return err
	}
	defer x.close()
	find := x.me
	if r.Superuser {
		find = func(ctx context.Context) (string, error) { return x.user(ctx, pending.User) }
	}
	id, err := find(ctx)
	if err != nil || rehearsal {
		return err
	}
	return x.call(ctx, "changing a password", http.MethodPost, "users/"+url.PathEscape(id)+"/password", nil,
		map[string]string{"password": pending.Password}, nil)
}

// Verify logs in and checks the name that the server returns.
func (e *Users) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.open(ctx, r, v)
	if err != nil {
		return err
	}
	defer x.close()
	_, err = x.me(ctx)
	return err
}

// Needs adds the permission to find the instance. A user may change its own password.
func (e *Users) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	return e.needs(r, n, "none: a user may change its own password")
}

type account struct{ ID, Name string }

func (x *session) me(ctx context.Context) (string, error) {
	var u account
	err := x.call(ctx, "the identification", http.MethodGet, "me", nil, nil, &u)
	if err == nil && (u.ID == "" || u.Name != x.User) {
		err = engine.Errorf(engine.TargetFailed, "check that the server is InfluxDB 2",
			"the server identifies the user %q as %q", x.User, boundconn.Short(u.Name))
	}
	return u.ID, err
}

// user returns a user's id. It refuses the superuser itself and every administrator.
func (x *session) user(ctx context.Context, name string) (string, error) {
	if name == x.User {
		return "", engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "the user %q is the superuser itself", name)
	}
	var list struct{ Users []account }
	if err := x.call(ctx, "reading a user", http.MethodGet, "users", url.Values{"name": {name}}, nil,
		&list); err != nil {
		return "", err
	}
	if len(list.Users) != 1 || list.Users[0].Name != name || list.Users[0].ID == "" {
		return "", engine.Errorf(engine.InvalidSecret, "correct the secret's user name", "there is no user %q", name)
	}
	id := list.Users[0].ID
	power, err := x.administrator(ctx, id)
	if err == nil && power != "" {
		err = engine.Errorf(engine.TakeoverRefused, pair.AdviceOwn, "the user %q is %s", name, power)
	}
	return id, err
}

// administrator returns why a user is an administrator, or "". An administrator owns an organization or a token that
// may write all users. Tokens count because signing in as a user reveals them.
// Source: InfluxDB 2.7's permission.go (OwnerPermissions, OperPermissions),
// https://docs.influxdata.com/influxdb/v2/admin/organizations/create-org/ (20 organizations at most are recommended)
func (x *session) administrator(ctx context.Context, id string) (power string, err error) {
	const most = 100 // on a page
	var list struct{ Orgs []account }
	query := url.Values{"userID": {id}, "limit": {strconv.Itoa(most)}}
	if err := x.call(ctx, "reading a user's organizations", http.MethodGet, "orgs", query, nil, &list); err != nil {
		return "", err
	}
	if len(list.Orgs) == most {
		return "", engine.Errorf(engine.TargetFailed, pair.AdviceOwn, "the user has %d organizations or more", most)
	}
	for _, org := range list.Orgs {
		var owners struct{ Users []account }
		if err := x.call(ctx, "reading an organization's owners", http.MethodGet,
			"orgs/"+url.PathEscape(org.ID)+"/owners", nil, nil, &owners); err != nil {
			return "", err
		}
		if slices.ContainsFunc(owners.Users, func(u account) bool { return u.ID == id }) {
			return "an owner of the organization " + boundconn.Short(org.Name), nil
		}
	}
	all, err := x.authorizations(ctx)
	if slices.ContainsFunc(all, func(a authorization) bool {
		return a.UserID == id && slices.Contains(a.Permissions, permission{"write", resource{Type: "users"}})
	}) {
		power = "the owner of an operator's token"
	}
	return power, err
}
