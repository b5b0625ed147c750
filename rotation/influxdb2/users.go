package influxdb2

import (
	"context"
	"net/http"
	"net/url"

	"example.com/rotator/rotation/engine"
	"example.com/rotator/rotation/internal/awsapi"
	"example.com/rotator/rotation/internal/boundconn"
)

// Users rotates passwords of users, who may change their own. A user's tokens stay valid.
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
		PlaceFields: []string{"engine", instanceField},
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

// Set makes the pending credential valid.
func (e *Users) Set(ctx context.Context, r *engine.Request) error {
	x, err := e.open(ctx, r, r.Login)
	if err != nil {
		return err
	}
	defer x.api.Close()
	id, err := x.me(ctx)
	if err != nil {
		return err
	}
	password, _ := r.Pending.Text(passwordField)
	return x.call(ctx, "changing a password", http.MethodPost, "users/"+url.PathEscape(id)+"/password",
		map[string]string{"password": password}, nil)
}

// Verify logs in and checks the name that the server returns.
func (e *Users) Verify(ctx context.Context, r *engine.Request, v engine.Value) error {
	x, err := e.open(ctx, r, v)
	if err != nil {
		return err
	}
	defer x.api.Close()
	_, err = x.me(ctx)
	return err
}

// Needs adds the permission to find the instance.
func (e *Users) Needs(_ context.Context, r *engine.Request, n *engine.Needs) error {
	return e.needs(r, n, "none: a user may change its own password")
}

// me returns the user's id.
func (x *session) me(ctx context.Context) (string, error) {
	var u struct{ ID, Name string }
	err := x.call(ctx, "the identification", http.MethodGet, "me", nil, &u)
	if err == nil && (u.ID == "" || u.Name != x.User) {
		err = engine.Errorf(engine.TargetFailed, "check that the server is InfluxDB 2",
			"the server identifies the user %q as %q", x.User, boundconn.Short(u.Name))
	}
	return u.ID, err
}
